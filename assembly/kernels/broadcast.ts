// y[o, j, i] = alpha x[o, i] (+ add). A task is TASK_ELEMENTS numbers of y, whatever the shape.
import { BroadcastRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, TASK_ELEMENTS } from '../rows';
import { loadFirst, set, storeFirst } from '../vec';

export function broadcast(row: BroadcastRow): void {
  parallel(ceilDiv(<usize>row.outer * row.n * row.inner, TASK_ELEMENTS), broadcastTask, changetype<usize>(row));
}

/**
 * y is rows of `width` numbers. With inner > 1, row r copies row r / n of x. With inner == 1 the rows are the repeated numbers
 * themselves: row r is n times x[r]. With n == 1 everything is one long row.
 */
function broadcastTask(at: usize, task: u32): void {
  const row = changetype<BroadcastRow>(at);
  const n: usize = row.n, inner: usize = row.inner, all = <usize>row.outer * n * inner, add = row.add;
  const constant = inner == 1 && n > 1;
  const width = n == 1 ? all : constant ? n : inner, repeat = constant ? <usize>1 : n;
  const begin = <usize>task * TASK_ELEMENTS, end = min<usize>(all, begin + TASK_ELEMENTS);
  for (let i = begin; i < end; ) {
    const r = i / width, column = i % width, length = min<usize>(width - column, end - i);
    const y = row.y + (i << 2), plus = add && add + (i << 2);
    if (constant) spread(y, plus, length, row.alpha * load<f32>(row.x + (r << 2)));
    else scaled(row.x + ((r / repeat) * width + column << 2), y, plus, length, row.alpha);
    i += length;
  }
}

/** y = value (+ plus) */
function spread(y: usize, plus: usize, n: usize, value: f32): void {
  const v = set(value);
  for (; n >= 4; n -= 4, y += 16) {
    v128.store(y, plus == 0 ? v : f32x4.add(v, v128.load(plus)));
    plus = plus && plus + 16;
  }
  storeFirst(y, plus == 0 ? v : f32x4.add(v, loadFirst(plus, n)), n);
}

/** y = alpha x (+ plus) */
function scaled(x: usize, y: usize, plus: usize, n: usize, alpha: f32): void {
  const a = set(alpha);
  for (; n >= 4; n -= 4, x += 16, y += 16) {
    const v = f32x4.mul(a, v128.load(x));
    v128.store(y, plus == 0 ? v : f32x4.add(v, v128.load(plus)));
    plus = plus && plus + 16;
  }
  const v = f32x4.mul(a, loadFirst(x, n));
  storeFirst(y, plus == 0 ? v : f32x4.add(v, loadFirst(plus, n)), n);
}
