// Products of a few rows (a decoded token): B is read once, in the order it lies in memory, and nothing is packed.
import { fma, loadFirst, storeFirst, sum, zero } from '../vec';
import { Product } from './product';

/** Steps of K that pass together in outer(). */
const STEPS: usize = 8;

/** Columns j .. j + cols of C = A B^T: rows of A and of B run along K, and so do vectors. */
export function dot(q: Product, j: usize, cols: usize): void {
  const end = j + cols, ldb = q.ldb << 2;
  for (; j + 4 <= end; j += 4) {
    const b = q.b + j * ldb;
    let i: usize = 0;
    for (; i + 2 <= q.m; i += 2) dotPair(q, i, j, b, ldb);
    if (i < q.m) dotRow(q, i, j, b, ldb);
  }
  for (; j < end; j++) {
    for (let i: usize = 0; i < q.m; i++) dotOne(q, i, j);
  }
}

/** One row, four columns, two sums each: the adds of one would wait for each other. */
function dotRow(q: Product, i: usize, j: usize, b: usize, ldb: usize): void {
  let a = q.a + ((i * q.lda) << 2), b1 = b + ldb, b2 = b1 + ldb, b3 = b2 + ldb;
  let s0 = zero(), s1 = zero(), s2 = zero(), s3 = zero(), t0 = zero(), t1 = zero(), t2 = zero(), t3 = zero();
  let p: usize = 0;
  for (; p + 8 <= q.k; p += 8, a += 32, b += 32, b1 += 32, b2 += 32, b3 += 32) {
    let x = v128.load(a);
    s0 = fma(x, v128.load(b), s0);
    s1 = fma(x, v128.load(b1), s1);
    s2 = fma(x, v128.load(b2), s2);
    s3 = fma(x, v128.load(b3), s3);
    x = v128.load(a, 16);
    t0 = fma(x, v128.load(b, 16), t0);
    t1 = fma(x, v128.load(b1, 16), t1);
    t2 = fma(x, v128.load(b2, 16), t2);
    t3 = fma(x, v128.load(b3, 16), t3);
  }
  for (; p < q.k; p += 4, a += 16, b += 16, b1 += 16, b2 += 16, b3 += 16) {
    const n = q.k - p, x = loadFirst(a, n);
    s0 = fma(x, loadFirst(b, n), s0);
    s1 = fma(x, loadFirst(b1, n), s1);
    s2 = fma(x, loadFirst(b2, n), s2);
    s3 = fma(x, loadFirst(b3, n), s3);
  }
  finish(q, i, j, sums(f32x4.add(s0, t0), f32x4.add(s1, t1), f32x4.add(s2, t2), f32x4.add(s3, t3)), 4);
}

/** Two rows, four columns: what is read of B serves both. */
function dotPair(q: Product, i: usize, j: usize, b: usize, ldb: usize): void {
  let a = q.a + ((i * q.lda) << 2), a1 = a + (q.lda << 2), b1 = b + ldb, b2 = b1 + ldb, b3 = b2 + ldb;
  let s0 = zero(), s1 = zero(), s2 = zero(), s3 = zero(), t0 = zero(), t1 = zero(), t2 = zero(), t3 = zero();
  let p: usize = 0;
  for (; p + 4 <= q.k; p += 4, a += 16, a1 += 16, b += 16, b1 += 16, b2 += 16, b3 += 16) {
    const x = v128.load(a), z = v128.load(a1);
    let y = v128.load(b);
    s0 = fma(x, y, s0);
    t0 = fma(z, y, t0);
    y = v128.load(b1);
    s1 = fma(x, y, s1);
    t1 = fma(z, y, t1);
    y = v128.load(b2);
    s2 = fma(x, y, s2);
    t2 = fma(z, y, t2);
    y = v128.load(b3);
    s3 = fma(x, y, s3);
    t3 = fma(z, y, t3);
  }
  if (p < q.k) {
    const n = q.k - p, x = loadFirst(a, n), z = loadFirst(a1, n);
    let y = loadFirst(b, n);
    s0 = fma(x, y, s0);
    t0 = fma(z, y, t0);
    y = loadFirst(b1, n);
    s1 = fma(x, y, s1);
    t1 = fma(z, y, t1);
    y = loadFirst(b2, n);
    s2 = fma(x, y, s2);
    t2 = fma(z, y, t2);
    y = loadFirst(b3, n);
    s3 = fma(x, y, s3);
    t3 = fma(z, y, t3);
  }
  finish(q, i, j, sums(s0, s1, s2, s3), 4);
  finish(q, i + 1, j, sums(t0, t1, t2, t3), 4);
}

function dotOne(q: Product, i: usize, j: usize): void {
  let a = q.a + ((i * q.lda) << 2), b = q.b + ((j * q.ldb) << 2), s = zero();
  for (let p: usize = 0; p < q.k; p += 4, a += 16, b += 16) s = fma(loadFirst(a, q.k - p), loadFirst(b, q.k - p), s);
  finish(q, i, j, f32x4.splat(sum(s)), 1);
}

/** The sums of four vectors. */
// @ts-ignore: decorator
@inline
function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ac = f32x4.add(v128.shuffle<f32>(a, c, 0, 4, 1, 5), v128.shuffle<f32>(a, c, 2, 6, 3, 7));
  const bd = f32x4.add(v128.shuffle<f32>(b, d, 0, 4, 1, 5), v128.shuffle<f32>(b, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f32>(ac, bd, 0, 4, 1, 5), v128.shuffle<f32>(ac, bd, 2, 6, 3, 7));
}

/** n numbers (at most 4) of row i of C from column j on, x being the product. */
function finish(q: Product, i: usize, j: usize, x: v128, n: usize): void {
  const at = (i * q.ldc + j) << 2;
  let r = f32x4.mul(x, f32x4.splat(q.alpha));
  if (q.bias != 0) r = f32x4.add(r, loadFirst(q.bias + (j << 2), n));
  if (q.add != 0) r = f32x4.add(r, loadFirst(q.add + at, n));
  storeFirst(q.c + at, r, n);
}

/**
 * Columns j .. j + cols of C = op(A) B: rows of B run along C. Some rows of B at a time meet all rows of A; sums stay in `work`, in the
 * first-level cache.
 */
export function outer(q: Product, j: usize, cols: usize, work: usize): void {
  const stepA = q.transA ? q.lda << 2 : 4, rowA = q.transA ? 4 : q.lda << 2, rowSums: usize = ((cols + 3) & ~3) << 2, ldb = q.ldb << 2;
  memory.fill(work, 0, q.m * rowSums);
  let b = q.b + (j << 2), a = q.a, p: usize = 0;
  for (; p + STEPS <= q.k; p += STEPS, a += STEPS * stepA, b += STEPS * ldb) {
    for (let i: usize = 0; i < q.m; i++) eightSteps(a + i * rowA, stepA, b, ldb, work + i * rowSums, cols);
  }
  for (; p < q.k; p++, a += stepA, b += ldb) {
    for (let i: usize = 0; i < q.m; i++) oneStep(v128.load32_splat(a + i * rowA), b, work + i * rowSums, cols);
  }
  for (let i: usize = 0; i < q.m; i++, work += rowSums) {
    for (let y: usize = 0; y < cols; y += 4) finish(q, i, j + y, v128.load(work + (y << 2)), min<usize>(4, cols - y));
  }
}

function eightSteps(a: usize, stepA: usize, b: usize, ldb: usize, sums: usize, cols: usize): void {
  const x0 = v128.load32_splat(a), x1 = v128.load32_splat(a + stepA), x2 = v128.load32_splat(a + 2 * stepA);
  const x3 = v128.load32_splat(a + 3 * stepA), x4 = v128.load32_splat(a + 4 * stepA), x5 = v128.load32_splat(a + 5 * stepA);
  const x6 = v128.load32_splat(a + 6 * stepA), x7 = v128.load32_splat(a + 7 * stepA);
  const b4 = b + 4 * ldb, whole = sums + (cols >> 2 << 4);
  let at: usize = 0;
  for (; sums < whole; sums += 16, at += 16) {
    const low = b + at, high = b4 + at;
    let s = fma(x0, v128.load(low), v128.load(sums));
    s = fma(x1, v128.load(low + ldb), s);
    s = fma(x2, v128.load(low + 2 * ldb), s);
    s = fma(x3, v128.load(low + 3 * ldb), s);
    s = fma(x4, v128.load(high), s);
    s = fma(x5, v128.load(high + ldb), s);
    s = fma(x6, v128.load(high + 2 * ldb), s);
    v128.store(sums, fma(x7, v128.load(high + 3 * ldb), s));
  }
  const n = cols & 3;
  if (n == 0) return;
  let s = v128.load(sums);
  for (let p: usize = 0; p < STEPS; p++) s = fma(v128.load32_splat(a + p * stepA), loadFirst(b + at + p * ldb, n), s);
  v128.store(sums, s);
}

function oneStep(x: v128, b: usize, sums: usize, cols: usize): void {
  for (let y: usize = 0; y < cols; y += 4, b += 16, sums += 16) {
    v128.store(sums, fma(x, loadFirst(b, cols - y), v128.load(sums)));
  }
}
