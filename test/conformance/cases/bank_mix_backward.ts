// dc[g, r] = <dw[g], t_r> and ds = sum_g dw[g]
import { type CaseEntry, defineCases } from '../case.js';
import { sprinkle, uniform } from '../generators.js';
import { bankDims, largeBank, someGroups } from './shared/bank.js';

export const cases = defineCases({
  op: 'bank_mix_backward',
  flops: ({ groups, slices, size }) => 2 * groups * slices * size,
  length: ({ size }) => size,
  inputs: { dw: uniform(-0.5, 1.5), t: uniform(-0.5, 1.5) },
  list: [
    ...bankDims.map((dims): CaseEntry<'bank_mix_backward'> => ({ dims })),
    ...bankDims.map((dims): CaseEntry<'bank_mix_backward'> => ({ dims, with: ['add', 'ds'], base: 64 })),
    ...bankDims.map((dims): CaseEntry<'bank_mix_backward'> => ({ dims, with: ['adds', 'ds'] })),
    ...someGroups.map(({ dims, count }): CaseEntry<'bank_mix_backward'> => {
      const label = `count ${count}`;
      return { dims, with: ['count', 'add', 'adds', 'ds'], inputs: { count: () => [count] }, label };
    }),
    {
      dims: { groups: 3, slices: 4, size: 512 },
      inputs: { dw: sprinkle([NaN]), t: sprinkle([Infinity]) },
      label: 'special',
    },
    { dims: largeBank, with: ['add'], large: true },
  ],
});
