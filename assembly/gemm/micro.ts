// The microkernel: 4 rows x 8 columns of C in registers while K passes by. A step of K is two vectors of packed B and four
// broadcasts of packed A (pack.ts): 8 sums, 2 of B and one of A are as many vectors as V8 keeps in registers; with 6 rows it spills.
import { fma, loadFirst, set, storeFirst, zero } from '../vec';

/** Rows and columns of C in registers. */
export const UNIT_ROWS: usize = 4;
export const UNIT_COLS: usize = 8;
/** Bytes of workspace for a block of C that is cut off by an edge. */
export const EDGE_BYTES: usize = UNIT_ROWS * UNIT_COLS * 4;

/**
 * c (rows, width) = alpha a b (+ bias) (+ add) over `depth` steps of K. a: [step][4], b: [step][8], zeros where there is no row or column. ldc in
 * bytes; add lies as c does and may be c. bias and add are 0 when absent.
 */
export function micro(
  depth: usize, a: usize, b: usize, c: usize, ldc: usize, add: usize, bias: usize, alpha: f32,
  rows: usize, width: usize, edge: usize,
): void {
  let c00 = zero(), c01 = zero(), c10 = zero(), c11 = zero(), c20 = zero(), c21 = zero(), c30 = zero(), c31 = zero();
  const pairs = a + ((depth >> 1) << 5);
  for (; a < pairs; a += 32, b += 64) {
    let y = v128.load(b), z = v128.load(b, 16);
    let x = v128.load32_splat(a);
    c00 = fma(x, y, c00);
    c01 = fma(x, z, c01);
    x = v128.load32_splat(a, 4);
    c10 = fma(x, y, c10);
    c11 = fma(x, z, c11);
    x = v128.load32_splat(a, 8);
    c20 = fma(x, y, c20);
    c21 = fma(x, z, c21);
    x = v128.load32_splat(a, 12);
    c30 = fma(x, y, c30);
    c31 = fma(x, z, c31);
    y = v128.load(b, 32);
    z = v128.load(b, 48);
    x = v128.load32_splat(a, 16);
    c00 = fma(x, y, c00);
    c01 = fma(x, z, c01);
    x = v128.load32_splat(a, 20);
    c10 = fma(x, y, c10);
    c11 = fma(x, z, c11);
    x = v128.load32_splat(a, 24);
    c20 = fma(x, y, c20);
    c21 = fma(x, z, c21);
    x = v128.load32_splat(a, 28);
    c30 = fma(x, y, c30);
    c31 = fma(x, z, c31);
  }
  if ((depth & 1) != 0) {
    const y = v128.load(b), z = v128.load(b, 16);
    let x = v128.load32_splat(a);
    c00 = fma(x, y, c00);
    c01 = fma(x, z, c01);
    x = v128.load32_splat(a, 4);
    c10 = fma(x, y, c10);
    c11 = fma(x, z, c11);
    x = v128.load32_splat(a, 8);
    c20 = fma(x, y, c20);
    c21 = fma(x, z, c21);
    x = v128.load32_splat(a, 12);
    c30 = fma(x, y, c30);
    c31 = fma(x, z, c31);
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
