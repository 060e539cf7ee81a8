// The bias that steers a router towards even loads.
import { type CaseEntry, defineCases, sweep } from '../case.js';
import { offsetsTo, repeat } from '../generators.js';

type Entry = CaseEntry<'router_bias'>;

/** Choices of the case: any number that the experts do not always divide. */
const offsets = offsetsTo('experts');

export const cases = defineCases({
  op: 'router_bias',
  flops: ({ experts }) => 2 * experts,
  length: () => 1,
  scalars: { rate: 0.001 },
  inputs: { offsets },
  list: [
    ...sweep((experts, base): Entry => ({ dims: { experts }, base })),
    { dims: { experts: 8 }, inputs: { offsets: repeat([0]) }, label: 'no choices' },
    { dims: { experts: 4 }, inputs: { offsets: () => [0, 3, 6, 9, 12] }, label: 'even' },
    { dims: { experts: 3 }, inputs: { offsets: () => [0, 1, 3, 7] }, label: 'fractional mean' },
    { dims: { experts: 4096 }, large: true },
  ],
});
