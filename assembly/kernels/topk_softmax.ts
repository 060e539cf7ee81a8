// The choice of a router: the k best of a row of experts and the softmax at them, and its gradient. A task is the rows of about
// TASK_ELEMENTS numbers; the values of the chosen stay in p until they become probabilities.
import { fail } from '../control';
import { idsInside } from '../ids';
import { TopkSoftmaxBackwardRow, TopkSoftmaxRow } from '../ops.gen';
import { parallel } from '../pool';
import { blockRows, ceilDiv, rowExp, rowMax } from '../rows';
import { exp, loadFirst, set, storeFirst } from '../vec';

export function topk_softmax(row: TopkSoftmaxRow): void {
  if (row.k > row.experts) {
    fail('{} choices of {} experts', row.k, row.experts);
    return;
  }
  parallel(ceilDiv(row.rows, blockRows(row.experts)), topkTask, changetype<usize>(row));
}

function topkTask(at: usize, task: u32): void {
  const row = changetype<TopkSoftmaxRow>(at);
  const experts: usize = row.experts, k: usize = row.k, block = blockRows(experts);
  const begin = <usize>task * block, end = min<usize>(begin + block, row.rows);
  for (let r = begin; r < end; r++) {
    const x = row.x + (r * experts << 2), ids = row.ids + (r * k << 2), p = row.p + (r * k << 2);
    const sound = choose(x, row.bias, experts, k, p, ids);
    // The choice was biased, the probabilities are not.
    if (row.bias != 0)
      for (let l: usize = 0; l < k; l++) store<f32>(p + (l << 2), load<f32>(x + (load<u32>(ids + (l << 2)) << 2)));
    let shift: f32 = 0, total: f32 = 0;
    if (row.lse != 0 || row.normalize == 0) {
      shift = rowMax(x, experts);
      total = rowExp(x, 0, experts, shift);
      if (row.lse != 0) store<f32>(row.lse + (r << 2), shift + Mathf.log(total));
    }
    if (row.normalize != 0) {
      shift = rowMax(p, k);
      total = exponentials(p, k, shift);
    } else {
      exponentials(p, k, shift);
    }
    // A NaN that was not chosen counts too.
    if (!sound) total = NaN;
    for (let l: usize = 0; l < k; l++) store<f32>(p + (l << 2), load<f32>(p + (l << 2)) / total);
  }
}

/**
 * The k largest of x + bias (0 = none), largest first, to `values`, and their experts to `ids`. Returns whether all are numbers below
 * infinity. NaN and minus infinity are chosen last, in their order.
 */
function choose(x: usize, bias: usize, experts: usize, k: usize, values: usize, ids: usize): bool {
  let sound = true;
  let found: usize = 0;
  // What a value must be above to come in.
  let least: f32 = k == 0 ? Infinity : -Infinity;
  for (let e: usize = 0; e < experts; e++) {
    const v = biased(x, bias, e);
    if (!(v < Infinity)) sound = false;
    // The first of equals stays, and nothing that is not above minus infinity comes in.
    if (!(v > least)) continue;
    let l = found < k ? found++ : k - 1;
    for (; l > 0 && load<f32>(values + (l - 1 << 2)) < v; l--) {
      store<f32>(values + (l << 2), load<f32>(values + (l - 1 << 2)));
      store<u32>(ids + (l << 2), load<u32>(ids + (l - 1 << 2)));
    }
    store<f32>(values + (l << 2), v);
    store<u32>(ids + (l << 2), <u32>e);
    if (found == k) least = load<f32>(values + (k - 1 << 2));
  }
  for (let e: usize = 0; found < k; e++) {
    const v = biased(x, bias, e);
    if (v > -Infinity) continue;
    store<f32>(values + (found << 2), v);
    store<u32>(ids + (found++ << 2), <u32>e);
  }
  return sound;
}

// @ts-ignore: decorator
@inline
function biased(x: usize, bias: usize, e: usize): f32 {
  const v = load<f32>(x + (e << 2));
  return bias == 0 ? v : v + load<f32>(bias + (e << 2));
}

/** x = exp(x - shift); returns the sum in the order of x. */
function exponentials(x: usize, n: usize, shift: f32): f32 {
  let total: f32 = 0;
  for (let i: usize = 0; i < n; i += 4) storeFirst(x + (i << 2), exp(f32x4.sub(loadFirst(x + (i << 2), n - i), set(shift))), n - i);
  for (let i: usize = 0; i < n; i++) total += load<f32>(x + (i << 2));
  return total;
}

export function topk_softmax_backward(row: TopkSoftmaxBackwardRow): void {
  if ((row.dlse != 0 || row.normalize == 0) && row.lse == 0) {
    fail('lse is missing, which normalize 0 and dlse need');
    return;
  }
  const choices = <usize>row.rows * row.k;
  if (!idsInside('expert {} is outside the table of {} rows (position {})', row.ids, choices, row.experts, false)) return;
  parallel(ceilDiv(row.rows, blockRows(row.experts)), topkBackwardTask, changetype<usize>(row));
}

function topkBackwardTask(at: usize, task: u32): void {
  const row = changetype<TopkSoftmaxBackwardRow>(at);
  const experts: usize = row.experts, k: usize = row.k, block = blockRows(experts);
  const begin = <usize>task * block, end = min<usize>(begin + block, row.rows);
  for (let r = begin; r < end; r++) {
    const place = r * experts << 2, dx = row.dx + place, add = row.add && row.add + place;
    const dp = row.dp + (r * k << 2), p = row.p + (r * k << 2);
    let mean: f32 = 0;
    for (let l: usize = 0; l < k; l++) mean += load<f32>(dp + (l << 2)) * load<f32>(p + (l << 2));
    // With normalize the mean is taken from the chosen alone, without it from all by way of the softmax.
    let ofChosen = mean;
    if (row.normalize == 0) ofChosen = 0;
    if (row.dlse != 0 || row.normalize == 0) {
      const factor = (row.dlse == 0 ? <f32>0 : load<f32>(row.dlse + (r << 2))) - (mean - ofChosen);
      wholeGradient(row.x + place, add, dx, experts, load<f32>(row.lse + (r << 2)), factor);
    } else if (add == 0) memory.fill(dx, 0, experts << 2);
    else memory.copy(dx, add, experts << 2);
    for (let l: usize = 0; l < k; l++) {
      const to = dx + (load<u32>(row.ids + (r * k + l << 2)) << 2);
      store<f32>(to, load<f32>(to) + load<f32>(p + (l << 2)) * (load<f32>(dp + (l << 2)) - ofChosen));
    }
  }
}

/** dx = factor exp(x - lse) (+ add) */
function wholeGradient(x: usize, add: usize, dx: usize, n: usize, lse: f32, factor: f32): void {
  const f = set(factor), shift = set(lse);
  for (let i: usize = 0; i < n; i += 4) {
    const at = i << 2, left = n - i;
    const d = f32x4.mul(f, exp(f32x4.sub(loadFirst(x + at, left), shift)));
    storeFirst(dx + at, add == 0 ? d : f32x4.add(d, loadFirst(add + at, left)), left);
  }
}
