// Copies blocks of A and B into the order in which the microkernel reads them: panels of 4 rows of A or 8 columns of B, each panel
// step by step of K, zeros past the edge. A matrix is read along its rows in memory. With `bf16` numbers are rounded on the way, which is all
// that mixed precision is here: sums are those of float32.
import { loadFirst, zero } from '../vec';

/** Two steps of nothing behind a panel: panels a power of two apart would share a few cache sets. */
const GAP: usize = 2;

/** Bytes of a panel of `depth` steps, `unit` numbers each. */
// @ts-ignore: decorator
@inline
export function panelBytes(depth: usize, unit: usize): usize {
  return (depth + GAP) * unit * 4;
}

/** To the nearest bf16, ties to even; a NaN stays one. */
export function roundToBf16(x: v128): v128 {
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

/**
 * Neighbours along a row in memory belong to one step: from[step * ld + number], `depth` steps of `count` numbers, into panels of `unit`
 * (4 or 8) numbers. ld in bytes.
 */
export function packAcross(from: usize, ld: usize, depth: usize, count: usize, unit: usize, to: usize, bf16: bool): void {
  const panel = panelBytes(depth, unit), padded = (count + unit - 1) & ~(unit - 1);
  for (let p: usize = 0; p < depth; p++, from += ld, to += unit * 4) {
    let at = to, j: usize = 0, x = from;
    if (unit == 8 && !bf16) {
      for (; j + 8 <= count; j += 8, at += panel, x += 32) {
        v128.store(at, v128.load(x));
        v128.store(at, v128.load(x, 16), 16);
      }
    } else if (unit == 4 && !bf16) {
      for (; j + 4 <= count; j += 4, at += panel, x += 16) v128.store(at, v128.load(x));
    }
    for (; j < padded; j += 4, x += 16) {
      v128.store(at + ((j & (unit - 1)) << 2), j < count ? take(x, count - j, bf16) : zero());
      if (((j + 4) & (unit - 1)) == 0) at += panel;
    }
  }
}

/** Neighbours along a row in memory are steps that follow each other: from[number * ld + step]. Four by four they are transposed in registers. */
export function packAlong(from: usize, ld: usize, depth: usize, count: usize, unit: usize, to: usize, bf16: bool): void {
  const panel = panelBytes(depth, unit), padded = (count + unit - 1) & ~(unit - 1), step = unit * 4;
  for (let j: usize = 0; j < padded; j += 4, from += 4 * ld) {
    const start = to + j / unit * panel + ((j & (unit - 1)) << 2);
    const r1 = from + ld, r2 = from + 2 * ld, r3 = from + 3 * ld;
    let at = start, p: usize = 0;
    if (j + 4 <= count && !bf16) {
      for (; p + 4 <= depth; p += 4, at += 4 * step) {
        const o = p << 2;
        transposeTo(v128.load(from + o), v128.load(r1 + o), v128.load(r2 + o), v128.load(r3 + o), at, step, 4);
      }
    }
    for (; p < depth; p += 4, at += 4 * step) {
      const o = p << 2, n = depth - p;
      const a = j < count ? take(from + o, n, bf16) : zero(), b = j + 1 < count ? take(r1 + o, n, bf16) : zero();
      const c = j + 2 < count ? take(r2 + o, n, bf16) : zero(), d = j + 3 < count ? take(r3 + o, n, bf16) : zero();
      transposeTo(a, b, c, d, at, step, n);
    }
  }
}

/** Columns of the four rows a, b, c, d, the first n of them, `step` bytes apart. */
// @ts-ignore: decorator
@inline
function transposeTo(a: v128, b: v128, c: v128, d: v128, to: usize, step: usize, n: usize): void {
  // Interleaving alone, which is one instruction each; other shuffles may be two.
  const ac = v128.shuffle<f32>(a, c, 0, 4, 1, 5), bd = v128.shuffle<f32>(b, d, 0, 4, 1, 5);
  v128.store(to, v128.shuffle<f32>(ac, bd, 0, 4, 1, 5));
  if (n < 2) return;
  v128.store(to + step, v128.shuffle<f32>(ac, bd, 2, 6, 3, 7));
  if (n < 3) return;
  const ac2 = v128.shuffle<f32>(a, c, 2, 6, 3, 7), bd2 = v128.shuffle<f32>(b, d, 2, 6, 3, 7);
  v128.store(to + 2 * step, v128.shuffle<f32>(ac2, bd2, 0, 4, 1, 5));
  if (n < 4) return;
  v128.store(to + 3 * step, v128.shuffle<f32>(ac2, bd2, 2, 6, 3, 7));
}
