// Rows sorted by the expert they go to, and the weighted sum of what comes back. All of it stays on the device: the layer's matrices
// have rows * k rows whatever the choices are.
import { locals, scratch } from '../control';
import { idsInside } from '../ids';
import { CombineRowsBackwardRow, CombineRowsRow, RouteSortRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, TASK_ELEMENTS } from '../rows';
import { fma, loadFirst, set, storeFirst, sum, zero } from '../vec';

@unmanaged
class Blocks {
  /** Rows of a block. */
  rows: usize;
  /** (blocks, groups): how many choices, then where the next of them goes. */
  counts: usize;
}

/**
 * A counting sort whose blocks of rows count and then place for themselves: within a group, blocks follow each other in their order,
 * so the result is the same as from one block.
 */
export function route_sort(row: RouteSortRow): void {
  const rows: usize = row.rows, k: usize = row.k, groups: usize = row.groups;
  if (!idsInside('expert {} is outside the table of {} rows (position {})', row.ids, rows * k, row.groups, false)) return;
  const blocks = changetype<Blocks>(locals());
  // Choices a block: enough to outweigh its counts.
  blocks.rows = ceilDiv(max<usize>(4096, 4 * groups), max<usize>(k, 1));
  const tasks: usize = ceilDiv(rows, blocks.rows);
  blocks.counts = scratch(max<usize>(tasks * groups, 1) << 2);
  if (blocks.counts == 0) return;
  parallel(<u32>tasks, countTask, changetype<usize>(row));
  let total: u32 = 0;
  for (let g: usize = 0; g < groups; g++) {
    store<u32>(row.offsets + (g << 2), total);
    for (let b: usize = 0; b < tasks; b++) {
      const at = blocks.counts + (b * groups + g << 2), count = load<u32>(at);
      store<u32>(at, total);
      total += count;
    }
  }
  store<u32>(row.offsets + (groups << 2), total);
  parallel(<u32>tasks, placeTask, changetype<usize>(row));
}

function countTask(at: usize, task: u32): void {
  const row = changetype<RouteSortRow>(at), blocks = changetype<Blocks>(locals());
  const k: usize = row.k, own = blocks.counts + (<usize>task * row.groups << 2);
  memory.fill(own, 0, <usize>row.groups << 2);
  const begin = <usize>task * blocks.rows, end = min<usize>(begin + blocks.rows, row.rows);
  for (let c = begin * k; c < end * k; c++) {
    const count = own + (load<u32>(row.ids + (c << 2)) << 2);
    store<u32>(count, load<u32>(count) + 1);
  }
}

function placeTask(at: usize, task: u32): void {
  const row = changetype<RouteSortRow>(at), blocks = changetype<Blocks>(locals());
  const k: usize = row.k, own = blocks.counts + (<usize>task * row.groups << 2);
  const begin = <usize>task * blocks.rows, end = min<usize>(begin + blocks.rows, row.rows);
  for (let r = begin; r < end; r++) {
    for (let c = r * k; c < (r + 1) * k; c++) {
      const next = own + (load<u32>(row.ids + (c << 2)) << 2), place = load<u32>(next);
      store<u32>(next, place + 1);
      store<u32>(row.source + (place << 2), <u32>r);
      store<u32>(row.position + (c << 2), place);
    }
  }
}

/** Rows of a task that visits `numbers` of them a row. */
function combineRows(numbers: usize): usize {
  return max<usize>(1, 2 * TASK_ELEMENTS / max<usize>(numbers, 1));
}

function positionsInside(position: usize, choices: u32): bool {
  return idsInside('position {} is outside the table of {} rows (position {})', position, choices, choices, false);
}

/** y[r] = sum over c of p[r, c] x[position[r, c]] (+ add) */
export function combine_rows(row: CombineRowsRow): void {
  if (!positionsInside(row.position, row.rows * row.k)) return;
  parallel(ceilDiv(row.rows, combineRows(row.cols * (row.k + 1))), combineTask, changetype<usize>(row));
}

function combineTask(at: usize, task: u32): void {
  const row = changetype<CombineRowsRow>(at);
  const cols: usize = row.cols, k: usize = row.k, block = combineRows(cols * (k + 1));
  const begin = <usize>task * block, end = min<usize>(begin + block, row.rows);
  for (let r = begin; r < end; r++) {
    const from = row.position + (r * k << 2), p = row.p && row.p + (r * k << 2);
    const y = row.y + (r * cols << 2), add = row.add && row.add + (r * cols << 2);
    combine(row.x, from, p, k, add, y, cols);
  }
}

/** y = sum over c of p[c] x[from[c]] (+ add) */
function combine(x: usize, from: usize, p: usize, k: usize, add: usize, y: usize, cols: usize): void {
  const stride = cols << 2;
  let i: usize = 0;
  for (; i + 8 <= cols; i += 8) {
    let a = zero(), b = a;
    for (let c: usize = 0; c < k; c++) {
      const weight = set(p == 0 ? 1 : load<f32>(p + (c << 2)));
      const v = x + <usize>load<u32>(from + (c << 2)) * stride;
      a = fma(weight, v128.load(v), a);
      b = fma(weight, v128.load(v, 16), b);
    }
    v128.store(y, add == 0 ? a : f32x4.add(a, v128.load(add)));
    v128.store(y, add == 0 ? b : f32x4.add(b, v128.load(add, 16)), 16);
    x += 32;
    y += 32;
    add = add && add + 32;
  }
  for (; i < cols; i += 4) {
    const left = cols - i;
    let a = add == 0 ? zero() : loadFirst(add, left);
    for (let c: usize = 0; c < k; c++) {
      const v = loadFirst(x + <usize>load<u32>(from + (c << 2)) * stride, left);
      a = fma(set(p == 0 ? 1 : load<f32>(p + (c << 2))), v, a);
    }
    storeFirst(y, a, left);
    x += 16;
    y += 16;
    add = add && add + 16;
  }
}

/** dx[position[r, c]] = p[r, c] dy[r], dp[r, c] = <dy[r], x[position[r, c]]>; dx may be x */
export function combine_rows_backward(row: CombineRowsBackwardRow): void {
  if (!positionsInside(row.position, row.rows * row.k)) return;
  parallel(ceilDiv(row.rows, combineRows(row.cols * (2 * row.k + 1))), combineBackwardTask, changetype<usize>(row));
}

function combineBackwardTask(at: usize, task: u32): void {
  const row = changetype<CombineRowsBackwardRow>(at);
  const cols: usize = row.cols, k: usize = row.k, block = combineRows(cols * (2 * k + 1));
  const begin = <usize>task * block, end = min<usize>(begin + block, row.rows);
  for (let r = begin; r < end; r++) {
    const dy = row.dy + (r * cols << 2);
    for (let c = r * k; c < (r + 1) * k; c++) {
      const place = <usize>load<u32>(row.position + (c << 2)) * cols << 2;
      const dot = weigh(dy, row.x + place, row.dx + place, cols, load<f32>(row.p + (c << 2)));
      store<f32>(row.dp + (c << 2), dot);
    }
  }
}

/** dx = weight dy; returns the sum of dy x. */
function weigh(dy: usize, x: usize, dx: usize, n: usize, weight: f32): f32 {
  const w = set(weight);
  let dot = zero();
  for (; n >= 4; n -= 4, dy += 16, x += 16, dx += 16) {
    const v = v128.load(dy);
    dot = fma(v, v128.load(x), dot);
    v128.store(dx, f32x4.mul(w, v));
  }
  const v = loadFirst(dy, n);
  dot = fma(v, loadFirst(x, n), dot);
  storeFirst(dx, f32x4.mul(w, v), n);
  return sum(dot);
}
