// w[g] = s + sum_r c[g, r] t_r
import { type CaseEntry, defineCases } from '../case.js';
import { sprinkle } from '../generators.js';
import { bankDims, largeBank, someGroups } from './shared/bank.js';

export const cases = defineCases({
  op: 'bank_mix',
  flops: ({ groups, slices, size }) => 2 * groups * slices * size,
  length: ({ slices }) => slices,
  list: [
    ...bankDims.map((dims): CaseEntry<'bank_mix'> => ({ dims })),
    ...bankDims.map((dims): CaseEntry<'bank_mix'> => ({ dims, with: ['s'], base: 64 })),
    ...someGroups.map(({ dims, count }): CaseEntry<'bank_mix'> => {
      return { dims, with: ['count', 's'], inputs: { count: () => [count] }, label: `count ${count}` };
    }),
    { dims: { groups: 3, slices: 4, size: 512 }, inputs: { t: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: largeBank, with: ['s'], large: true },
  ],
});
