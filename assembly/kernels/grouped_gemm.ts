// grouped_gemm and its weight gradient: rows sorted by group, each group with a matrix of its own. A group is one Product of
// gemm/products.ts whose number of rows comes from `offsets`, so groups may be uneven or empty.
import { fail } from '../control';
import { Product } from '../gemm/product';
import { runProducts } from '../gemm/products';
import { GroupedGemmDwRow, GroupedGemmRow } from '../ops.gen';

/** True when offsets run from 0 to rows without ever descending; otherwise fails the row. */
function offsetsValid(offsets: usize, groups: u32, rows: u32): bool {
  const first = load<i32>(offsets), last = load<i32>(offsets + (<usize>groups << 2));
  if (first != 0 || <i64>last != <i64>rows) {
    fail('group offsets run from {} to {} instead of from 0 to {}', first, last, rows);
    return false;
  }
  for (let g: u32 = 0; g < groups; g++) {
    const from = load<i32>(offsets + (<usize>g << 2)), to = load<i32>(offsets + (<usize>g << 2), 4);
    if (to < from) {
      fail('group offsets descend from {} to {} at group {} of {}', from, to, g, groups);
      return false;
    }
  }
  return true;
}

export function grouped_gemm(row: GroupedGemmRow): void {
  if (offsetsValid(row.offsets, row.groups, row.rows)) runProducts(changetype<usize>(row), row.groups, product);
}

function product(at: usize, g: usize, q: Product): void {
  const row = changetype<GroupedGemmRow>(at);
  const n: usize = row.n, k: usize = row.k;
  const first = load<u32>(row.offsets + (g << 2)), end = load<u32>(row.offsets + (g << 2), 4);
  q.a = row.a + ((first * k) << 2);
  q.b = row.b + ((g * n * k) << 2);
  q.bias = 0;
  q.add = row.add == 0 ? 0 : row.add + ((first * n) << 2);
  q.c = row.c + ((first * n) << 2);
  q.m = end - first;
  q.n = n;
  q.k = k;
  q.lda = k;
  q.ldb = row.transB != 0 ? k : n;
  q.ldc = n;
  q.transA = false;
  q.transB = row.transB != 0;
  q.bf16 = row.precision == 1;
  q.alpha = 1;
}

export function grouped_gemm_dw(row: GroupedGemmDwRow): void {
  if (!offsetsValid(row.offsets, row.groups, row.rows)) return;
  const present = row.count == 0 ? row.groups : load<u32>(row.count);
  if (present > row.groups) {
    fail('a count of {} is outside the {} groups', <i32>present, row.groups);
    return;
  }
  const end = load<i32>(row.offsets + (<usize>present << 2));
  if (end != load<i32>(row.offsets + (<usize>row.groups << 2))) {
    fail('a count of {} groups leaves out rows from {} on', present, end);
    return;
  }
  runProducts(changetype<usize>(row), present, gradient);
}

/** The rows of a group are the K of its product; a group without rows is a product with K = 0, which writes zeros. */
function gradient(at: usize, g: usize, q: Product): void {
  const row = changetype<GroupedGemmDwRow>(at);
  const m: usize = row.m, n: usize = row.n;
  const first = load<u32>(row.offsets + (g << 2)), end = load<u32>(row.offsets + (g << 2), 4);
  q.a = row.a + ((first * m) << 2);
  q.b = row.b + ((first * n) << 2);
  q.bias = 0;
  q.add = 0;
  q.c = row.dw + ((g * m * n) << 2);
  q.m = m;
  q.n = n;
  q.k = end - first;
  q.lda = m;
  q.ldb = n;
  q.ldc = n;
  q.transA = true;
  q.transB = false;
  q.bf16 = row.precision == 1;
  q.alpha = 1;
}
