// RMS norm over rows, and over the query and key heads of fused attention rows, with their gradients.
//   y = x rstd w     dx = rstd (dy w - x rstd^2 mean(dy w x))     dw = sum over rows of dy x rstd
// A task is a block of rows. The weight gradients of a block are a partial sum in scratch; the partial sums are added in the order of
// the blocks, so that results do not depend on the number of threads.
import { locals, scratch } from '../control';
import { QkNormBackwardRow, QkNormRow, RmsNormBackwardRow, RmsNormRow } from '../ops.gen';
import { parallel } from '../pool';
import { blockRows, ceilDiv, rowDot } from '../rows';
import { fma, loadFirst, set, storeFirst, sum, zero } from '../vec';

/** Weight gradients that a task sums. */
const SLICE: usize = 1024;

/** Partial sums of weight gradients: `count` of them, `stride` bytes apart. */
@unmanaged
class Partials {
  at: usize;
  count: u32;
  stride: usize;
}

/** At least 16 rows, so that partial sums stay small beside the rows themselves. */
// @ts-ignore: decorator
@inline
function backwardRows(cols: usize): usize {
  return max<usize>(16, blockRows(cols));
}

/** y = x rstd w; returns rstd. */
function normalize(x: usize, w: usize, y: usize, n: usize, eps: f32): f32 {
  const rstd: f32 = 1.0 / Mathf.sqrt(rowDot(x, x, n) / <f32>n + eps);
  const scale = set(rstd);
  let i: usize = 0;
  for (; i + 4 <= n; i += 4, x += 16, w += 16, y += 16)
    v128.store(y, f32x4.mul(f32x4.mul(v128.load(x), scale), v128.load(w)));
  if (i < n) storeFirst(y, f32x4.mul(f32x4.mul(loadFirst(x, n - i), scale), loadFirst(w, n - i)), n - i);
  return rstd;
}

/** Sum of dy w x */
function weightedDot(dy: usize, w: usize, x: usize, n: usize): f32 {
  let s = zero(), t = zero();
  let i: usize = 0;
  for (; i + 8 <= n; i += 8, dy += 32, w += 32, x += 32) {
    s = fma(f32x4.mul(v128.load(dy), v128.load(w)), v128.load(x), s);
    t = fma(f32x4.mul(v128.load(dy, 16), v128.load(w, 16)), v128.load(x, 16), t);
  }
  for (; i < n; i += 4, dy += 16, w += 16, x += 16)
    s = fma(f32x4.mul(loadFirst(dy, n - i), loadFirst(w, n - i)), loadFirst(x, n - i), s);
  return sum(f32x4.add(s, t));
}

/** dx of one row (+ add, unless 0; dx may be add or dy); dw += its part. */
function normalizeBackward(
  dy: usize, x: usize, w: usize, rstd: f32, add: usize, dx: usize, dw: usize, n: usize,
): void {
  const scale = set(rstd), mean = set((-weightedDot(dy, w, x, n) / <f32>n) * rstd * rstd);
  let i: usize = 0;
  for (; i + 4 <= n; i += 4, dy += 16, x += 16, w += 16, dx += 16, dw += 16) {
    const d = v128.load(dy), v = v128.load(x);
    v128.store(dw, fma(d, f32x4.mul(v, scale), v128.load(dw)));
    let g = f32x4.mul(fma(v, mean, f32x4.mul(d, v128.load(w))), scale);
    if (add != 0) {
      g = f32x4.add(g, v128.load(add));
      add += 16;
    }
    v128.store(dx, g);
  }
  const left = n - i;
  if (left == 0) return;
  const d = loadFirst(dy, left), v = loadFirst(x, left);
  storeFirst(dw, fma(d, f32x4.mul(v, scale), loadFirst(dw, left)), left);
  let g = f32x4.mul(fma(v, mean, f32x4.mul(d, loadFirst(w, left))), scale);
  if (add != 0) g = f32x4.add(g, loadFirst(add, left));
  storeFirst(dx, g, left);
}

/** y = the sum of the partial rows, in order (+ add, unless 0). All start at their column `at`. */
function sumPartials(partials: Partials, at: usize, add: usize, y: usize, n: usize): void {
  for (let i: usize = 0; i < n; i += 4) {
    const lanes = n - i, column = (at + i) << 2;
    let total = zero(), from = partials.at + column;
    for (let p: u32 = 0; p < partials.count; p++, from += partials.stride) total = f32x4.add(total, v128.load(from));
    if (add != 0) total = f32x4.add(total, loadFirst(add + (i << 2), lanes));
    storeFirst(y + (i << 2), total, lanes);
  }
}

/** Partial sums of `cols` numbers for every block of rows, each with room up to whole vectors. `at` is 0 when there is no memory. */
function takePartials(rows: usize, block: usize, cols: usize): Partials {
  const partials = changetype<Partials>(locals());
  partials.count = ceilDiv(rows, block);
  partials.stride = (cols + 15) >> 4 << 6;
  partials.at = scratch(max<usize>(1, partials.count * partials.stride));
  return partials;
}

export function rms_norm(row: RmsNormRow): void {
  parallel(ceilDiv(row.rows, blockRows(row.cols)), rmsNormTask, changetype<usize>(row));
}

function rmsNormTask(at: usize, task: u32): void {
  const row = changetype<RmsNormRow>(at);
  const cols = <usize>row.cols, block = blockRows(cols), from = task * block;
  for (let r = from, end = min<usize>(row.rows, from + block); r < end; r++) {
    const offset = (r * cols) << 2;
    store<f32>(row.rstd + (r << 2), normalize(row.x + offset, row.w, row.y + offset, cols, row.eps));
  }
}

export function rms_norm_backward(row: RmsNormBackwardRow): void {
  const partials = takePartials(row.rows, backwardRows(row.cols), row.cols);
  if (partials.at == 0) return;
  parallel(partials.count, rmsNormBackwardTask, changetype<usize>(row));
  parallel(ceilDiv(row.cols, SLICE), rmsNormWeightTask, changetype<usize>(row));
}

function rmsNormBackwardTask(at: usize, task: u32): void {
  const row = changetype<RmsNormBackwardRow>(at), partials = changetype<Partials>(locals());
  const cols = <usize>row.cols, block = backwardRows(cols), from = task * block;
  const part = partials.at + task * partials.stride;
  memory.fill(part, 0, partials.stride);
  for (let r = from, end = min<usize>(row.rows, from + block); r < end; r++) {
    const offset = (r * cols) << 2, rstd = load<f32>(row.rstd + (r << 2));
    const add = row.add == 0 ? 0 : row.add + offset;
    normalizeBackward(row.dy + offset, row.x + offset, row.w, rstd, add, row.dx + offset, part, cols);
  }
}

function rmsNormWeightTask(at: usize, task: u32): void {
  const row = changetype<RmsNormBackwardRow>(at);
  const from = task * SLICE, offset = from << 2, n = min<usize>(row.cols - from, SLICE);
  const add = row.addw == 0 ? 0 : row.addw + offset;
  sumPartials(changetype<Partials>(locals()), from, add, row.dw + offset, n);
}

export function qk_norm(row: QkNormRow): void {
  parallel(ceilDiv(row.rows, blockRows(widthOf(row.heads, row.kvHeads, row.headDim))), qkNormTask, changetype<usize>(row));
}

/** Numbers of a fused row: heads of queries, then of keys, then of values. */
// @ts-ignore: decorator
@inline
function widthOf(heads: usize, kvHeads: usize, dim: usize): usize {
  return (heads + 2 * kvHeads) * dim;
}

function qkNormTask(at: usize, task: u32): void {
  const row = changetype<QkNormRow>(at);
  const heads = row.heads, normed = heads + row.kvHeads, dim = <usize>row.headDim;
  const width = widthOf(heads, row.kvHeads, dim), block = blockRows(width), from = task * block;
  for (let r = from, end = min<usize>(row.rows, from + block); r < end; r++) {
    let x = row.x + ((r * width) << 2), y = row.y + ((r * width) << 2), rstd = row.rstd + ((r * normed) << 2);
    for (let h: u32 = 0; h < normed; h++, x += dim << 2, y += dim << 2, rstd += 4)
      store<f32>(rstd, normalize(x, h < heads ? row.wq : row.wk, y, dim, row.eps));
    memory.copy(y, x, (row.kvHeads * dim) << 2);
  }
}

export function qk_norm_backward(row: QkNormBackwardRow): void {
  const dim = <usize>row.headDim;
  const partials = takePartials(row.rows, backwardRows(widthOf(row.heads, row.kvHeads, dim)), 2 * padded(dim));
  if (partials.at == 0) return;
  parallel(partials.count, qkNormBackwardTask, changetype<usize>(row));
  sumPartials(partials, 0, row.addwq, row.dwq, dim);
  sumPartials(partials, padded(dim), row.addwk, row.dwk, dim);
}

/** Where the sums of dwk begin behind those of dwq, so that both are read in whole vectors. */
// @ts-ignore: decorator
@inline
function padded(dim: usize): usize {
  return (dim + 3) & ~3;
}

function qkNormBackwardTask(at: usize, task: u32): void {
  const row = changetype<QkNormBackwardRow>(at), partials = changetype<Partials>(locals());
  const heads = row.heads, normed = heads + row.kvHeads, dim = <usize>row.headDim;
  const width = widthOf(heads, row.kvHeads, dim), block = backwardRows(width), from = task * block;
  const dwq = partials.at + task * partials.stride, dwk = dwq + (padded(dim) << 2);
  memory.fill(dwq, 0, partials.stride);
  for (let r = from, end = min<usize>(row.rows, from + block); r < end; r++) {
    const offset = (r * width) << 2;
    let dy = row.dy + offset, x = row.x + offset, dx = row.dx + offset, rstd = row.rstd + ((r * normed) << 2);
    for (let h: u32 = 0; h < normed; h++, dy += dim << 2, x += dim << 2, dx += dim << 2, rstd += 4) {
      const query = h < heads;
      normalizeBackward(dy, x, query ? row.wq : row.wk, load<f32>(rstd), 0, dx, query ? dwq : dwk, dim);
    }
    if (dx != dy) memory.copy(dx, dy, (row.kvHeads * dim) << 2);
  }
}
