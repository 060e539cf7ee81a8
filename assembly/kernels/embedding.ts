// Rows of a table by id, and the sum of rows by id that is its gradient. k-means also sums members of a cluster with the latter, so
// it must be good for 4096 rows over a vocabulary of thousands and for 100000 rows over 64 ids.
//
// The sum orders row numbers by id with a counting sort, which keeps rows of one id ascending; then each task owns some ids and
// columns and adds their rows in that order: nothing is written by two tasks.
import { locals, scratch } from '../control';
import { idsInside } from '../ids';
import { EmbeddingBackwardRow, EmbeddingRow } from '../ops.gen';
import { parallel } from '../pool';
import { blockRows, ceilDiv, TASK_ELEMENTS } from '../rows';
import { SUM_COLUMNS, sumRows } from '../sums';

/** y[r] = table[ids[r]]. A task is the rows of about TASK_ELEMENTS numbers. */
export function embedding(row: EmbeddingRow): void {
  if (!idsInside('token id {} is outside the table of {} rows (position {})', row.ids, row.rows, row.vocab, false)) return;
  parallel(ceilDiv(row.rows, blockRows(row.cols)), embeddingTask, changetype<usize>(row));
}

function embeddingTask(at: usize, task: u32): void {
  const row = changetype<EmbeddingRow>(at);
  const bytes = <usize>row.cols << 2, block = blockRows(row.cols);
  const begin = <usize>task * block, end = min<usize>(begin + block, row.rows);
  for (let r = begin; r < end; r++) memory.copy(row.y + r * bytes, row.table + <usize>load<u32>(row.ids + (r << 2)) * bytes, bytes);
}

@unmanaged
class Sorted {
  /** (vocab + 2): rows of id v are order[starts[v]] up to order[starts[v + 1]]. */
  starts: usize;
  /** (rows) */
  order: usize;
  /** Columns of a piece, and pieces. */
  width: usize;
  chunks: usize;
  /** Ids of a task. */
  perTask: usize;
}

/** dtable[v] = sum of dy[r] where ids[r] = v (+ add) */
export function embedding_backward(row: EmbeddingBackwardRow): void {
  const rows: usize = row.rows, cols: usize = row.cols, vocab: usize = row.vocab;
  if (!idsInside('token id {} is outside the table of {} rows (position {})', row.ids, rows, row.vocab, true)) return;
  if (vocab == 0 || cols == 0) return;
  const sorted = changetype<Sorted>(locals());
  sorted.starts = scratch(vocab + 2 + rows << 2);
  if (sorted.starts == 0) return;
  sorted.order = sorted.starts + (vocab + 2 << 2);
  sortById(row.ids, rows, vocab, sorted.starts, sorted.order);
  // Few ids means many rows each: narrow columns make tasks enough for many threads, whatever the ids.
  sorted.width = vocab < 64 ? 64 : vocab < 256 ? 256 : SUM_COLUMNS;
  sorted.chunks = ceilDiv(cols, sorted.width);
  const average = (rows + vocab) / vocab;
  sorted.perTask = max<usize>(1, TASK_ELEMENTS / (min<usize>(sorted.width, cols) * average));
  parallel(ceilDiv(vocab, sorted.perTask) * <u32>sorted.chunks, embeddingBackwardTask, changetype<usize>(row));
}

function sortById(ids: usize, rows: usize, vocab: usize, starts: usize, order: usize): void {
  // Counts lie two places on, so that placing rows through the place between moves starts to where they belong.
  memory.fill(starts, 0, vocab + 2 << 2);
  for (let r: usize = 0; r < rows; r++) {
    const id = load<i32>(ids + (r << 2));
    if (id < 0) continue;
    const count = starts + (<usize>id << 2);
    store<u32>(count, load<u32>(count, 8) + 1, 8);
  }
  let total: u32 = 0;
  for (let v: usize = 2; v < vocab + 2; v++) {
    total += load<u32>(starts + (v << 2));
    store<u32>(starts + (v << 2), total);
  }
  for (let r: usize = 0; r < rows; r++) {
    const id = load<i32>(ids + (r << 2));
    if (id < 0) continue;
    const start = starts + (<usize>id << 2), place = load<u32>(start, 4);
    store<u32>(start, place + 1, 4);
    store<u32>(order + (<usize>place << 2), <u32>r);
  }
}

function embeddingBackwardTask(at: usize, task: u32): void {
  const row = changetype<EmbeddingBackwardRow>(at), sorted = changetype<Sorted>(locals());
  const stride = <usize>row.cols << 2, column = (<usize>task % sorted.chunks) * sorted.width;
  const count = min<usize>(sorted.width, <usize>row.cols - column);
  const begin = (<usize>task / sorted.chunks) * sorted.perTask, end = min<usize>(begin + sorted.perTask, row.vocab);
  for (let v = begin; v < end; v++) {
    const from = load<u32>(sorted.starts + (v << 2)), members = load<u32>(sorted.starts + (v << 2), 4) - from;
    const place = v * stride + (column << 2), y = row.dtable + place, plus = row.add && row.add + place;
    // Most of a large vocabulary is in no batch.
    if (members == 0) {
      if (plus == 0) memory.fill(y, 0, count << 2);
      else if (plus != y) memory.copy(y, plus, count << 2);
      continue;
    }
    sumRows(row.dy + (column << 2), stride, sorted.order + (<usize>from << 2), members, count, y, 1, plus);
  }
}
