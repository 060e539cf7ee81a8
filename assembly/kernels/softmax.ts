// Softmax over rows and its gradient. Each row is shifted by its maximum, so that exp never overflows; a row comes from memory once
// and from cache after that. A task is a block of rows.
import { SoftmaxBackwardRow, SoftmaxRow } from '../ops.gen';
import { parallel } from '../pool';
import { blockRows, ceilDiv, rowDot, rowExp, rowMax, rowScale, rowsOf } from '../rows';
import { loadFirst, set, storeFirst } from '../vec';

/** A row is bound by exp, so it takes fewer numbers than a plain pass to be worth a task. */
const SOFTMAX_ELEMENTS: usize = 8192;

export function softmax(row: SoftmaxRow): void {
  parallel(ceilDiv(row.rows, rowsOf(row.cols, SOFTMAX_ELEMENTS)), softmaxTask, changetype<usize>(row));
}

function softmaxTask(at: usize, task: u32): void {
  const row = changetype<SoftmaxRow>(at);
  const cols = <usize>row.cols, block = rowsOf(cols, SOFTMAX_ELEMENTS), from = task * block;
  for (let r = from, end = min<usize>(row.rows, from + block); r < end; r++) {
    const x = row.x + ((r * cols) << 2), y = row.y + ((r * cols) << 2);
    const total = rowExp(x, y, cols, rowMax(x, cols));
    rowScale(y, cols, 1.0 / total);
  }
}

/** dx = y (dy - sum(dy y)) */
export function softmax_backward(row: SoftmaxBackwardRow): void {
  parallel(ceilDiv(row.rows, blockRows(row.cols)), softmaxBackwardTask, changetype<usize>(row));
}

function softmaxBackwardTask(at: usize, task: u32): void {
  const row = changetype<SoftmaxBackwardRow>(at);
  const cols = <usize>row.cols, block = blockRows(cols), from = task * block;
  for (let r = from, end = min<usize>(row.rows, from + block); r < end; r++) {
    let dy = row.dy + ((r * cols) << 2), y = row.y + ((r * cols) << 2), dx = row.dx + ((r * cols) << 2), i: usize = 0;
    const mean = set(rowDot(dy, y, cols));
    for (; i + 4 <= cols; i += 4, dy += 16, y += 16, dx += 16)
      v128.store(dx, f32x4.mul(v128.load(y), f32x4.sub(v128.load(dy), mean)));
    const left = cols - i;
    if (left > 0) storeFirst(dx, f32x4.mul(loadFirst(y, left), f32x4.sub(loadFirst(dy, left), mean)), left);
  }
}
