// The inner products of the attention kernels and the packing that feeds them. Scores, weighted values and all gradients are
// c (rows, n) = a (rows, k) b (k, n): a is read one number at a time with any strides, so a transposed left side needs no copy; b and
// c in whole vectors, so their rows are padded to multiples of TILE_COLS. No loop here knows about caches. Strides are bytes.
import { fma, loadFirst, storeFirst, zero } from '../vec';

/** Rows and numbers a row of c that are held in registers: two vectors of four rows leave room for b and one of a. */
export const TILE_ROWS: usize = 4;
export const TILE_COLS: usize = 8;

// @ts-ignore: decorator
@inline
export function roundUp(n: usize, unit: usize): usize {
  return (n + unit - 1) / unit * unit;
}

/** c (TILE_ROWS, n) = a b, or += with accumulate. a: row stride `rows`, stride of k `steps`. */
export function multiply(
  a: usize, rows: usize, steps: usize, b: usize, ldb: usize, k: usize, c: usize, ldc: usize, n: usize, accumulate: bool,
): void {
  for (let j: usize = 0; j < n; j += TILE_COLS, b += 32, c += 32) {
    const c1 = c + ldc, c2 = c1 + ldc, c3 = c2 + ldc;
    let s0 = zero(), t0 = zero(), s1 = zero(), t1 = zero(), s2 = zero(), t2 = zero(), s3 = zero(), t3 = zero();
    if (accumulate) {
      s0 = v128.load(c);
      t0 = v128.load(c, 16);
      s1 = v128.load(c1);
      t1 = v128.load(c1, 16);
      s2 = v128.load(c2);
      t2 = v128.load(c2, 16);
      s3 = v128.load(c3);
      t3 = v128.load(c3, 16);
    }
    for (let p: usize = 0, x = a, y = b; p < k; p++, x += steps, y += ldb) {
      const u = v128.load(y), v = v128.load(y, 16);
      let w = v128.load_splat<f32>(x);
      s0 = fma(w, u, s0);
      t0 = fma(w, v, t0);
      w = v128.load_splat<f32>(x + rows);
      s1 = fma(w, u, s1);
      t1 = fma(w, v, t1);
      w = v128.load_splat<f32>(x + 2 * rows);
      s2 = fma(w, u, s2);
      t2 = fma(w, v, t2);
      w = v128.load_splat<f32>(x + 3 * rows);
      s3 = fma(w, u, s3);
      t3 = fma(w, v, t3);
    }
    v128.store(c, s0);
    v128.store(c, t0, 16);
    v128.store(c1, s1);
    v128.store(c1, t1, 16);
    v128.store(c2, s2);
    v128.store(c2, t2, 16);
    v128.store(c3, s3);
    v128.store(c3, t3, 16);
  }
}

/** c (1, n) += a b: the few pairs where a block of queries meets its own keys, of which each query sees one more. */
export function multiplyRow(a: usize, steps: usize, b: usize, ldb: usize, k: usize, c: usize, n: usize): void {
  for (let j: usize = 0; j < n; j += TILE_COLS, b += 32, c += 32) {
    let s = v128.load(c), t = v128.load(c, 16);
    for (let p: usize = 0, x = a, y = b; p < k; p++, x += steps, y += ldb) {
      const w = v128.load_splat<f32>(x);
      s = fma(w, v128.load(y), s);
      t = fma(w, v128.load(y, 16), t);
    }
    v128.store(c, s);
    v128.store(c, t, 16);
  }
}

/** To the nearest bf16, ties to even; a NaN stays one. */
// @ts-ignore: decorator
@inline
export function toBf16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  const nearest = v128.and(i32x4.add(i32x4.add(x, i32x4.splat(0x7fff)), odd), i32x4.splat(0xffff0000));
  return v128.bitselect(nearest, v128.or(x, i32x4.splat(0x00400000)), f32x4.eq(x, x));
}

// @ts-ignore: decorator
@inline
function word(x: v128, bf16: bool): v128 {
  return bf16 ? toBf16(x) : x;
}

/** target (allRows, ldt) = source (rows, cols); what is past the source is 0. */
export function packRows(
  source: usize, lds: usize, rows: usize, cols: usize, target: usize, ldt: usize, allRows: usize, bf16: bool,
): void {
  const whole = (cols & ~3) << 2, left = cols & 3;
  for (let r: usize = 0; r < rows; r++, source += lds, target += ldt) {
    let i: usize = 0;
    if (bf16) {
      for (; i < whole; i += 16) v128.store(target + i, toBf16(v128.load(source + i)));
    } else {
      for (; i < whole; i += 16) v128.store(target + i, v128.load(source + i));
    }
    if (left > 0) {
      v128.store(target + i, word(loadFirst(source + i, left), bf16));
      i += 16;
    }
    for (; i < ldt; i += 16) v128.store(target + i, zero());
  }
  memory.fill(target, 0, (allRows - rows) * ldt);
}

/** target (cols, ldt) = source (rows, cols), transposed; columns from `rows` to `allRows`, a multiple of 4, are 0. */
export function packTransposed(
  source: usize, lds: usize, rows: usize, cols: usize, target: usize, ldt: usize, allRows: usize, bf16: bool,
): void {
  const lds3 = 3 * lds;
  for (let start: usize = 0; start < allRows; start += 4, source += lds << 2, target += 16) {
    const count = start < rows ? rows - start : 0;
    let from = source, to = target, i: usize = 0;
    if (count >= 4) {
      for (; i + 4 <= cols; i += 4, from += 16, to += ldt << 2) {
        const a = v128.load(from), b = v128.load(from + lds), c = v128.load(from + 2 * lds), d = v128.load(from + lds3);
        storeTransposed(word(a, bf16), word(b, bf16), word(c, bf16), word(d, bf16), to, ldt, 4);
      }
    }
    for (; i < cols; i += 4, from += 16, to += ldt << 2) {
      const a = loadSome(from, cols - i, count > 0), b = loadSome(from + lds, cols - i, count > 1);
      const c = loadSome(from + 2 * lds, cols - i, count > 2), d = loadSome(from + lds3, cols - i, count > 3);
      storeTransposed(word(a, bf16), word(b, bf16), word(c, bf16), word(d, bf16), to, ldt, cols - i);
    }
  }
}

// @ts-ignore: decorator
@inline
function loadSome(from: usize, lanes: usize, there: bool): v128 {
  return there ? loadFirst(from, lanes) : zero();
}

// @ts-ignore: decorator
@inline
function storeTransposed(a: v128, b: v128, c: v128, d: v128, to: usize, ldt: usize, rows: usize): void {
  const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  v128.store(to, v128.shuffle<f32>(ab, cd, 0, 1, 4, 5));
  if (rows > 1) v128.store(to + ldt, v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
  if (rows <= 2) return;
  const ef = v128.shuffle<f32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  v128.store(to + 2 * ldt, v128.shuffle<f32>(ef, gh, 0, 1, 4, 5));
  if (rows > 3) v128.store(to + 3 * ldt, v128.shuffle<f32>(ef, gh, 2, 3, 6, 7));
}

/** target (rows, dim) = factor * source, or += with accumulate. */
export function unpackRows(
  source: usize, lds: usize, rows: usize, dim: usize, factor: v128, target: usize, ldt: usize, accumulate: bool,
): void {
  for (let r: usize = 0; r < rows; r++, source += lds, target += ldt) {
    for (let i: usize = 0; i < dim; i += 4) {
      const to = target + (i << 2);
      let x = f32x4.mul(v128.load(source + (i << 2)), factor);
      if (accumulate) x = f32x4.add(x, loadFirst(to, dim - i));
      storeFirst(to, x, dim - i);
    }
  }
}
