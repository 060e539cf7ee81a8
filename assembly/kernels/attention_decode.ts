// Causal attention of new tokens behind a cache. For prompts it is attention.ts over the caches; for a few tokens it reads them in
// place: scores four keys at a time, then the weighted sum of values sixteen columns at a time, which is a cache line, so that
// every line is read once.
import { fail, locals, scratch } from '../control';
import { AttentionDecodeRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, rowDot, rowExp, rowMax } from '../rows';
import { makeWorkspaces, workspace } from '../workspace';
import { fma, loadFirst, set, storeFirst, zero } from '../vec';
import { chunkOf, Head } from './attention';

/** Up to this many new tokens, packing the caches costs more than it saves. */
const FEW_ROWS: u32 = 4;
/** Products worth a thread's while. */
const TASK_PRODUCTS: u64 = 32768;

/** What the tasks of a few tokens know beside the row. */
@unmanaged
class Few {
  /** Heads a task has: heads do not meet, so grouping them changes no result. */
  heads: u32;
  /** A row of scores for every task, and its bytes. */
  scores: usize;
  bytes: usize;
}

export function attention_decode(row: AttentionDecodeRow): void {
  const rows = row.rows, heads = row.heads, dim = <usize>row.headDim, position = load<i32>(row.position);
  if (position < 0 || <u64>position + rows > row.capacity) {
    fail('{} new tokens at position {} do not fit in a cache of {}', rows, position, row.capacity);
    return;
  }
  const kvBytes = (row.kvHeads * dim) << 2, start = <usize>position;
  let k = row.qkv + ((heads * dim) << 2);
  for (let r: usize = 0; r < rows; r++, k += ((heads * dim) << 2) + 2 * kvBytes) {
    memory.copy(row.keys + (start + r) * kvBytes, k, kvBytes);
    memory.copy(row.values + (start + r) * kvBytes, k + kvBytes, kvBytes);
  }
  if (rows == 0 || heads == 0 || dim == 0) return;
  if (rows > FEW_ROWS) {
    const chunk = chunkOf(heads, rows);
    if (makeWorkspaces(Head.bytes(chunk, dim))) parallel(heads * ceilDiv(rows, chunk), promptTask, changetype<usize>(row));
    return;
  }
  const few = changetype<Few>(locals()), keys = start + rows;
  few.heads = <u32>min<u64>(heads, 1 + TASK_PRODUCTS / (<u64>rows * keys * dim));
  few.bytes = ((keys + 15) >> 4) << 6;
  const tasks = ceilDiv(heads, few.heads);
  few.scores = scratch(tasks * few.bytes);
  if (few.scores != 0) parallel(tasks, fewTask, changetype<usize>(row));
}

function promptTask(at: usize, task: u32): void {
  const row = changetype<AttentionDecodeRow>(at), head = changetype<Head>(workspace());
  const rows = <usize>row.rows, dim = <usize>row.headDim, heads = row.heads, kvHeads = row.kvHeads, h = task % heads;
  const column = (h / (heads / kvHeads) * dim) << 2;
  head.q = row.qkv + ((h * dim) << 2);
  head.k = row.keys + column;
  head.v = row.values + column;
  head.y = row.y + ((h * dim) << 2);
  head.lse = 0;
  head.qStride = ((heads + 2 * kvHeads) * dim) << 2;
  head.kvStride = (kvHeads * dim) << 2;
  head.yStride = (heads * dim) << 2;
  head.first = load<i32>(row.position);
  head.dim = dim;
  head.scale = row.scale;
  head.bf16 = false;
  const chunk = chunkOf(heads, rows), begin = (ceilDiv(rows, chunk) - 1 - task / heads) * chunk;
  head.attend(begin, min<usize>(rows, begin + chunk));
}

function fewTask(at: usize, task: u32): void {
  const row = changetype<AttentionDecodeRow>(at), few = changetype<Few>(locals());
  const heads = row.heads, group = heads / row.kvHeads, dim = <usize>row.headDim, stride = (row.kvHeads * dim) << 2;
  const scores = few.scores + task * few.bytes, width = ((heads + 2 * row.kvHeads) * dim) << 2;
  for (let h = task * few.heads, end = min<u32>(heads, h + few.heads); h < end; h++) {
    const column = (h / group * dim) << 2, own = (h * dim) << 2;
    for (let r: usize = 0; r < row.rows; r++) {
      const keys = <usize>load<i32>(row.position) + r + 1;
      scoreKeys(row.qkv + r * width + own, row.keys + column, stride, keys, dim, row.scale, scores);
      const total = rowExp(scores, scores, keys, rowMax(scores, keys));
      sumValues(scores, row.values + column, stride, keys, dim, 1 / total, row.y + ((r * heads * dim) << 2) + own);
    }
  }
}

/** scores[key] = scale q k[key] */
function scoreKeys(q: usize, k: usize, stride: usize, keys: usize, dim: usize, scale: f32, scores: usize): void {
  const factor = set(scale);
  let key: usize = 0;
  for (; key + 4 <= keys; key += 4, k += stride << 2) {
    let a = zero(), b = zero(), c = zero(), d = zero();
    let k0 = k, i: usize = 0;
    for (; i + 4 <= dim; i += 4, k0 += 16) {
      const x = v128.load(q + (i << 2)), k1 = k0 + stride, k2 = k1 + stride;
      a = fma(x, v128.load(k0), a);
      b = fma(x, v128.load(k1), b);
      c = fma(x, v128.load(k2), c);
      d = fma(x, v128.load(k2 + stride), d);
    }
    if (i < dim) {
      const x = loadFirst(q + (i << 2), dim - i);
      a = fma(x, loadFirst(k0, dim - i), a);
      b = fma(x, loadFirst(k0 + stride, dim - i), b);
      c = fma(x, loadFirst(k0 + 2 * stride, dim - i), c);
      d = fma(x, loadFirst(k0 + 3 * stride, dim - i), d);
    }
    const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
    const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
    const all = f32x4.add(v128.shuffle<f32>(ab, cd, 0, 1, 4, 5), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
    v128.store(scores + (key << 2), f32x4.mul(all, factor));
  }
  for (; key < keys; key++, k += stride) store<f32>(scores + (key << 2), rowDot(q, k, dim) * scale);
}

/** y = factor * sum of scores[key] v[key] */
function sumValues(scores: usize, v: usize, stride: usize, keys: usize, dim: usize, factor: f32, y: usize): void {
  const f = set(factor);
  let i: usize = 0;
  for (; i + 16 <= dim; i += 16, v += 64, y += 64) {
    let a = zero(), b = zero(), c = zero(), d = zero();
    for (let key: usize = 0, at = v; key < keys; key++, at += stride) {
      const p = v128.load_splat<f32>(scores + (key << 2));
      a = fma(p, v128.load(at), a);
      b = fma(p, v128.load(at, 16), b);
      c = fma(p, v128.load(at, 32), c);
      d = fma(p, v128.load(at, 48), d);
    }
    v128.store(y, f32x4.mul(a, f));
    v128.store(y, f32x4.mul(b, f), 16);
    v128.store(y, f32x4.mul(c, f), 32);
    v128.store(y, f32x4.mul(d, f), 48);
  }
  for (; i < dim; i += 4, v += 16, y += 16) {
    let a = zero();
    for (let key: usize = 0, at = v; key < keys; key++, at += stride)
      a = fma(v128.load_splat<f32>(scores + (key << 2)), loadFirst(at, dim - i), a);
    storeFirst(y, f32x4.mul(a, f), dim - i);
  }
}
