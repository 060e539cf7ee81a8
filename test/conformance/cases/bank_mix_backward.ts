// dc[g, r] = <dw[g], t_r> and ds = sum_g dw[g]
import { type CaseEntry, defineCases } from '../case.js';
import { sprinkle, uniform } from '../generators.js';
import { bankDims, inBoth, largeBank, someGroups } from './shared/bank.js';

type Entry = CaseEntry<'bank_mix_backward'>;

export const cases = defineCases({
  op: 'bank_mix_backward',
  flops: ({ groups, slices, size }) => 2 * groups * slices * size,
  length: ({ size }) => size,
  inputs: { dw: uniform(-0.5, 1.5), t: uniform(-0.5, 1.5) },
  list: [
    ...bankDims.flatMap(inBoth).map((dims): Entry => ({ dims })),
    ...bankDims.flatMap(inBoth).map((dims): Entry => ({ dims, with: ['add', 'ds'], base: 64 })),
    ...bankDims.map((dims): Entry => ({ dims: { ...dims, dtype: 0 }, with: ['adds', 'ds'] })),
    ...someGroups.map(({ dims, count }): Entry => {
      const label = `count ${count}`;
      return { dims, with: ['count', 'add', 'adds', 'ds'], inputs: { count: () => [count] }, label };
    }),
    ...inBoth({ groups: 3, slices: 4, size: 512 }).map((dims): Entry => {
      return { dims, inputs: { dw: sprinkle([NaN]), t: sprinkle([Infinity]) }, label: 'special' };
    }),
    ...inBoth(largeBank).map((dims): Entry => ({ dims, with: ['add'], large: true })),
  ],
});
