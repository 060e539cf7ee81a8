// csr_gemm: y = S b with S in compressed rows. A row of y is a weighted sum of rows of b; it is built a few vectors of columns at a
// time, kept in registers while the entries of the row pass by. Tasks are blocks of rows.
import { fail } from '../control';
import { CsrGemmRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv } from '../rows';
import { fma, loadFirst, storeFirst, zero } from '../vec';

/** Multiply-adds of a task, were the entries spread evenly. */
const TASK_WORK: usize = 100000;

export function csr_gemm(row: CsrGemmRow): void {
  if (!pointersValid(row) || !columnsValid(row)) return;
  parallel(ceilDiv(row.rows, block(row)), csrTask, changetype<usize>(row));
}

function block(row: CsrGemmRow): usize {
  const work = <u64>(row.nnz / max<u32>(row.rows, 1) + 1) * row.n;
  return <usize>max<u64>(1, TASK_WORK / max<u64>(work, 1));
}

function pointersValid(row: CsrGemmRow): bool {
  const first = load<i32>(row.indptr), last = load<i32>(row.indptr + (<usize>row.rows << 2));
  if (first != 0 || <i64>last > <i64>row.nnz) {
    fail('row pointers run from {} to {} instead of from 0 to at most {}', first, last, row.nnz);
    return false;
  }
  for (let r: u32 = 0; r < row.rows; r++) {
    const from = load<i32>(row.indptr + (<usize>r << 2)), to = load<i32>(row.indptr + (<usize>r << 2), 4);
    if (to < from) {
      fail('row pointers descend from {} to {} at row {} of {}', from, to, r, row.rows);
      return false;
    }
  }
  return true;
}

function columnsValid(row: CsrGemmRow): bool {
  const entries = load<u32>(row.indptr + (<usize>row.rows << 2));
  for (let e: usize = 0; e < entries; e++) {
    const column = load<u32>(row.indices + (e << 2));
    if (column < row.cols) continue;
    fail('column {} is outside the table of {} rows (position {})', <i32>column, row.cols, e);
    return false;
  }
  return true;
}

function csrTask(at: usize, task: u32): void {
  const row = changetype<CsrGemmRow>(at), n: usize = row.n, each = block(row);
  const first = task * each, last = min<usize>(row.rows, first + each);
  for (let r = first; r < last; r++) {
    const from = load<u32>(row.indptr + (r << 2)), end = load<u32>(row.indptr + (r << 2), 4);
    const y = row.y + ((r * n) << 2);
    let j: usize = 0;
    for (; j + 16 <= n; j += 16) sixteen(row, from, end, row.b + (j << 2), y + (j << 2));
    for (; j < n; j += 4) atMostFour(row, from, end, row.b + (j << 2), y + (j << 2), n - j);
  }
}

/** 16 columns of a row of y, from its entries from .. end. */
function sixteen(row: CsrGemmRow, from: usize, end: usize, b: usize, y: usize): void {
  const indices = row.indices, values = row.values, ld = <usize>row.n << 2;
  let s = zero(), t = zero(), u = zero(), v = zero();
  for (let e = from << 2, last = end << 2; e < last; e += 4) {
    const x = v128.load32_splat(values + e), at = b + load<u32>(indices + e) * ld;
    s = fma(x, v128.load(at), s);
    t = fma(x, v128.load(at, 16), t);
    u = fma(x, v128.load(at, 32), u);
    v = fma(x, v128.load(at, 48), v);
  }
  v128.store(y, s);
  v128.store(y, t, 16);
  v128.store(y, u, 32);
  v128.store(y, v, 48);
}

function atMostFour(row: CsrGemmRow, from: usize, end: usize, b: usize, y: usize, n: usize): void {
  const indices = row.indices, values = row.values, ld = <usize>row.n << 2;
  let s = zero();
  for (let e = from << 2, last = end << 2; e < last; e += 4) {
    s = fma(v128.load32_splat(values + e), loadFirst(b + load<u32>(indices + e) * ld, n), s);
  }
  storeFirst(y, s, n);
}
