// What keeps a router's experts evenly loaded: the losses of its logits with their gradient, and the bias that needs no loss.
import { locals, scratch } from '../control';
import { RouterBiasRow, RouterLossesRow } from '../ops.gen';
import { parallel } from '../pool';
import { blockRows, ceilDiv } from '../rows';
import { exp, first, fma, loadFirst, set, storeFirst, sum, zero } from '../vec';

@unmanaged
class Sums {
  /** (blocks, stride): sums of probabilities, then of squares of lse. Behind all of them room for a row of each block. */
  partial: usize;
  /** Bytes. */
  stride: usize;
  blocks: usize;
  /** balance experts / rows, and z 2 / rows */
  balance: f32;
  z: f32;
}

/**
 * One pass: a row leaves its probabilities in dx, adds them to the sum of its block, and comes back for its gradient
 *   dx[e] = p[e] (balance experts / rows (f[e] - <f, p>) + z 2 / rows lse).
 */
export function router_losses(row: RouterLossesRow): void {
  const rows: usize = row.rows, experts: usize = row.experts, y = row.y;
  const sums = changetype<Sums>(locals());
  sums.blocks = ceilDiv(rows, blockRows(experts));
  sums.stride = (experts + 16 & ~15) << 2;
  sums.partial = scratch(max<usize>(2 * sums.blocks * sums.stride, 1));
  if (sums.partial == 0) return;
  sums.balance = row.balance * <f32>experts / <f32>rows;
  sums.z = row.z * 2 / <f32>rows;
  const total = <f32>(load<i32>(row.offsets + (experts << 2)) - load<i32>(row.offsets));
  for (let e: usize = 0; e < experts; e++) {
    const chosen = <f32>loadOf(row.offsets, e);
    store<f32>(y + (e << 2), total == 0 ? 0 : chosen / total);
  }
  parallel(<u32>sums.blocks, routerLossesTask, changetype<usize>(row));
  const each: f64 = rows == 0 ? 0 : 1 / <f64>rows;
  let even: f64 = 0;
  for (let e: usize = 0; e < experts; e++) even += <f64>load<f32>(y + (e << 2)) * totalOf(sums, e) * each;
  store<f32>(y + (experts << 2), <f32>(<f64>experts * even));
  store<f32>(y + (experts << 2), <f32>(totalOf(sums, experts) * each), 4);
}

function loadOf(offsets: usize, e: usize): i32 {
  return load<i32>(offsets + (e << 2), 4) - load<i32>(offsets + (e << 2));
}

function totalOf(sums: Sums, at: usize): f64 {
  let total: f64 = 0;
  for (let b: usize = 0; b < sums.blocks; b++) total += load<f32>(sums.partial + b * sums.stride + (at << 2));
  return total;
}

function routerLossesTask(at: usize, task: u32): void {
  const row = changetype<RouterLossesRow>(at), shared = changetype<Sums>(locals());
  const experts: usize = row.experts, f = row.y, block = blockRows(experts);
  const sums = shared.partial + <usize>task * shared.stride, space = sums + shared.blocks * shared.stride;
  memory.fill(sums, 0, experts << 2);
  let squares: f32 = 0;
  const begin = <usize>task * block, end = min<usize>(begin + block, row.rows);
  for (let r = begin; r < end; r++) {
    const lse = load<f32>(row.lse + (r << 2)), x = row.x + (r * experts << 2);
    const p = row.dx == 0 ? space : row.dx + (r * experts << 2);
    let mean = zero();
    for (let i: usize = 0; i < experts; i += 4) {
      const left = experts - i, e = i << 2;
      const value = first(exp(f32x4.sub(loadFirst(x + e, left), set(lse))), zero(), min<usize>(left, 4));
      storeFirst(p + e, value, left);
      storeFirst(sums + e, f32x4.add(loadFirst(sums + e, left), value), left);
      mean = fma(loadFirst(f + e, left), value, mean);
    }
    squares += lse * lse;
    if (row.dx == 0) continue;
    const factor = set(shared.balance), rest = set(shared.z * lse - shared.balance * sum(mean));
    for (let i: usize = 0; i < experts; i += 4) {
      const left = experts - i, e = i << 2;
      storeFirst(p + e, f32x4.mul(loadFirst(p + e, left), fma(factor, loadFirst(f + e, left), rest)), left);
    }
  }
  store<f32>(sums + (experts << 2), squares);
}

/** bias[e] += rate sign(mean load - load[e]), compared as whole numbers. */
export function router_bias(row: RouterBiasRow): void {
  const experts: i64 = row.experts;
  const total = <i64>load<i32>(row.offsets + (row.experts << 2)) - load<i32>(row.offsets);
  for (let e: usize = 0; e < row.experts; e++) {
    const missing = total - experts * loadOf(row.offsets, e), bias = row.bias + (e << 2);
    if (missing != 0) store<f32>(bias, load<f32>(bias) + (missing > 0 ? row.rate : -row.rate));
  }
}
