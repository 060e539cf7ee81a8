// w[g] = s + sum_r c[g, r] t_r
import { type CaseEntry, defineCases } from '../case.js';
import { sprinkle } from '../generators.js';
import { bankDims, inBoth, largeBank, someGroups } from './shared/bank.js';

type Entry = CaseEntry<'bank_mix'>;

export const cases = defineCases({
  op: 'bank_mix',
  flops: ({ groups, slices, size }) => 2 * groups * slices * size,
  length: ({ slices }) => slices,
  list: [
    ...bankDims.flatMap(inBoth).map((dims): Entry => ({ dims })),
    ...bankDims.flatMap(inBoth).map((dims): Entry => ({ dims, with: ['s'], base: 64 })),
    ...someGroups.map(({ dims, count }): Entry => {
      return { dims, with: ['count', 's'], inputs: { count: () => [count] }, label: `count ${count}` };
    }),
    ...inBoth({ groups: 3, slices: 4, size: 512 }).map((dims): Entry => {
      return { dims, inputs: { t: sprinkle([NaN, Infinity]) }, label: 'special' };
    }),
    ...inBoth(largeBank).map((dims): Entry => ({ dims, with: ['s'], large: true })),
  ],
});
