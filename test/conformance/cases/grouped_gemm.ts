// Each group of rows times its own matrix; groups may be empty.
import { type CaseEntry, defineCases, product, sweep } from '../case.js';
import { offsetsTo, sprinkle } from '../generators.js';

const shapes = [
  [1, 1, 1, 1],
  [1, 40, 9, 13],
  [3, 0, 5, 7],
  [4, 10, 0, 3],
  [4, 10, 3, 0],
  [5, 31, 17, 33],
  [16, 50, 33, 20],
  [7, 100, 64, 48],
  [2, 300, 65, 70],
  [40, 12, 16, 8],
] as const;

export const cases = defineCases({
  op: 'grouped_gemm',
  flops: ({ rows, n, k }) => 2 * rows * n * k,
  length: ({ k }) => k,
  inputs: { offsets: offsetsTo('rows') },
  list: [
    { dims: { groups: 0, rows: 0, n: 4, k: 4, transB: 0, precision: 0 } },
    ...product(shapes, [0, 1]).map(
      ([[groups, rows, n, k], transB]): CaseEntry<'grouped_gemm'> => ({
        dims: { groups, rows, n, k, transB, precision: 0 },
      }),
    ),
    ...product(shapes, [0, 1]).map(
      ([[groups, rows, n, k], transB]): CaseEntry<'grouped_gemm'> => ({
        dims: { groups, rows, n, k, transB, precision: 0 },
        with: ['add'],
      }),
    ),
    ...product(shapes, [0, 1]).map(
      ([[groups, rows, n, k], transB]): CaseEntry<'grouped_gemm'> => ({
        dims: { groups, rows, n, k, transB, precision: 1 },
      }),
    ),
    ...sweep(
      (n, base): CaseEntry<'grouped_gemm'> => ({
        dims: { groups: 3, rows: 17, n, k: 6, transB: n % 2, precision: 0 },
        base,
      }),
    ),
    {
      dims: { groups: 4, rows: 20, n: 9, k: 9, transB: 0, precision: 0 },
      inputs: { offsets: () => [0, 0, 0, 20, 20] },
      label: 'one full group',
    },
    {
      dims: { groups: 4, rows: 40, n: 19, k: 9, transB: 0, precision: 0 },
      inputs: { b: sprinkle([NaN, Infinity]) },
      label: 'special',
    },
    { dims: { groups: 8, rows: 1024, n: 128, k: 96, transB: 1, precision: 0 }, large: true },
  ],
});
