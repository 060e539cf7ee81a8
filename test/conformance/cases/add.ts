// y = alpha * a + beta * b
import { defineCases, sweep } from '../case.js';
import { sprinkle } from '../generators.js';

export const cases = defineCases({
  op: 'add',
  flops: ({ n }) => 3 * n,
  length: () => 1,
  scalars: { alpha: 1, beta: -0.5 },
  list: [
    ...sweep((n, base) => ({ dims: { n }, base })),
    { dims: { n: 40 }, scalars: { alpha: 0, beta: 2 } },
    { dims: { n: 100 }, inputs: { a: sprinkle([NaN, Infinity, -Infinity, -0, 1e-40]) }, label: 'special' },
    { dims: { n: 100 }, inputs: { a: () => Array(100).fill(Infinity), b: sprinkle([Infinity]) }, label: 'infinities' },
    { dims: { n: 300_007 }, large: true },
  ],
});
