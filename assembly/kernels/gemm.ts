// gemm: c[b] = alpha op(a[b]) op(b[b]) (+ bias) (+ add). The work is in gemm/products.ts; here a row becomes Products, one a batch entry.
import { Product } from '../gemm/product';
import { runProducts } from '../gemm/products';
import { GemmRow } from '../ops.gen';

export function gemm(row: GemmRow): void {
  if (row.batch == 0 || row.m == 0 || row.n == 0) return;
  runProducts(changetype<usize>(row), folds(row) ? 1 : row.batch, product);
}

/** Whether entries lie behind each other and share B: then they are one taller product, which packs B once. */
function folds(row: GemmRow): bool {
  return !row.transA && row.strideB == 0 && <u64>row.strideA == <u64>row.m * row.lda && <u64>row.strideC == <u64>row.m * row.ldc;
}

function product(at: usize, i: usize, q: Product): void {
  const row = changetype<GemmRow>(at);
  q.a = row.a + ((i * row.strideA) << 2);
  q.b = row.b + ((i * row.strideB) << 2);
  q.bias = row.bias;
  q.add = row.add == 0 ? 0 : row.add + ((i * row.strideC) << 2);
  q.c = row.c + ((i * row.strideC) << 2);
  q.m = folds(row) ? <usize>row.m * row.batch : row.m;
  q.n = row.n;
  q.k = row.k;
  q.lda = row.lda;
  q.ldb = row.ldb;
  q.ldc = row.ldc;
  q.transA = row.transA != 0;
  q.transB = row.transB != 0;
  q.bf16 = row.precision == 1;
  q.alpha = row.alpha;
}
