// c = alpha * op(a) op(b) (+ bias) (+ add): every transpose, tails of every tile, padded rows, batches, long sums.
import type { RowDims } from '../../../ts/backend/rows.js';
import { type CaseEntry, defineCases, product, range } from '../case.js';
import { sprinkle } from '../generators.js';

interface Layout {
  readonly transA?: number;
  readonly transB?: number;
  readonly batch?: number;
  /** Elements added to each row of a, b and c. */
  readonly pad?: number;
  /** Batch strides of a and b are 0: one matrix for all. */
  readonly shareA?: boolean;
  readonly shareB?: boolean;
  /** 1: bf16. */
  readonly precision?: number;
}

/** Dims of one product, tight unless `layout` says otherwise. */
export function gemmDims(m: number, n: number, k: number, layout: Layout = {}): RowDims<'gemm'> {
  const { transA = 0, transB = 0, batch = 1, pad = 0, precision = 0 } = layout;
  const [lda, ldb, ldc] = [(transA ? m : k) + pad, (transB ? k : n) + pad, n + pad];
  const strideA = layout.shareA ? 0 : lda * (transA ? k : m);
  const strideB = layout.shareB ? 0 : ldb * (transB ? n : k);
  return { batch, m, n, k, transA, transB, lda, ldb, ldc, strideA, strideB, strideC: ldc * m, precision };
}

const shapes = [
  [1, 1, 1],
  [1, 17, 5],
  [17, 1, 5],
  [5, 7, 1],
  [13, 33, 19],
  [12, 32, 16],
  [14, 48, 7],
  [31, 64, 64],
  [65, 47, 129],
  [6, 16, 300],
  [100, 100, 3],
  [3, 5, 700],
  [1, 300, 200],
  [200, 1, 260],
  [25, 66, 1030],
] as const;
/** Past one block of rows, of columns, of depth, and sums long enough to be split. */
const wide = [
  [3, 1100, 70],
  [40, 600, 30],
  [300, 520, 20],
  [24, 40, 5000],
  [9, 20, 1600],
] as const;
const layouts: Layout[] = [
  { pad: 3 },
  { pad: 16, transB: 1 },
  { pad: 1, transA: 1 },
  { batch: 3 },
  { batch: 4, pad: 5, transA: 1, transB: 1 },
  { batch: 5, shareA: true },
  { batch: 5, shareB: true, transB: 1 },
  { batch: 0 },
];
const transposes = product([0, 1], [0, 1]);

export const cases = defineCases({
  op: 'gemm',
  flops: ({ batch, m, n, k }) => 2 * batch * m * n * k,
  length: ({ k }) => k,
  scalars: { alpha: 1 },
  list: [
    ...range(0, 33).flatMap((i): CaseEntry<'gemm'>[] => [
      { dims: gemmDims(3, i, 5), base: (i % 3) * 64, label: 'n' },
      { dims: gemmDims(i, 18, 4, { transB: 1 }), base: (i % 3) * 64, with: ['add'], label: 'm' },
      { dims: gemmDims(7, 19, i, { transA: 1 }), base: (i % 3) * 64, with: ['bias'], label: 'k' },
    ]),
    ...product(shapes, transposes).map(
      ([[m, n, k], [transA, transB]]): CaseEntry<'gemm'> => ({ dims: gemmDims(m, n, k, { transA, transB }) }),
    ),
    ...product(shapes, transposes).map(
      ([[m, n, k], [transA, transB]]): CaseEntry<'gemm'> => ({
        dims: gemmDims(m, n, k, { transA, transB }),
        scalars: { alpha: -0.5 },
        with: ['bias', 'add'],
      }),
    ),
    ...product(wide, transposes).map(
      ([[m, n, k], [transA, transB]]): CaseEntry<'gemm'> => ({
        dims: gemmDims(m, n, k, { transA, transB }),
        with: ['add'],
      }),
    ),
    ...product(layouts, [
      [9, 21, 34],
      [70, 35, 20],
    ] as const).map(
      ([layout, [m, n, k]]): CaseEntry<'gemm'> => ({
        dims: gemmDims(m, n, k, layout),
        with: ['add'],
      }),
    ),
    { dims: gemmDims(9, 20, 11), scalars: { alpha: 0 }, with: ['bias'] },
    { dims: gemmDims(21, 37, 25), inputs: { a: sprinkle([NaN]) }, label: 'nan in a' },
    { dims: gemmDims(21, 37, 25, { transA: 1 }), inputs: { b: sprinkle([NaN, NaN]) }, label: 'nan in b' },
    {
      dims: gemmDims(70, 37, 65, { transB: 1 }),
      inputs: { a: sprinkle([Infinity, -Infinity]) },
      label: 'infinity in a',
    },
    {
      dims: gemmDims(13, 37, 2),
      with: ['bias', 'add'],
      inputs: { bias: sprinkle([NaN]), add: sprinkle([Infinity]) },
      label: 'special',
    },
    // bf16: tails of rows, columns and pairs of steps, the thin path, blocks and chunks of K.
    ...range(0, 33).flatMap((i): CaseEntry<'gemm'>[] => [
      { dims: gemmDims(9, i, 5, { precision: 1 }), base: (i % 3) * 64, label: 'n' },
      { dims: gemmDims(i, 18, 4, { transB: 1, precision: 1 }), with: ['add'], label: 'm' },
      { dims: gemmDims(13, 19, i, { transA: 1, precision: 1 }), with: ['bias'], label: 'k' },
      { dims: gemmDims(13, 19, i, { transB: 1, precision: 1 }), label: 'k' },
    ]),
    ...product([...shapes, ...wide], transposes).map(
      ([[m, n, k], [transA, transB]]): CaseEntry<'gemm'> => ({
        dims: gemmDims(m, n, k, { transA, transB, precision: 1 }),
        scalars: { alpha: -0.5 },
        with: ['bias', 'add'],
      }),
    ),
    ...layouts.map((layout): CaseEntry<'gemm'> => ({ dims: gemmDims(70, 35, 20, { ...layout, precision: 1 }) })),
    ...transposes.map(
      ([transA, transB]): CaseEntry<'gemm'> => ({
        dims: gemmDims(21, 37, 25, { transA, transB, precision: 1 }),
        inputs: { a: sprinkle([NaN]), b: sprinkle([Infinity, -Infinity]) },
        label: 'special',
      }),
    ),
    { dims: gemmDims(320, 352, 256), large: true },
    { dims: gemmDims(512, 192, 64, { transB: 1 }), with: ['bias'], large: true },
    { dims: gemmDims(64, 192, 2048, { transA: 1 }), with: ['add'], large: true },
    { dims: gemmDims(320, 352, 256, { precision: 1 }), large: true },
  ],
});
