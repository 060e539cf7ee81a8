// Sums that several kernels share: along one run of numbers, and of rows to each other.
import { fma, loadFirst, set, storeFirst, sum, zero } from './vec';

/** Numbers of one partial sum along a run. */
export const SUM_BLOCK: usize = 4096;
/** Columns of a task that adds rows to each other. */
export const SUM_COLUMNS: usize = 1024;

/** Sum of n numbers; four sums side by side hide the latency of an add. */
export function runSum(x: usize, n: usize): f32 {
  let a = zero(), b = a, c = a, d = a;
  let i: usize = 0;
  for (; i + 16 <= n; i += 16, x += 64) {
    a = f32x4.add(a, v128.load(x));
    b = f32x4.add(b, v128.load(x, 16));
    c = f32x4.add(c, v128.load(x, 32));
    d = f32x4.add(d, v128.load(x, 48));
  }
  for (; i + 4 <= n; i += 4, x += 16) a = f32x4.add(a, v128.load(x));
  if (i < n) b = f32x4.add(b, loadFirst(x, n - i));
  return sum(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
}

/** Sum of the squares of n numbers. */
export function runSquares(x: usize, n: usize): f32 {
  let a = zero(), b = a, c = a, d = a;
  let i: usize = 0;
  for (; i + 16 <= n; i += 16, x += 64) {
    a = fma(v128.load(x), v128.load(x), a);
    b = fma(v128.load(x, 16), v128.load(x, 16), b);
    c = fma(v128.load(x, 32), v128.load(x, 32), c);
    d = fma(v128.load(x, 48), v128.load(x, 48), d);
  }
  for (; i + 4 <= n; i += 4, x += 16) a = fma(v128.load(x), v128.load(x), a);
  if (i < n) {
    const tail = loadFirst(x, n - i);
    b = fma(tail, tail, b);
  }
  return sum(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
}

/** Address of row k of those that are added: `stride` bytes apart, or, with `order`, the one of that number. */
// @ts-ignore: decorator
@inline
function place(from: usize, stride: usize, order: usize, k: usize): usize {
  return from + (order == 0 ? k : <usize>load<u32>(order + (k << 2))) * stride;
}

/** y = alpha total (+ plus) */
// @ts-ignore: decorator
@inline
function finish(y: usize, plus: usize, alpha: v128, total: v128): void {
  const value = f32x4.mul(alpha, total);
  v128.store(y, plus == 0 ? value : f32x4.add(value, v128.load(plus)));
}

/**
 * y[i] = alpha sum over k < rows of row(k)[i] (+ plus[i]) for i < n. A line of columns at a time, in registers. Every 64 rows are
 * added up by themselves first, so that rounding grows with rows / 64 and not with rows. plus may be 0, or y.
 */
export function sumRows(
  from: usize, stride: usize, order: usize, rows: usize, n: usize, y: usize, alpha: f32, plus: usize,
): void {
  const factor = set(alpha);
  let i: usize = 0;
  for (; i + 16 <= n; i += 16) {
    let a = zero(), b = a, c = a, d = a;
    for (let k: usize = 0; k < rows; ) {
      const end = min<usize>(rows, k + 64);
      let p = zero(), q = p, r = p, s = p;
      for (; k < end; k++) {
        const x = place(from, stride, order, k);
        p = f32x4.add(p, v128.load(x));
        q = f32x4.add(q, v128.load(x, 16));
        r = f32x4.add(r, v128.load(x, 32));
        s = f32x4.add(s, v128.load(x, 48));
      }
      a = f32x4.add(a, p);
      b = f32x4.add(b, q);
      c = f32x4.add(c, r);
      d = f32x4.add(d, s);
    }
    finish(y, plus, factor, a);
    finish(y + 16, plus && plus + 16, factor, b);
    finish(y + 32, plus && plus + 32, factor, c);
    finish(y + 48, plus && plus + 48, factor, d);
    from += 64;
    y += 64;
    plus = plus && plus + 64;
  }
  for (; i < n; i += 4) {
    const left = n - i;
    let a = zero();
    for (let k: usize = 0; k < rows; ) {
      const end = min<usize>(rows, k + 64);
      let p = zero();
      for (; k < end; k++) p = f32x4.add(p, loadFirst(place(from, stride, order, k), left));
      a = f32x4.add(a, p);
    }
    const value = f32x4.mul(factor, a);
    storeFirst(y, plus == 0 ? value : f32x4.add(value, loadFirst(plus, left)), left);
    from += 16;
    y += 16;
    plus = plus && plus + 16;
  }
}
