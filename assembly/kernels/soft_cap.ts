// soft_cap and its gradient, over n numbers one by one; see elementwise.ts.
import { SoftCapBackwardRow, SoftCapRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, TASK_ELEMENTS } from '../rows';
import { loadFirst, set, storeFirst, tanh } from '../vec';

/** y = cap tanh(x / cap) */
export function soft_cap(row: SoftCapRow): void {
  parallel(ceilDiv(row.n, TASK_ELEMENTS), capTask, changetype<usize>(row));
}

function capTask(at: usize, task: u32): void {
  const row = changetype<SoftCapRow>(at);
  const from = <usize>task * TASK_ELEMENTS, n = min<usize>(row.n - from, TASK_ELEMENTS);
  const cap = set(row.cap), inverse = set(1.0 / row.cap);
  let x = row.x + (from << 2), y = row.y + (from << 2), i: usize = 0;
  for (; i + 4 <= n; i += 4, x += 16, y += 16)
    v128.store(y, f32x4.mul(cap, tanh(f32x4.mul(v128.load(x), inverse))));
  if (i < n) storeFirst(y, f32x4.mul(cap, tanh(f32x4.mul(loadFirst(x, n - i), inverse))), n - i);
}

/** dx = dy (1 - (y / cap)^2) */
export function soft_cap_backward(row: SoftCapBackwardRow): void {
  parallel(ceilDiv(row.n, TASK_ELEMENTS), capBackwardTask, changetype<usize>(row));
}

function capBackwardTask(at: usize, task: u32): void {
  const row = changetype<SoftCapBackwardRow>(at);
  const from = <usize>task * TASK_ELEMENTS, n = min<usize>(row.n - from, TASK_ELEMENTS);
  const one = set(1), inverse = set(1.0 / row.cap);
  let dy = row.dy + (from << 2), y = row.y + (from << 2), dx = row.dx + (from << 2), i: usize = 0;
  for (; i + 4 <= n; i += 4, dy += 16, y += 16, dx += 16) {
    const t = f32x4.mul(v128.load(y), inverse);
    v128.store(dx, f32x4.mul(v128.load(dy), f32x4.mul(f32x4.sub(one, t), f32x4.add(one, t))));
  }
  if (i < n) {
    const t = f32x4.mul(loadFirst(y, n - i), inverse);
    storeFirst(dx, f32x4.mul(loadFirst(dy, n - i), f32x4.mul(f32x4.sub(one, t), f32x4.add(one, t))), n - i);
  }
}
