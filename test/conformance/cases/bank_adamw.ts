// AdamW on slices, their gradient formed from the few dw.
import { type CaseEntry, defineCases } from '../case.js';
import { sprinkle, uniform } from '../generators.js';
import { bankDims, inBoth, largeBank, someGroups } from './shared/bank.js';
import { hyperAfter } from './shared/hyper.js';

type Entry = CaseEntry<'bank_adamw'>;

export const cases = defineCases({
  op: 'bank_adamw',
  flops: ({ groups, slices, size }) => (2 * groups + 16) * slices * size,
  length: ({ groups }) => groups,
  scalars: { lrScale: 1, decayScale: 1 },
  inputs: { hyper: hyperAfter(5), clip: () => [0.7], m: uniform(-0.1, 0.1), v: uniform(0, 0.01) },
  list: [
    ...bankDims.flatMap(inBoth).map((dims): Entry => ({ dims: { ...dims, seed: 3 } })),
    ...someGroups.map(({ dims, count }): Entry => {
      const label = `count ${count}`;
      return { dims: { ...dims, seed: 0 }, with: ['count'], inputs: { count: () => [count] }, label };
    }),
    ...inBoth({ groups: 2, slices: 3, size: 512, seed: 1 }).map((dims): Entry => {
      return { dims, scalars: { lrScale: 0.25, decayScale: 0 } };
    }),
    ...inBoth({ groups: 3, slices: 4, size: 512, seed: 4294967295 }).map((dims): Entry => {
      return { dims, inputs: { dw: sprinkle([NaN, Infinity]) }, label: 'special' };
    }),
    ...inBoth({ ...largeBank, seed: 2 }).map((dims): Entry => ({ dims, large: true })),
  ],
});
