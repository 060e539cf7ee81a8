// Runs any number of products: first B is packed, shared by all tiles, then tiles are computed; both in tasks. gemm, grouped_gemm and its
// weight gradient are this with different lists. Packed B of everything would be as large as B, so it goes in rounds of some blocks of K.
import { locals, scratch, threads } from '../control';
import { parallel, thread } from '../pool';
import { ceilDiv } from '../rows';
import { DOT, OUTER_SUMS, Product, TILE_BYTES, TILES } from './product';
import { dot, outer } from './thin';

/** Bytes of packed B in a round: about what a last-level cache holds. A round has one block of K at least. */
const ROUND_BYTES: u64 = 16 << 20;
/** Workspace of a thread: for a tile, or for sums of outer(), of at most 8 rows of whole vectors. */
const WORK_BYTES: usize = (max<usize>(TILE_BYTES, (OUTER_SUMS + 8 * 8) * 4) + 127) & ~63;

/** Writes product `index` of the row into `to`; the planned fields are filled later. */
type MakeProduct = (row: usize, index: usize, to: Product) => void;

@unmanaged
class Run {
  products: usize;
  count: usize;
  work: usize;
  /** Blocks of K of this round. */
  from: usize;
  to: usize;
  /** Blocks of K of a round. */
  round: usize;
}

export function runProducts(row: usize, count: usize, make: MakeProduct): void {
  const run = changetype<Run>(locals()), one = changetype<Product>(locals() + offsetof<Run>());
  let bytes: u64 = 0, most: usize = 1;
  for (let i: usize = 0; i < count; i++) {
    make(row, i, one);
    one.plan();
    if (one.kind != TILES || one.m == 0) continue;
    bytes += one.blockBytes();
    most = max<usize>(most, one.blocks);
  }
  const round = min<usize>(most, <usize>max<u64>(1, ROUND_BYTES / max<u64>(bytes, 1)));
  const listBytes = (count * offsetof<Product>() + 63) & ~63;
  const memory = scratch(listBytes + threads() * WORK_BYTES + <usize>bytes * round);
  if (memory == 0) return;
  let tasks: u32 = 0, packTasks: u32 = 0, packed = memory + listBytes + threads() * WORK_BYTES;
  for (let i: usize = 0; i < count; i++) {
    const q = at(memory, i);
    make(row, i, q);
    q.plan();
    q.task = tasks;
    q.packTask = packTasks;
    q.packed = packed;
    tasks += q.tasks();
    if (q.kind != TILES || q.m == 0) continue;
    packTasks += q.strips() * <u32>min<usize>(round, q.blocks);
    packed += q.blockBytes() * round;
  }
  run.products = memory;
  run.count = count;
  run.work = memory + listBytes;
  run.round = round;
  for (run.from = 0; run.from < most; run.from += round) {
    run.to = run.from + round;
    parallel(packTasks, packTask, changetype<usize>(run));
    parallel(tasks, multiplyTask, changetype<usize>(run));
  }
}

// @ts-ignore: decorator
@inline
function at(products: usize, i: usize): Product {
  return changetype<Product>(products + i * offsetof<Product>());
}

/** The last product whose first task, the number at `first` in it, is `task` or before it. Those without tasks share the number of the next. */
function owner(run: Run, task: u32, first: usize): Product {
  let low: usize = 0, high = run.count;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (load<u32>(changetype<usize>(at(run.products, middle)) + first) <= task) low = middle;
    else high = middle;
  }
  return at(run.products, low);
}

function packTask(row: usize, task: u32): void {
  const run = changetype<Run>(row);
  const q = owner(run, task, offsetof<Product>('packTask')), strips = q.strips(), index = task - q.packTask;
  const block = run.from + index / strips;
  if (block < q.blocks) q.pack(block, index % strips, q.packed + index / strips * q.blockBytes());
}

function multiplyTask(row: usize, task: u32): void {
  const run = changetype<Run>(row);
  const q = owner(run, task, offsetof<Product>('task')), index = task - q.task, tall = ceilDiv(q.m, q.rows);
  const i = <usize>(index % tall) * q.rows, j = <usize>(index / tall) * q.cols;
  const rows = min<usize>(q.rows, q.m - i), cols = min<usize>(q.cols, q.n - j);
  const work = run.work + thread() * WORK_BYTES;
  if (q.kind != TILES) {
    // All of K at once.
    if (run.from > 0) return;
    if (q.kind == DOT) dot(q, j, cols);
    else outer(q, j, cols, work);
    return;
  }
  const corner = (i * q.ldc + j) << 2;
  q.tile(i, rows, j, cols, run.from, min<usize>(run.to, q.blocks), q.packed, q.c + corner, q.add == 0 ? 0 : q.add + corner, work);
}
