// Muon (Jordan et al. 2024): the momentum of every hidden matrix is replaced by the nearest matrix with orthogonal rows or
// columns, found by a few steps of a quintic Newton-Schulz iteration, so that all directions of a matrix learn at one rate.
// Its size is that of an AdamW update (Liu et al. 2025, "Muon is scalable": 0.2 sqrt(max(rows, cols))), so that learning rate
// and weight decay carry over. Matrices stored as one (q, k, v; gate, up; experts) are treated apart; equal ones of all layers
// that lie at equal distances are one batch.
//
// An iteration is X <- a X + (b A + c A A) X with A = X X^T. The factor a is kept out of X (X = s Y, s <- a s), which leaves
// three products and no other rows:
//   P = (b / a) s^2 Y Y^T        Q = (c a / b^2) P P + P        Y <- Q Y + Y
import { tape } from '../autograd/tape.js';
import type { ParameterSet, ParameterSpec } from '../nn/parameters.js';
import { sizeOf, type Tensor } from '../tensor/tensor.js';

export interface MuonSettings {
  /** Of the gradient, in the manner of Nesterov. Default 0.95. */
  readonly momentum: number;
  /** Newton-Schulz steps. Default 5. */
  readonly iterations: number;
  /** Learning rate relative to AdamW's. Default 1. */
  readonly scale: number;
}

export const MUON: MuonSettings = { momentum: 0.95, iterations: 5, scale: 1 };

/** Coefficients that bring every singular value from (0, 1] to about 0.7 to 1.2 in five steps. */
const [A, B, C] = [3.4445, -4.775, 2.0315];
const EPS = 1e-7;

/** Equal matrices at equal distances in the flat buffers: numbers of values. */
export interface MatrixBatch {
  readonly offset: number;
  readonly stride: number;
  readonly count: number;
  readonly rows: number;
  readonly cols: number;
}

/** The hidden matrices, in batches; `offsetOf` says where a parameter begins. */
export function matrixBatches(specs: readonly ParameterSpec[], offsetOf: (name: string) => number): MatrixBatch[] {
  const alike = new Map<string, { offset: number; rows: number; cols: number }[]>();
  for (const spec of specs) {
    if (spec.kind !== 'hidden') continue;
    const [all, cols] = [spec.shape.at(-2)!, spec.shape.at(-1)!];
    const copies = sizeOf(spec.shape) / (all * cols);
    let within = 0;
    (spec.parts ?? [all]).forEach((rows, part) => {
      const key = `${spec.name.replace(/\d+/, '#')} ${part} ${rows} ${cols}`;
      const list = alike.get(key) ?? [];
      for (let copy = 0; copy < copies; copy++)
        list.push({ offset: offsetOf(spec.name) + copy * all * cols + within, rows, cols });
      alike.set(key, list);
      within += rows * cols;
    });
  }
  return [...alike.values()].flatMap((list) => {
    const batches: MatrixBatch[] = [];
    for (const { offset, rows, cols } of list) {
      const last = batches.at(-1);
      const distance = last === undefined ? 0 : offset - (last.offset + (last.count - 1) * last.stride);
      if (last !== undefined && (last.count === 1 || distance === last.stride))
        batches[batches.length - 1] = { ...last, stride: distance, count: last.count + 1 };
      else batches.push({ offset, stride: rows * cols, count: 1, rows, cols });
    }
    return batches;
  });
}

/** Writes the rows that update every hidden matrix; `clip` (1) scales the gradients, `hyper` as in adamw. */
export function muonRows(parameters: ParameterSet, settings: MuonSettings, hyper: Tensor, clip: Tensor): void {
  const range = parameters.ranges.find(({ kind }) => kind === 'hidden');
  if (range === undefined) return;
  const t = tape();
  const at = (whole: Tensor, offset: number): Tensor => ({ ...whole, offset: whole.offset + 4 * offset });
  const offsetOf = (name: string) => parameters.offsetInRange(name);
  for (const { offset, stride, count: batch, rows, cols } of matrixBatches(parameters.specs, offsetOf)) {
    const n = rows * cols;
    const dims = { batch, n, stride };
    let y = t.temporary([batch, rows, cols], { name: 'muon' });
    t.emit('muon_momentum', { g: at(range.grad, offset), clip, m: at(range.m, offset), x: y }, dims, {
      momentum: settings.momentum,
      eps: EPS,
    });
    let s = 1;
    for (let i = 0; i < settings.iterations; i++) {
      y = newtonSchulz(y, batch, rows, cols, s);
      s *= A;
    }
    const scalars = { scale: s * 0.2 * Math.sqrt(Math.max(rows, cols)), lrScale: settings.scale };
    t.emit('muon_update', { x: y, hyper, p: at(range.value, offset) }, dims, scalars);
  }
}

/** One step on y (batch, rows, cols), of which s y is meant. The small side is squared. */
function newtonSchulz(y: Tensor, batch: number, rows: number, cols: number, s: number): Tensor {
  const t = tape();
  const wide = rows <= cols;
  const small = Math.min(rows, cols);
  const precision = t.precision === 'bf16' ? 1 : 0;
  const square = { batch, m: small, n: small, ldc: small, strideC: small * small, precision };
  const [p, q] = [t.temporary([batch, small, small]), t.temporary([batch, small, small])];
  const strides = { strideA: rows * cols, strideB: rows * cols };
  t.emit(
    'gemm',
    { a: y, b: y, c: p },
    {
      ...square,
      ...strides,
      k: Math.max(rows, cols),
      transA: wide ? 0 : 1,
      transB: wide ? 1 : 0,
      lda: cols,
      ldb: cols,
    },
    { alpha: (B / A) * s * s },
  );
  t.emit(
    'gemm',
    { a: p, b: p, add: p, c: q },
    {
      ...square,
      k: small,
      transA: 0,
      transB: 0,
      lda: small,
      ldb: small,
      strideA: small * small,
      strideB: small * small,
    },
    { alpha: (C * A) / (B * B) },
  );
  const out = t.temporary([batch, rows, cols], { name: 'muon' });
  const dims = { batch, m: rows, n: cols, k: small, transA: 0, transB: 0, ldb: cols, ldc: cols, precision };
  const [mine, squared] = [rows * cols, small * small];
  t.emit(
    'gemm',
    wide ? { a: q, b: y, add: y, c: out } : { a: y, b: q, add: y, c: out },
    wide
      ? { ...dims, lda: small, strideA: squared, strideB: mine, strideC: mine }
      : { ...dims, lda: cols, strideA: mine, strideB: squared, strideC: mine },
    { alpha: 1 },
  );
  return out;
}

/** FLOPs of one step: three products an iteration and matrix. */
export function muonStepFlops(specs: readonly ParameterSpec[], settings: MuonSettings): number {
  const one = (rows: number, cols: number) => 4 * Math.min(rows, cols) * rows * cols + 2 * Math.min(rows, cols) ** 3;
  return matrixBatches(specs, () => 0).reduce(
    (sum, { count, rows, cols }) => sum + settings.iterations * count * one(rows, cols),
    0,
  );
}
