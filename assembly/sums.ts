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

/** Rows that are added in registers before they are added to the result, so that rounding grows with rows / 16. */
const ROWS: usize = 16;
/**
 * From so many columns on, rows that follow each other are walked one by one, front to back: that is what the processor foresees.
 * The caller keeps them few.
 */
const WIDE: usize = 256;

/** Address of row k of those that are added: `stride` bytes apart, or, with `order`, the one of that number. */
// @ts-ignore: decorator
@inline
function place(from: usize, stride: usize, order: usize, k: usize): usize {
  return from + (order == 0 ? k : <usize>load<u32>(order + (k << 2))) * stride;
}

/** y = alpha total (+ plus) */
// @ts-ignore: decorator
@inline
function finish(y: usize, plus: usize, alpha: v128, total: v128, offset: usize): void {
  const value = f32x4.mul(alpha, total);
  v128.store(y + offset, plus == 0 ? value : f32x4.add(value, v128.load(plus + offset)));
}

/**
 * y[i] = alpha sum over k < rows of row(k)[i] (+ plus[i]) for i < n. plus may be 0, or y.
 */
export function sumRows(
  from: usize, stride: usize, order: usize, rows: usize, n: usize, y: usize, alpha: f32, plus: usize,
): void {
  const step: usize = order == 0 && n >= WIDE ? 1 : ROWS;
  let k: usize = 0;
  do {
    const end = min<usize>(rows, k + step);
    sumBlock(from, stride, order, k, end, n, y, alpha, plus);
    k = end;
    plus = y;
  } while (k < rows);
}

function sumBlock(
  from: usize, stride: usize, order: usize, begin: usize, end: usize, n: usize, y: usize, alpha: f32, plus: usize,
): void {
  const factor = set(alpha);
  let i: usize = 0;
  for (; i + 32 <= n; i += 32) {
    let a = zero(), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (let k = begin; k < end; k++) {
      const x = place(from, stride, order, k);
      a = f32x4.add(a, v128.load(x));
      b = f32x4.add(b, v128.load(x, 16));
      c = f32x4.add(c, v128.load(x, 32));
      d = f32x4.add(d, v128.load(x, 48));
      e = f32x4.add(e, v128.load(x, 64));
      f = f32x4.add(f, v128.load(x, 80));
      g = f32x4.add(g, v128.load(x, 96));
      h = f32x4.add(h, v128.load(x, 112));
    }
    finish(y, plus, factor, a, 0);
    finish(y, plus, factor, b, 16);
    finish(y, plus, factor, c, 32);
    finish(y, plus, factor, d, 48);
    finish(y, plus, factor, e, 64);
    finish(y, plus, factor, f, 80);
    finish(y, plus, factor, g, 96);
    finish(y, plus, factor, h, 112);
    from += 128;
    y += 128;
    plus = plus && plus + 128;
  }
  for (; i < n; i += 4) {
    const left = n - i;
    let a = zero();
    for (let k = begin; k < end; k++) a = f32x4.add(a, loadFirst(place(from, stride, order, k), left));
    const value = f32x4.mul(factor, a);
    storeFirst(y, plus == 0 ? value : f32x4.add(value, loadFirst(plus, left)), left);
    from += 16;
    y += 16;
    plus = plus && plus + 16;
  }
}
