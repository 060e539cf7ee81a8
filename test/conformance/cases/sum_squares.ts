// y[0] = sum_i x[i]^2
import { defineCases, sweep } from '../case.js';
import { sprinkle } from '../generators.js';

export const cases = defineCases({
  op: 'sum_squares',
  flops: ({ n }) => 2 * n,
  length: ({ n }) => n,
  list: [
    ...sweep((n, base) => ({ dims: { n }, base })),
    ...[4095, 4096, 4097, 8193, 70001].map((n) => ({ dims: { n } })),
    { dims: { n: 50 }, inputs: { x: sprinkle([NaN]) }, label: 'nan' },
    { dims: { n: 5000 }, inputs: { x: sprinkle([-Infinity]) }, label: 'infinity' },
    { dims: { n: 500_009 }, large: true },
  ],
});
