// The microkernel: 4 rows x 8 columns of C in registers while K passes by. A step of K is two vectors of packed B and a broadcast of each row
// of A: with 8 sums, a product and all loads of a step, which V8 puts first, just what fits in 15 registers. It would move the loads of several
// steps to the front together, and spill; so every step ends with a way out of the loop, which it does not move them across.
import { fma, loadFirst, set, storeFirst, zero } from '../vec';

/** Rows and columns of C in registers. */
export const UNIT_ROWS: usize = 4;
export const UNIT_COLS: usize = 8;
/** Bytes of workspace for a block of C that is cut off by an edge. */
export const EDGE_BYTES: usize = UNIT_ROWS * UNIT_COLS * 4;

/**
 * c (rows, width) = alpha a b (+ bias) (+ add) over `depth` steps of K. a: rows lda bytes apart; b: [step][8], zeros where there is no
 * column; c: rows ldc bytes apart; add lies as c does and may be c. bias and add are 0 when absent.
 */
export function micro(
  depth: usize, a: usize, lda: usize, b: usize, c: usize, ldc: usize, add: usize, bias: usize, alpha: f32,
  rows: usize, width: usize, edge: usize,
): void {
  let c00 = zero(), c01 = zero(), c10 = zero(), c11 = zero(), c20 = zero(), c21 = zero(), c30 = zero(), c31 = zero();
  if (depth > 0) {
    // Rows past the edge are computed as the first one, and not stored.
    let a1 = rows > 1 ? a + lda : a, a2 = rows > 2 ? a + 2 * lda : a, a3 = rows > 3 ? a + 3 * lda : a;
    const last = a + ((depth - 1) << 2), last1 = last - 4, last2 = last - 8, last3 = last - 12;
    while (true) {
      let y = v128.load(b), z = v128.load(b, 16), x = v128.load32_splat(a);
      c00 = fma(x, y, c00);
      c01 = fma(x, z, c01);
      x = v128.load32_splat(a1);
      c10 = fma(x, y, c10);
      c11 = fma(x, z, c11);
      x = v128.load32_splat(a2);
      c20 = fma(x, y, c20);
      c21 = fma(x, z, c21);
      x = v128.load32_splat(a3);
      c30 = fma(x, y, c30);
      c31 = fma(x, z, c31);
      if (a == last) break;
      y = v128.load(b, 32);
      z = v128.load(b, 48);
      x = v128.load32_splat(a, 4);
      c00 = fma(x, y, c00);
      c01 = fma(x, z, c01);
      x = v128.load32_splat(a1, 4);
      c10 = fma(x, y, c10);
      c11 = fma(x, z, c11);
      x = v128.load32_splat(a2, 4);
      c20 = fma(x, y, c20);
      c21 = fma(x, z, c21);
      x = v128.load32_splat(a3, 4);
      c30 = fma(x, y, c30);
      c31 = fma(x, z, c31);
      if (a == last1) break;
      y = v128.load(b, 64);
      z = v128.load(b, 80);
      x = v128.load32_splat(a, 8);
      c00 = fma(x, y, c00);
      c01 = fma(x, z, c01);
      x = v128.load32_splat(a1, 8);
      c10 = fma(x, y, c10);
      c11 = fma(x, z, c11);
      x = v128.load32_splat(a2, 8);
      c20 = fma(x, y, c20);
      c21 = fma(x, z, c21);
      x = v128.load32_splat(a3, 8);
      c30 = fma(x, y, c30);
      c31 = fma(x, z, c31);
      if (a == last2) break;
      y = v128.load(b, 96);
      z = v128.load(b, 112);
      x = v128.load32_splat(a, 12);
      c00 = fma(x, y, c00);
      c01 = fma(x, z, c01);
      x = v128.load32_splat(a1, 12);
      c10 = fma(x, y, c10);
      c11 = fma(x, z, c11);
      x = v128.load32_splat(a2, 12);
      c20 = fma(x, y, c20);
      c21 = fma(x, z, c21);
      x = v128.load32_splat(a3, 12);
      c30 = fma(x, y, c30);
      c31 = fma(x, z, c31);
      if (a == last3) break;
      a += 16;
      a1 += 16;
      a2 += 16;
      a3 += 16;
      b += 128;
    }
  }
  const scale = set(alpha);
  const whole = rows == UNIT_ROWS && width == UNIT_COLS;
  // A block at an edge goes through memory of its own.
  const to = whole ? c : edge, ld = whole ? ldc : UNIT_COLS * 4;
  const left = whole ? bias : 0, more = whole ? add : 0;
  finish(to, left, more, scale, c00, c01);
  finish(to + ld, left, more == 0 ? 0 : more + ld, scale, c10, c11);
  finish(to + 2 * ld, left, more == 0 ? 0 : more + 2 * ld, scale, c20, c21);
  finish(to + 3 * ld, left, more == 0 ? 0 : more + 3 * ld, scale, c30, c31);
  if (whole) return;
  for (let i: usize = 0; i < rows; i++, edge += UNIT_COLS * 4, c += ldc) {
    for (let j: usize = 0; j < width; j += 4) {
      const n = width - j, at = j << 2;
      let r = v128.load(edge + at);
      if (bias != 0) r = f32x4.add(r, loadFirst(bias + at, n));
      if (add != 0) r = f32x4.add(r, loadFirst(add + at, n));
      storeFirst(c + at, r, n);
    }
    if (add != 0) add += ldc;
  }
}

/** Eight numbers of a row of C: alpha (x y) (+ bias) (+ add). */
// @ts-ignore: decorator
@inline
function finish(c: usize, bias: usize, add: usize, alpha: v128, x: v128, y: v128): void {
  let low = f32x4.mul(x, alpha), high = f32x4.mul(y, alpha);
  if (bias != 0) {
    low = f32x4.add(low, v128.load(bias));
    high = f32x4.add(high, v128.load(bias, 16));
  }
  if (add != 0) {
    low = f32x4.add(low, v128.load(add));
    high = f32x4.add(high, v128.load(add, 16));
  }
  v128.store(c, low);
  v128.store(c, high, 16);
}
