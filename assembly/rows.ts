// How kernels cut their work, and loops over one row of numbers that several share. Every function takes any length, 0 included, and
// reads and writes nothing past it.
import { exp2, fma, first, loadFirst, max, maxLane, set, storeFirst, sum, zero } from './vec';

/** Numbers a task of an elementwise op has. */
export const TASK_ELEMENTS: usize = 16384;

// @ts-ignore: decorator
@inline
export function ceilDiv(a: usize, b: usize): u32 {
  return <u32>((a + b - 1) / b);
}

/** Rows of `cols` numbers that make a task of about `elements`. */
// @ts-ignore: decorator
@inline
export function rowsOf(cols: usize, elements: usize): usize {
  return max_<usize>(1, elements / max_<usize>(cols, 1));
}

/** Rows of `cols` numbers that make a task of about TASK_ELEMENTS. */
// @ts-ignore: decorator
@inline
export function blockRows(cols: usize): usize {
  return rowsOf(cols, TASK_ELEMENTS);
}

// @ts-ignore: decorator
@inline
function max_<T>(a: T, b: T): T {
  return a > b ? a : b;
}

/** Largest of x, -infinity when n is 0. A NaN may be lost: what follows must meet it again. */
export function rowMax(x: usize, n: usize): f32 {
  const low = set(-Infinity);
  let a = low, b = low;
  let i: usize = 0;
  for (; i + 8 <= n; i += 8, x += 32) {
    a = max(a, v128.load(x));
    b = max(b, v128.load(x, 16));
  }
  for (; i + 4 <= n; i += 4, x += 16) a = max(a, v128.load(x));
  if (i < n) a = max(a, first(loadFirst(x, n - i), low, n - i));
  return maxLane(max(a, b));
}

/** y = exp(x - shift); returns the sum of y. y may be x, or 0: then nothing is stored. */
export function rowExp(x: usize, y: usize, n: usize, shift: f32): f32 {
  const s = set(shift), log2e = set(1.44269504);
  let total = zero();
  let i: usize = 0;
  for (; i + 4 <= n; i += 4) {
    const p = exp2(f32x4.mul(f32x4.sub(v128.load(x + (i << 2)), s), log2e));
    if (y != 0) v128.store(y + (i << 2), p);
    total = f32x4.add(total, p);
  }
  if (i < n) {
    const p = exp2(f32x4.mul(f32x4.sub(loadFirst(x + (i << 2), n - i), s), log2e));
    if (y != 0) storeFirst(y + (i << 2), p, n - i);
    total = f32x4.add(total, first(p, zero(), n - i));
  }
  return sum(total);
}

/** x = factor x */
export function rowScale(x: usize, n: usize, factor: f32): void {
  const f = set(factor);
  let i: usize = 0;
  for (; i + 4 <= n; i += 4, x += 16) v128.store(x, f32x4.mul(v128.load(x), f));
  for (; i < n; i++, x += 4) store<f32>(x, load<f32>(x) * factor);
}

/** Sum of a b */
export function rowDot(a: usize, b: usize, n: usize): f32 {
  let s = zero(), t = zero();
  let i: usize = 0;
  for (; i + 8 <= n; i += 8, a += 32, b += 32) {
    s = fma(v128.load(a), v128.load(b), s);
    t = fma(v128.load(a, 16), v128.load(b, 16), t);
  }
  for (; i + 4 <= n; i += 4, a += 16, b += 16) s = fma(v128.load(a), v128.load(b), s);
  if (i < n) t = fma(loadFirst(a, n - i), loadFirst(b, n - i), t);
  return sum(f32x4.add(s, t));
}
