// The squared norm of slice gradients that are never stored.
import { defineCases } from '../case.js';
import { sprinkle } from '../generators.js';
import { bankDims, largeBank } from './shared/bank.js';

export const cases = defineCases({
  op: 'bank_sum_squares',
  flops: ({ groups, slices, size }) => 2 * (groups + 1) * slices * size,
  length: ({ slices, size }) => slices * size,
  list: [
    ...bankDims.map((dims) => ({ dims })),
    { dims: { groups: 3, slices: 4, size: 512 }, inputs: { dw: sprinkle([NaN]) }, label: 'nan' },
    { dims: { groups: 3, slices: 4, size: 512 }, inputs: { dw: sprinkle([Infinity]) }, label: 'infinity' },
    { dims: largeBank, large: true },
  ],
});
