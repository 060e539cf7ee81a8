// kmeans_assign: the nearest centroid of every row. Which one is decided by |c|^2 - 2 x.c, a matrix product whose scores, a tile of some
// rows and centroids, are reduced to the best so far while they are in cache; the scores of all rows are never stored. The distance to the
// winner is then computed from the difference, because |x|^2 + |c|^2 - 2 x.c cancels when x is close to c. Centroids are packed once, for
// all tasks; tasks are tiles of rows.
import { fail, locals, scratch, threads } from '../control';
import { Product, TILE_BYTES, TILE_COLS, TILE_ROWS } from '../gemm/product';
import { KmeansAssignRow } from '../ops.gen';
import { parallel, thread } from '../pool';
import { ceilDiv, rowDot } from '../rows';
import { first, loadFirst, set, sum, zero } from '../vec';

/** Scores of a tile, and for each of its rows the smallest score in each lane and whose it is. */
const SCORE_BYTES: usize = TILE_ROWS * TILE_COLS * 4;
const BEST_BYTES: usize = TILE_ROWS * 32;
const WORK_BYTES: usize = (SCORE_BYTES + BEST_BYTES + TILE_BYTES + 127) & ~63;

@unmanaged
class Assignment {
  row: KmeansAssignRow;
  /** |c|^2 of all centroids. */
  norms: usize;
  work: usize;
  /** Scores (rows, clusters) = -2 x centroids^T + norms, cut into tiles of TILE_ROWS x TILE_COLS. */
  product: Product;
}

export function kmeans_assign(row: KmeansAssignRow): void {
  if (row.rows == 0) return;
  if (row.clusters == 0) {
    fail('no centroids to assign {} rows to', row.rows);
    return;
  }
  // They are counted in floats.
  if (row.clusters > 1 << 24) {
    fail('{} centroids are more than 16777216', row.clusters);
    return;
  }
  const job = changetype<Assignment>(locals()), q = changetype<Product>(locals() + offsetof<Assignment>());
  job.row = row;
  job.product = q;
  q.a = row.x;
  q.b = row.centroids;
  q.add = 0;
  q.m = row.rows;
  q.n = row.clusters;
  q.k = row.cols;
  q.lda = row.cols;
  q.ldb = row.cols;
  q.ldc = TILE_COLS;
  q.transA = false;
  q.transB = true;
  q.bf16 = false;
  q.alpha = -2;
  q.plan();
  const normBytes = (<usize>row.clusters * 4 + 63) & ~63;
  job.norms = scratch(normBytes + threads() * WORK_BYTES + q.blocks * q.blockBytes());
  if (job.norms == 0) return;
  job.work = job.norms + normBytes;
  q.packed = job.work + threads() * WORK_BYTES;
  q.bias = job.norms;
  parallel(<u32>q.blocks * q.strips(), packTask, changetype<usize>(job));
  parallel(ceilDiv(row.rows, TILE_ROWS), assignTask, changetype<usize>(job));
}

function packTask(at: usize, task: u32): void {
  const job = changetype<Assignment>(at), q = job.product, strips = q.strips();
  const block = task / strips, strip = task % strips;
  q.pack(block, strip, q.packed + block * q.blockBytes());
  if (block > 0) return;
  const end = min<usize>(q.n, (strip + 1) * q.strip), ld = q.k << 2;
  for (let j = strip * q.strip; j < end; j++) store<f32>(job.norms + (j << 2), rowDot(q.b + j * ld, q.b + j * ld, q.k));
}

function assignTask(at: usize, task: u32): void {
  const job = changetype<Assignment>(at), row = job.row, q = job.product;
  const scores = job.work + thread() * WORK_BYTES, best = scores + SCORE_BYTES, work = best + BEST_BYTES;
  const i = task * TILE_ROWS, rows = min<usize>(TILE_ROWS, q.m - i);
  for (let r: usize = 0; r < rows; r++) {
    v128.store(best + (r << 5), set(Infinity));
    v128.store(best + (r << 5), f32x4(0, 1, 2, 3), 16);
  }
  for (let j: usize = 0; j < q.n; j += TILE_COLS) {
    const cols = min<usize>(TILE_COLS, q.n - j);
    q.tile(i, rows, j, cols, 0, q.blocks, q.packed, scores, 0, work);
    for (let r: usize = 0; r < rows; r++) scan(scores + r * TILE_COLS * 4, cols, <f32>j, best + (r << 5));
  }
  for (let r: usize = 0; r < rows; r++) {
    const x = q.a + (((i + r) * q.k) << 2);
    let id = winner(best + (r << 5));
    let distance: f32 = NaN;
    if (isFinite(load<f32>(best + (r << 5) + ((id & 3) << 2))) && isFinite(rowDot(x, x, q.k))) {
      distance = squaredDistance(x, q.b + ((id * q.k) << 2), q.k);
    } else {
      // Rows or centroids that are not finite, or whose squares overflow: the definition, cluster by cluster.
      id = 0;
      for (let j: usize = 0; j < q.n; j++) {
        const d = squaredDistance(x, q.b + ((j * q.k) << 2), q.k);
        if (!(d < distance) && !(isNaN(distance) && !isNaN(d))) continue;
        distance = d;
        id = j;
      }
    }
    store<u32>(row.ids + ((i + r) << 2), <u32>id);
    store<f32>(row.distance + ((i + r) << 2), distance);
  }
}

/** Takes n scores, of centroids from `from` on, into the best of each lane. The first of equals stays, a NaN never wins. */
function scan(scores: usize, n: usize, from: f32, best: usize): void {
  let score = v128.load(best), id = v128.load(best, 16);
  let now = f32x4.add(f32x4(0, 1, 2, 3), set(from));
  for (let j: usize = 0; j < n; j += 4, scores += 16) {
    const s = j + 4 <= n ? v128.load(scores) : first(loadFirst(scores, n - j), set(Infinity), n - j);
    const less = f32x4.lt(s, score);
    id = v128.bitselect(now, id, less);
    score = v128.bitselect(s, score, less);
    now = f32x4.add(now, set(4));
  }
  v128.store(best, score);
  v128.store(best, id, 16);
}

/** The centroid of the smallest score of four lanes, the first of equals. Centroid c was seen by lane c % 4. */
function winner(best: usize): usize {
  let score = load<f32>(best), id = load<f32>(best, 16);
  for (let lane: usize = 1; lane < 4; lane++) {
    const s = load<f32>(best + (lane << 2)), i = load<f32>(best + (lane << 2), 16);
    if (!(s < score || (s == score && i < id))) continue;
    score = s;
    id = i;
  }
  return <usize>id;
}

function squaredDistance(x: usize, c: usize, n: usize): f32 {
  let s = zero();
  for (let i: usize = 0; i < n; i += 4, x += 16, c += 16) {
    const d = f32x4.sub(loadFirst(x, n - i), loadFirst(c, n - i));
    s = f32x4.add(s, f32x4.mul(d, d));
  }
  return sum(s);
}
