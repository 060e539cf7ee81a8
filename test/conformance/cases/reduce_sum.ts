// y[o, i] = alpha * sum_j x[o, j, i] (+ add): rows, columns, and everything to one number.
import { type CaseEntry, defineCases, sweep } from '../case.js';
import { sprinkle, uniform } from '../generators.js';

const shapes = [
  [0, 5, 3],
  [4, 0, 3],
  [4, 5, 0],
  [1, 1, 1],
  [3, 7, 1],
  [1, 7, 33],
  [5, 33, 17],
  [2, 100, 64],
  [64, 9, 5],
  [7, 1, 19],
  [1, 5000, 1],
  [1, 20011, 1],
  [300, 65, 1],
  [1, 700, 130],
  [3, 2050, 3],
] as const;

export const cases = defineCases({
  op: 'reduce_sum',
  flops: ({ outer, n, inner }) => outer * n * inner,
  length: ({ n }) => n,
  scalars: { alpha: 0.5 },
  inputs: { x: uniform(-0.5, 1.5) },
  list: [
    ...sweep((n, base): CaseEntry<'reduce_sum'> => ({ dims: { outer: 3, n, inner: 1 }, base })),
    ...sweep((n, base): CaseEntry<'reduce_sum'> => ({ dims: { outer: 2, n: 3, inner: n }, base, with: ['add'] })),
    ...shapes.map(([outer, n, inner]): CaseEntry<'reduce_sum'> => ({ dims: { outer, n, inner } })),
    ...shapes.map(
      ([outer, n, inner]): CaseEntry<'reduce_sum'> => ({
        dims: { outer, n, inner },
        with: ['add'],
        scalars: { alpha: -2 },
      }),
    ),
    { dims: { outer: 9, n: 40, inner: 1 }, inputs: { x: sprinkle([NaN, Infinity, -Infinity]) }, label: 'special' },
    { dims: { outer: 2, n: 9, inner: 40 }, inputs: { x: sprinkle([NaN, Infinity, -Infinity]) }, label: 'special' },
    { dims: { outer: 1, n: 300_007, inner: 1 }, large: true },
    { dims: { outer: 1, n: 1024, inner: 256 }, large: true },
  ],
});
