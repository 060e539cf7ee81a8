// The squared norm of slice gradients that are never stored.
import { type CaseEntry, defineCases } from '../case.js';
import { sprinkle } from '../generators.js';
import { bankDims, largeBank, someGroups } from './shared/bank.js';

export const cases = defineCases({
  op: 'bank_sum_squares',
  flops: ({ groups, slices, size }) => 2 * (groups + 1) * slices * size,
  length: ({ slices, size }) => slices * size,
  list: [
    ...bankDims.map((dims) => ({ dims })),
    ...someGroups.map(({ dims, count }): CaseEntry<'bank_sum_squares'> => {
      return { dims, with: ['count'], inputs: { count: () => [count] }, label: `count ${count}` };
    }),
    { dims: { groups: 3, slices: 4, size: 512 }, inputs: { dw: sprinkle([NaN]) }, label: 'nan' },
    { dims: { groups: 3, slices: 4, size: 512 }, inputs: { dw: sprinkle([Infinity]) }, label: 'infinity' },
    { dims: largeBank, large: true },
  ],
});
