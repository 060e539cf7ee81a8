// AdamW on slices, their gradient formed from the few dw.
import { type CaseEntry, defineCases } from '../case.js';
import { sprinkle, uniform } from '../generators.js';
import { bankDims, largeBank, someGroups } from './shared/bank.js';
import { hyperAfter } from './shared/hyper.js';

export const cases = defineCases({
  op: 'bank_adamw',
  flops: ({ groups, slices, size }) => (2 * groups + 16) * slices * size,
  length: ({ groups }) => groups,
  scalars: { lrScale: 1, decayScale: 1 },
  inputs: { hyper: hyperAfter(5), clip: () => [0.7], m: uniform(-0.1, 0.1), v: uniform(0, 0.01) },
  list: [
    ...bankDims.map((dims) => ({ dims })),
    ...someGroups.map(({ dims, count }): CaseEntry<'bank_adamw'> => {
      return { dims, with: ['count'], inputs: { count: () => [count] }, label: `count ${count}` };
    }),
    { dims: { groups: 2, slices: 3, size: 512 }, scalars: { lrScale: 0.25, decayScale: 0 } },
    { dims: { groups: 3, slices: 4, size: 512 }, inputs: { dw: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: largeBank, large: true },
  ],
});
