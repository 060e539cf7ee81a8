// Sparse rows times a dense matrix.
import { defineCases, sweep } from '../case.js';
import { idsOf, offsetsTo, sprinkle } from '../generators.js';

const shapes = [
  [0, 5, 0, 4],
  [5, 5, 0, 4],
  [1, 1, 1, 1],
  [7, 30, 40, 17],
  [50, 20, 300, 33],
  [3, 100, 250, 64],
  [200, 64, 900, 5],
  [4, 9, 20, 0],
] as const;

export const cases = defineCases({
  op: 'csr_gemm',
  flops: ({ nnz, n }) => 2 * nnz * n,
  length: ({ nnz, rows }) => (rows === 0 ? 1 : nnz / rows),
  inputs: { indptr: offsetsTo('nnz'), indices: idsOf('cols') },
  list: [
    ...shapes.map(([rows, cols, nnz, n]) => ({ dims: { rows, cols, nnz, n } })),
    ...sweep((n, base) => ({ dims: { rows: 5, cols: 11, nnz: 23, n }, base })),
    { dims: { rows: 9, cols: 9, nnz: 30, n: 20 }, inputs: { values: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { rows: 2000, cols: 500, nnz: 30_000, n: 32 }, large: true },
  ],
});
