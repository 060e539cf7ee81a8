// Ops over n numbers one by one: fill, add, mul. A task is TASK_ELEMENTS numbers.
import { AddRow, FillRow, MulRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, TASK_ELEMENTS } from '../rows';
import { fma, set } from '../vec';

export function fill(row: FillRow): void {
  parallel(ceilDiv(row.n, TASK_ELEMENTS), fillTask, changetype<usize>(row));
}

function fillTask(at: usize, task: u32): void {
  const row = changetype<FillRow>(at);
  const from = <usize>task * TASK_ELEMENTS, end = min<usize>(row.n, from + TASK_ELEMENTS);
  let y = row.y + (from << 2);
  const value = set(row.value);
  let i = from;
  for (; i + 4 <= end; i += 4, y += 16) v128.store(y, value);
  for (; i < end; i++, y += 4) store<f32>(y, row.value);
}

/** y = alpha a + beta b */
export function add(row: AddRow): void {
  parallel(ceilDiv(row.n, TASK_ELEMENTS), addTask, changetype<usize>(row));
}

function addTask(at: usize, task: u32): void {
  const row = changetype<AddRow>(at);
  const from = <usize>task * TASK_ELEMENTS, end = min<usize>(row.n, from + TASK_ELEMENTS);
  const a = row.a, b = row.b, y = row.y, alpha = row.alpha, beta = row.beta;
  const va = set(alpha), vb = set(beta);
  let i = from << 2;
  const whole = i + ((end - from) >> 2 << 4), last = end << 2;
  for (; i < whole; i += 16) v128.store(y + i, fma(v128.load(a + i), va, f32x4.mul(v128.load(b + i), vb)));
  for (; i < last; i += 4) store<f32>(y + i, load<f32>(a + i) * alpha + load<f32>(b + i) * beta);
}

/** y = a b (+ add) */
export function mul(row: MulRow): void {
  parallel(ceilDiv(row.n, TASK_ELEMENTS), mulTask, changetype<usize>(row));
}

function mulTask(at: usize, task: u32): void {
  const row = changetype<MulRow>(at);
  const from = <usize>task * TASK_ELEMENTS, end = min<usize>(row.n, from + TASK_ELEMENTS);
  const a = row.a, b = row.b, c = row.add, y = row.y;
  let i = from << 2;
  const whole = i + ((end - from) >> 2 << 4), last = end << 2;
  if (c == 0) {
    for (; i < whole; i += 16) v128.store(y + i, f32x4.mul(v128.load(a + i), v128.load(b + i)));
    for (; i < last; i += 4) store<f32>(y + i, load<f32>(a + i) * load<f32>(b + i));
  } else {
    for (; i < whole; i += 16) v128.store(y + i, fma(v128.load(a + i), v128.load(b + i), v128.load(c + i)));
    for (; i < last; i += 4) store<f32>(y + i, load<f32>(a + i) * load<f32>(b + i) + load<f32>(c + i));
  }
}
