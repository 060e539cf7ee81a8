// SwiGLU: y = silu(gate) * up, where a row of x holds the gate, then up, and silu(g) = g * sigmoid(g). A task is a block of rows.
import { SwigluBackwardRow, SwigluRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, rowsOf } from '../rows';
import { fma, loadFirst, set, sigmoid, storeFirst } from '../vec';

/** Numbers a task has: exp makes them dearer than those of a plain pass. */
const SWIGLU_ELEMENTS: usize = 8192;

/** sigmoid that reaches 0 where exp is clamped, so that a gate of -infinity gives NaN as the formula does. */
// @ts-ignore: decorator
@inline
function gateSigmoid(gate: v128): v128 {
  return v128.andnot(sigmoid(gate), f32x4.lt(gate, set(-88)));
}

// @ts-ignore: decorator
@inline
function gated(gate: v128, up: v128): v128 {
  return f32x4.mul(f32x4.mul(gate, gateSigmoid(gate)), up);
}

export function swiglu(row: SwigluRow): void {
  parallel(ceilDiv(row.rows, rowsOf(row.cols, SWIGLU_ELEMENTS)), swigluTask, changetype<usize>(row));
}

function swigluTask(at: usize, task: u32): void {
  const row = changetype<SwigluRow>(at);
  const cols = <usize>row.cols, block = rowsOf(cols, SWIGLU_ELEMENTS), from = task * block;
  let y = row.y + ((from * cols) << 2), gate = row.x + ((from * cols) << 3);
  for (let r = from, end = min<usize>(row.rows, from + block); r < end; r++, gate += cols << 2) {
    let up = gate + (cols << 2), i: usize = 0;
    for (; i + 4 <= cols; i += 4, gate += 16, up += 16, y += 16) v128.store(y, gated(v128.load(gate), v128.load(up)));
    const left = cols - i;
    if (left == 0) continue;
    storeFirst(y, gated(loadFirst(gate, left), loadFirst(up, left)), left);
    gate += left << 2;
    y += left << 2;
  }
}

/** dx may be x: gate and up are both read before either place is written. */
export function swiglu_backward(row: SwigluBackwardRow): void {
  parallel(ceilDiv(row.rows, rowsOf(row.cols, SWIGLU_ELEMENTS)), swigluBackwardTask, changetype<usize>(row));
}

function swigluBackwardTask(at: usize, task: u32): void {
  const row = changetype<SwigluBackwardRow>(at);
  const cols = <usize>row.cols, block = rowsOf(cols, SWIGLU_ELEMENTS), from = task * block;
  let dy = row.dy + ((from * cols) << 2), gate = row.x + ((from * cols) << 3), dGate = row.dx + ((from * cols) << 3);
  for (let r = from, end = min<usize>(row.rows, from + block); r < end; r++) {
    let up = gate + (cols << 2), dUp = dGate + (cols << 2), i: usize = 0;
    for (; i + 4 <= cols; i += 4, dy += 16, gate += 16, up += 16, dGate += 16, dUp += 16) {
      const g = v128.load(gate), u = v128.load(up), s = gateSigmoid(g), ds = f32x4.mul(v128.load(dy), s);
      v128.store(dGate, gateGradient(g, u, s, ds));
      v128.store(dUp, f32x4.mul(ds, g));
    }
    const left = cols - i;
    if (left > 0) {
      const g = loadFirst(gate, left), u = loadFirst(up, left), s = gateSigmoid(g), ds = f32x4.mul(loadFirst(dy, left), s);
      storeFirst(dGate, gateGradient(g, u, s, ds), left);
      storeFirst(dUp, f32x4.mul(ds, g), left);
      dy += left << 2;
    }
    gate = up + (left << 2);
    dGate = dUp + (left << 2);
  }
}

// @ts-ignore: decorator
@inline
function gateGradient(gate: v128, up: v128, s: v128, ds: v128): v128 {
  return f32x4.mul(f32x4.mul(ds, up), fma(gate, f32x4.sub(set(1), s), set(1)));
}
