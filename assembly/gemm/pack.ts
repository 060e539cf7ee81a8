// Copies blocks of A and B into the order in which the microkernel reads them: B as panels of 8 columns, each panel step by step of K, zeros
// past the edge; A, where it cannot be read in place, as rows. A matrix is read along its rows in memory. With `bf16` numbers are rounded on
// the way, which is all that mixed precision is here: sums are those of float32.
import { loadFirst, storeFirst, zero } from '../vec';
import { UNIT_COLS } from './micro';

/** Steps of nothing behind a panel: panels a power of two apart would share a few cache sets. */
const GAP: usize = 2;

/** Bytes of a panel of B of `depth` steps. */
// @ts-ignore: decorator
@inline
export function panelBytes(depth: usize): usize {
  return (depth + GAP) * UNIT_COLS * 4;
}

/** To the nearest bf16, ties to even; a NaN stays one. */
function roundToBf16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  const near = v128.and(i32x4.add(i32x4.add(x, i32x4.splat(0x7fff)), odd), i32x4.splat(-0x10000));
  return v128.bitselect(near, v128.or(x, i32x4.splat(0x00400000)), f32x4.eq(x, x));
}

// @ts-ignore: decorator
@inline
function take(from: usize, n: usize, bf16: bool): v128 {
  const x = n >= 4 ? v128.load(from) : loadFirst(from, n);
  return bf16 ? roundToBf16(x) : x;
}

/** Panels of B (depth, cols) whose rows are steps: from[step * ld + column]. ld in bytes, here and below. */
export function packRows(from: usize, ld: usize, depth: usize, cols: usize, to: usize, bf16: bool): void {
  const panel = panelBytes(depth), whole: usize = bf16 ? 0 : cols & ~7, padded = (cols + 7) & ~7;
  for (let p: usize = 0; p < depth; p++, from += ld, to += UNIT_COLS * 4) {
    let at = to, j: usize = 0, x = from;
    for (; j < whole; j += 8, at += panel, x += 32) {
      v128.store(at, v128.load(x));
      v128.store(at, v128.load(x, 16), 16);
    }
    for (; j < padded; j += 8, at += panel, x += 32) {
      v128.store(at, take(x, cols - j, bf16));
      v128.store(at, j + 4 < cols ? take(x + 16, cols - j - 4, bf16) : zero(), 16);
    }
  }
}

/** Panels of B whose rows are columns: from[column * ld + step]. */
export function packColumns(from: usize, ld: usize, depth: usize, cols: usize, to: usize, bf16: bool): void {
  const panel = panelBytes(depth);
  for (let j: usize = 0; j < cols; j += UNIT_COLS, from += UNIT_COLS * ld, to += panel) {
    const width = min<usize>(UNIT_COLS, cols - j);
    if (width < UNIT_COLS) memory.fill(to, 0, panel);
    transpose(from, ld, width, depth, to, UNIT_COLS * 4, bf16);
  }
}

/** to (cols, rows) = from (rows, cols) transposed, four by four in registers. */
export function transpose(from: usize, ld: usize, rows: usize, cols: usize, to: usize, ldto: usize, bf16: bool): void {
  for (let i: usize = 0; i < rows; i += 4, from += 4 * ld, to += 16) {
    const r1 = from + ld, r2 = r1 + ld, r3 = r2 + ld, n = rows - i;
    let j: usize = 0, at = to;
    if (n >= 4 && !bf16) {
      for (; j + 4 <= cols; j += 4, at += 4 * ldto) {
        const o = j << 2;
        const a = v128.load(from + o), b = v128.load(r1 + o), c = v128.load(r2 + o), d = v128.load(r3 + o);
        // Interleaving alone, which is one instruction each; other shuffles may be two.
        const ac = low(a, c), bd = low(b, d), ac2 = high(a, c), bd2 = high(b, d);
        v128.store(at, low(ac, bd));
        v128.store(at + ldto, high(ac, bd));
        v128.store(at + 2 * ldto, low(ac2, bd2));
        v128.store(at + 3 * ldto, high(ac2, bd2));
      }
    }
    for (; j < cols; j += 4, at += 4 * ldto) {
      const o = j << 2, m = cols - j;
      const a = take(from + o, m, bf16), b = n > 1 ? take(r1 + o, m, bf16) : zero();
      const c = n > 2 ? take(r2 + o, m, bf16) : zero(), d = n > 3 ? take(r3 + o, m, bf16) : zero();
      const ac = low(a, c), bd = low(b, d), ac2 = high(a, c), bd2 = high(b, d);
      storeFirst(at, low(ac, bd), n);
      if (m > 1) storeFirst(at + ldto, high(ac, bd), n);
      if (m > 2) storeFirst(at + 2 * ldto, low(ac2, bd2), n);
      if (m > 3) storeFirst(at + 3 * ldto, high(ac2, bd2), n);
    }
  }
}

// @ts-ignore: decorator
@inline
function low(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 4, 1, 5);
}

// @ts-ignore: decorator
@inline
function high(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 2, 6, 3, 7);
}

/** to (rows, cols) = from, rounded to bf16. Writes whole vectors. */
export function copyRounded(from: usize, ld: usize, rows: usize, cols: usize, to: usize, ldto: usize): void {
  for (let i: usize = 0; i < rows; i++, from += ld, to += ldto) {
    for (let j: usize = 0; j < cols; j += 4) v128.store(to + (j << 2), take(from + (j << 2), cols - j, true));
  }
}
