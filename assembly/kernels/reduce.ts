// Reductions: reduce_sum, sum_squares, argmax, bincount.
// Sums are made of partial sums of fixed blocks, added in their order in double, so that neither the number of threads nor the length
// decides how good they are. reduce_sum has two regimes: inner == 1 adds along contiguous rows (the sum of a whole tensor is one such
// row), anything else adds rows to each other, column by column.
import { locals, scratch } from '../control';
import { idsInside } from '../ids';
import { ArgmaxRow, BincountRow, ReduceSumRow, SumSquaresRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, TASK_ELEMENTS } from '../rows';
import { runSquares, runSum, SUM_BLOCK, SUM_COLUMNS, sumRows } from '../sums';
import { max as larger, maxLane, set } from '../vec';

/** y[o, i] = alpha sum_j x[o, j, i] (+ add) */
export function reduce_sum(row: ReduceSumRow): void {
  if (row.outer == 0 || row.inner == 0) return;
  if (row.inner == 1 && row.n > 1) sumAlong(row);
  else sumAcross(row);
}

/** How the work of a reduction is cut, for its tasks. */
@unmanaged
class Cut {
  outer: usize;
  n: usize;
  inner: usize;
  /** Numbers, or rows, of a partial sum, and partial sums of a result. */
  block: usize;
  blocks: usize;
  /** Pieces of SUM_COLUMNS columns. */
  chunks: usize;
  /** Pieces of work, and of those what a task does. */
  units: usize;
  perTask: usize;
  /** Where partial sums go: (outer, blocks, inner); 0 when there is one for each result. */
  partial: usize;
}

function finish(row: ReduceSumRow, at: usize, total: f64): void {
  const value = <f64>row.alpha * total;
  store<f32>(row.y + (at << 2), <f32>(row.add == 0 ? value : value + load<f32>(row.add + (at << 2))));
}

/** The sum over its blocks of result (o, i). */
function total(cut: Cut, o: usize, i: usize): f64 {
  let sum: f64 = 0;
  for (let b: usize = 0; b < cut.blocks; b++) sum += load<f32>(cut.partial + ((o * cut.blocks + b) * cut.inner + i << 2));
  return sum;
}

function sumAlong(row: ReduceSumRow): void {
  const cut = changetype<Cut>(locals());
  cut.n = row.n;
  cut.inner = 1;
  cut.blocks = ceilDiv(cut.n, SUM_BLOCK);
  cut.units = <usize>row.outer * cut.blocks;
  cut.perTask = max<usize>(1, TASK_ELEMENTS / min<usize>(cut.n, SUM_BLOCK));
  cut.partial = 0;
  if (cut.blocks > 1) {
    cut.partial = scratch(cut.units << 2);
    if (cut.partial == 0) return;
  }
  parallel(ceilDiv(cut.units, cut.perTask), sumAlongTask, changetype<usize>(row));
  if (cut.blocks > 1) for (let o: usize = 0; o < row.outer; o++) finish(row, o, total(cut, o, 0));
}

function sumAlongTask(at: usize, task: u32): void {
  const row = changetype<ReduceSumRow>(at), cut = changetype<Cut>(locals());
  const begin = <usize>task * cut.perTask, end = min<usize>(begin + cut.perTask, cut.units);
  for (let k = begin; k < end; k++) {
    const first = (k % cut.blocks) * SUM_BLOCK;
    const value = runSum(row.x + ((k / cut.blocks) * cut.n + first << 2), min<usize>(SUM_BLOCK, cut.n - first));
    if (cut.blocks == 1) finish(row, k, value);
    else store<f32>(cut.partial + (k << 2), value);
  }
}

function sumAcross(row: ReduceSumRow): void {
  const cut = changetype<Cut>(locals());
  // Nothing to add up: one long row, so that small `inner` does not cost a vector each.
  cut.n = row.n;
  cut.outer = row.n == 1 ? 1 : row.outer;
  cut.inner = row.n == 1 ? <usize>row.outer * row.inner : row.inner;
  const width = min<usize>(cut.inner, SUM_COLUMNS);
  cut.chunks = ceilDiv(cut.inner, SUM_COLUMNS);
  cut.block = max<usize>(64, 2 * TASK_ELEMENTS / width);
  cut.blocks = max<usize>(1, ceilDiv(cut.n, cut.block));
  cut.units = cut.outer * cut.blocks * cut.chunks;
  cut.perTask = max<usize>(1, TASK_ELEMENTS / (width * max<usize>(1, min<usize>(cut.n, cut.block))));
  cut.partial = 0;
  if (cut.blocks > 1) {
    cut.partial = scratch(cut.outer * cut.blocks * cut.inner << 2);
    if (cut.partial == 0) return;
  }
  parallel(ceilDiv(cut.units, cut.perTask), sumAcrossTask, changetype<usize>(row));
  if (cut.blocks > 1) parallel(<u32>(cut.outer * cut.chunks), addPartialTask, changetype<usize>(row));
}

/** A unit: up to SUM_COLUMNS columns of a block of rows. */
function sumAcrossTask(at: usize, task: u32): void {
  const row = changetype<ReduceSumRow>(at), cut = changetype<Cut>(locals());
  const begin = <usize>task * cut.perTask, end = min<usize>(begin + cut.perTask, cut.units);
  for (let unit = begin; unit < end; unit++) {
    const column = (unit % cut.chunks) * SUM_COLUMNS, slab = unit / cut.chunks;
    const o = slab / cut.blocks, first = (slab % cut.blocks) * cut.block;
    const count = min<usize>(SUM_COLUMNS, cut.inner - column), rows = min<usize>(cut.block, cut.n - first);
    const x = row.x + ((o * cut.n + first) * cut.inner + column << 2), stride = cut.inner << 2;
    if (cut.blocks > 1) {
      sumRows(x, stride, 0, rows, count, cut.partial + (slab * cut.inner + column << 2), 1, 0);
    } else {
      const place = o * cut.inner + column << 2;
      sumRows(x, stride, 0, rows, count, row.y + place, row.alpha, row.add && row.add + place);
    }
  }
}

function addPartialTask(at: usize, task: u32): void {
  const row = changetype<ReduceSumRow>(at), cut = changetype<Cut>(locals());
  const o = <usize>task / cut.chunks, column = (<usize>task % cut.chunks) * SUM_COLUMNS;
  const end = min<usize>(cut.inner, column + SUM_COLUMNS);
  for (let i = column; i < end; i++) finish(row, o * cut.inner + i, total(cut, o, i));
}

/** y[0] = sum of x^2 */
export function sum_squares(row: SumSquaresRow): void {
  const blocks = ceilDiv(row.n, TASK_ELEMENTS);
  const cut = changetype<Cut>(locals());
  cut.inner = 1;
  cut.blocks = blocks;
  cut.partial = scratch(max<usize>(blocks, 1) << 2);
  if (cut.partial == 0) return;
  parallel(blocks, sumSquaresTask, changetype<usize>(row));
  store<f32>(row.y, <f32>total(cut, 0, 0));
}

function sumSquaresTask(at: usize, task: u32): void {
  const row = changetype<SumSquaresRow>(at);
  const begin = <usize>task * TASK_ELEMENTS;
  const value = runSquares(row.x + (begin << 2), min<usize>(TASK_ELEMENTS, <usize>row.n - begin));
  store<f32>(changetype<Cut>(locals()).partial + (<usize>task << 2), value);
}

/** y[r] = first index of the largest x[r, :]. A task is the rows of about TASK_ELEMENTS numbers. */
export function argmax(row: ArgmaxRow): void {
  parallel(ceilDiv(row.rows, argmaxRows(row.cols)), argmaxTask, changetype<usize>(row));
}

function argmaxRows(cols: usize): usize {
  return max<usize>(1, TASK_ELEMENTS / max<usize>(cols, 1));
}

function argmaxTask(at: usize, task: u32): void {
  const row = changetype<ArgmaxRow>(at);
  const cols: usize = row.cols, block = argmaxRows(cols);
  const begin = <usize>task * block, end = min<usize>(begin + block, row.rows);
  for (let r = begin; r < end; r++) store<u32>(row.y + (r << 2), firstLargest(row.x + (r * cols << 2), cols));
}

/** Largest of x, -infinity when there is none; a NaN is passed over. */
function largest(x: usize, n: usize): f32 {
  let a = set(-Infinity), b = a;
  let i: usize = 0;
  for (; i + 8 <= n; i += 8, x += 32) {
    a = larger(v128.load(x), a);
    b = larger(v128.load(x, 16), b);
  }
  let best = maxLane(larger(a, b));
  for (; i < n; i++, x += 4) {
    const value = load<f32>(x);
    best = value > best ? value : best;
  }
  return best;
}

/** Two looks at a row: the largest value and the block of 256 that first holds it, then its place within that block. */
function firstLargest(x: usize, n: usize): u32 {
  let best: f32 = -Infinity;
  let at: usize = 0, end = n;
  for (let i: usize = 0; i < n; i += 256) {
    const stop = min<usize>(n, i + 256), value = largest(x + (i << 2), stop - i);
    if (value > best) {
      best = value;
      at = i;
      end = stop;
    }
  }
  for (let i = at; i < end; i++) if (load<f32>(x + (i << 2)) == best) return <u32>i;
  return 0;
}

/** Ids that a task of bincount counts for itself. */
@unmanaged
class Bins {
  block: usize;
  /** (blocks, vocab) */
  counts: usize;
}

/** y[v] = how many ids equal v. Counts are whole numbers, so each block of ids has its own, added at the end. */
export function bincount(row: BincountRow): void {
  const n: usize = row.n, vocab: usize = row.vocab;
  if (!idsInside('id {} is outside the table of {} rows (position {})', row.ids, n, row.vocab, true)) return;
  const bins = changetype<Bins>(locals());
  bins.block = max<usize>(((n + 15) / 16 + 63) & ~63, max<usize>(TASK_ELEMENTS, 4 * vocab));
  const blocks: usize = ceilDiv(n, bins.block);
  bins.counts = scratch(max<usize>(blocks * vocab, 1) << 2);
  if (bins.counts == 0) return;
  parallel(<u32>blocks, bincountTask, changetype<usize>(row));
  for (let v: usize = 0; v < vocab; v++) {
    let total: u32 = 0;
    for (let b: usize = 0; b < blocks; b++) total += load<u32>(bins.counts + (b * vocab + v << 2));
    store<f32>(row.y + (v << 2), <f32>total);
  }
}

function bincountTask(at: usize, task: u32): void {
  const row = changetype<BincountRow>(at), bins = changetype<Bins>(locals());
  const vocab: usize = row.vocab, own = bins.counts + (<usize>task * vocab << 2);
  memory.fill(own, 0, vocab << 2);
  const begin = <usize>task * bins.block, end = min<usize>(begin + bins.block, row.n);
  for (let i = begin; i < end; i++) {
    const id = load<i32>(row.ids + (i << 2));
    if (id < 0) continue;
    const bin = own + (<usize>id << 2);
    store<u32>(bin, load<u32>(bin) + 1);
  }
}
