// Causal attention, forward. Flash style: queries in blocks of TILE_ROWS, keys in tiles of KEY_TILE, a running maximum and sum per
// query, so that scores exist only as one (TILE_ROWS, KEY_TILE) tile a thread. Keys are packed transposed, so that a vector of keys is
// scored at once; values keep their order. Keys that all queries of a block see are multiplied together; the rest query by query,
// because a masked value must not even be multiplied by 0 (it could be infinite).
//
// Probabilities are powers of two: scale and log2(e) take part in one multiply-add a score.
//
// A task is a chunk of queries of one head of one sequence, and packs the keys it needs, a cost of a few percent. Late chunks see more
// keys and go first, so that the last tasks are the short ones.
import { AttentionRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, rowMax, rowScale } from '../rows';
import { makeWorkspaces, workspace } from '../workspace';
import { exp2, first, fma, set, sum, zero } from '../vec';
import { multiply, multiplyRow, packRows, packTransposed, roundUp, TILE_COLS, TILE_ROWS, toBf16, unpackRows } from './attention_tile';

const KEY_TILE: usize = 256, SCORES_LD: usize = KEY_TILE << 2;
/** Queries a task: the long chunk when there are heads enough to keep many threads busy, else the short one. */
const LONG_CHUNK: usize = 288, SHORT_CHUNK: usize = 96, MANY_HEADS: usize = 16;

/**
 * One head: rows of queries, keys, values and outputs, and their strides in bytes. Query i is at position first + i and sees the keys
 * 0..first + i. lse may be 0. It lies at the start of a thread's scratch, with what is computed behind it.
 */
@unmanaged
export class Head {
  q: usize;
  k: usize;
  v: usize;
  y: usize;
  lse: usize;
  qStride: usize;
  kvStride: usize;
  yStride: usize;
  first: usize;
  dim: usize;
  scale: f32;
  bf16: bool;
  /** The packed key tile, one block of queries with its scores, and a chunk's sums so far. */
  private keys: usize;
  private values: usize;
  private queries: usize;
  private scores: usize;
  private sums: usize;
  /** Of a chunk: what a query's powers are relative to, and their sum. */
  private maximum: usize;
  private denominator: usize;

  /** Bytes of scratch of one thread. */
  static bytes(chunk: usize, dim: usize): usize {
    const padded = roundUp(dim, TILE_COLS), queries = chunk + TILE_ROWS;
    const floats = KEY_TILE * (dim + padded) + TILE_ROWS * (padded + KEY_TILE) + queries * (padded + 2);
    return roundUp(offsetof<Head>(), 64) + roundUp(floats << 2, 64);
  }

  /** Splits the scratch behind this. */
  private split(chunk: usize): void {
    const padded = roundUp(this.dim, TILE_COLS), queries = chunk + TILE_ROWS;
    this.keys = changetype<usize>(this) + roundUp(offsetof<Head>(), 64);
    this.values = this.keys + ((this.dim * KEY_TILE) << 2);
    this.queries = this.values + ((KEY_TILE * padded) << 2);
    this.scores = this.queries + ((TILE_ROWS * padded) << 2);
    this.sums = this.scores + TILE_ROWS * SCORES_LD;
    this.maximum = this.sums + ((queries * padded) << 2);
    this.denominator = this.maximum + (queries << 2);
  }

  /** Queries begin..end. */
  attend(begin: usize, end: usize): void {
    this.split(end - begin);
    const dim = this.dim, padded = roundUp(dim, TILE_COLS), ld = padded << 2, keys = this.first + end, bf16 = this.bf16;
    for (let start: usize = 0; start < keys; start += KEY_TILE) {
      const tileKeys = min<usize>(KEY_TILE, keys - start), offset = start * this.kvStride;
      packTransposed(this.k + offset, this.kvStride, tileKeys, dim, this.keys, SCORES_LD, roundUp(tileKeys, TILE_COLS), bf16);
      packRows(this.v + offset, this.kvStride, tileKeys, dim, this.values, ld, tileKeys, bf16);
      for (let block = begin; block < end; block += TILE_ROWS) {
        const rows = min<usize>(TILE_ROWS, end - block), position = this.first + block;
        if (position + rows <= start) continue;
        let q = this.q + block * this.qStride, qStride = this.qStride;
        if (bf16 || rows < TILE_ROWS) {
          packRows(q, qStride, rows, dim, this.queries, ld, TILE_ROWS, bf16);
          q = this.queries;
          qStride = ld;
        }
        const most = roundUp(min<usize>(tileKeys, position + rows - start), TILE_COLS);
        multiply(q, qStride, 4, this.keys, SCORES_LD, dim, this.scores, SCORES_LD, most, false);
        this.softmaxBlock(block - begin, rows, position, start, tileKeys, ld);
        // Rows past the end, if any, gather numbers that nobody reads.
        const y = this.sums + (block - begin) * ld;
        const common = visible(position, start, tileKeys);
        if (common > 0) multiply(this.scores, SCORES_LD, 4, this.values, ld, common, y, ld, padded, start != 0);
        for (let r: usize = 0; r < rows; r++) {
          const seen = visible(position + r, start, tileKeys), scores = this.scores + r * SCORES_LD + (common << 2);
          if (seen > common)
            multiplyRow(scores, 4, this.values + common * ld, ld, seen - common, y + r * ld, padded);
        }
      }
    }
    this.finish(begin, end, ld);
  }

  /**
   * Scores of a block of rows, the first of which is `query` of the chunk, become powers, and what earlier tiles gave is rescaled to
   * the new maximum.
   */
  private softmaxBlock(query: usize, rows: usize, position: usize, start: usize, tileKeys: usize, ld: usize): void {
    const c = this.scale * <f32>1.44269504;
    for (let r: usize = 0; r < rows; r++) {
      const limit = visible(position + r, start, tileKeys), scores = this.scores + r * SCORES_LD;
      if (limit == 0) continue;
      const maximum = this.maximum + ((query + r) << 2), denominator = this.denominator + ((query + r) << 2);
      let shift = rowMax(scores, limit) * c;
      // Before powers are rounded it is a whole number: rescaling is exact, so that they do not depend on where the tiles lie.
      if (this.bf16) shift = Mathf.ceil(shift);
      if (start == 0) {
        store<f32>(maximum, shift);
        store<f32>(denominator, scorePowers(scores, limit, c, shift, this.bf16));
        continue;
      }
      const highest = load<f32>(maximum);
      if (!(shift > highest)) shift = highest;
      const rescale = Mathf.exp2(highest - shift);
      store<f32>(maximum, shift);
      store<f32>(denominator, load<f32>(denominator) * rescale + scorePowers(scores, limit, c, shift, this.bf16));
      rowScale(this.sums + (query + r) * ld, ld >> 2, rescale);
    }
  }

  private finish(begin: usize, end: usize, ld: usize): void {
    for (let query = begin; query < end; query++) {
      const at = query - begin, denominator = load<f32>(this.denominator + (at << 2));
      unpackRows(this.sums + at * ld, 0, 1, this.dim, set(1 / denominator), this.y + query * this.yStride, 0, false);
      if (this.lse != 0) {
        const shift = load<f32>(this.maximum + (at << 2)) * <f32>0.693147181;
        store<f32>(this.lse + (query << 2), shift + Mathf.log(denominator));
      }
    }
  }
}

/** Keys of a tile that a position sees. */
// @ts-ignore: decorator
@inline
function visible(position: usize, start: usize, tileKeys: usize): usize {
  return position < start ? 0 : min<usize>(tileKeys, position + 1 - start);
}

/** Scores become 2^(c score - shift), rounded with bf16; returns their sum before that. Memory is written up to whole vectors. */
function scorePowers(scores: usize, limit: usize, c: f32, shift: f32, bf16: bool): f32 {
  const factor = set(c), minus = set(-shift);
  let s = zero(), t = zero(), i: usize = 0;
  for (; i + 8 <= limit; i += 8, scores += 32) {
    let x = exp2(fma(v128.load(scores), factor, minus)), y = exp2(fma(v128.load(scores, 16), factor, minus));
    s = f32x4.add(s, x);
    t = f32x4.add(t, y);
    if (bf16) {
      x = toBf16(x);
      y = toBf16(y);
    }
    v128.store(scores, x);
    v128.store(scores, y, 16);
  }
  for (; i < limit; i += 4, scores += 16) {
    const x = first(exp2(fma(v128.load(scores), factor, minus)), zero(), limit - i);
    s = f32x4.add(s, x);
    v128.store(scores, bf16 ? toBf16(x) : x);
  }
  return sum(f32x4.add(s, t));
}

/** Queries a task has, of `rows` of each of `heads`. */
export function chunkOf(heads: usize, rows: usize): usize {
  return min<usize>(rows, heads >= MANY_HEADS ? LONG_CHUNK : SHORT_CHUNK);
}

export function attention(row: AttentionRow): void {
  const heads = <usize>row.batch * row.heads, time = <usize>row.time, chunk = chunkOf(heads, time);
  if (heads == 0 || time == 0 || !makeWorkspaces(Head.bytes(chunk, row.headDim))) return;
  parallel(<u32>(heads * ceilDiv(time, chunk)), attentionTask, changetype<usize>(row));
}

function attentionTask(at: usize, task: u32): void {
  const row = changetype<AttentionRow>(at), head = changetype<Head>(workspace());
  const time = <usize>row.time, dim = <usize>row.headDim, heads = row.heads, kvHeads = row.kvHeads;
  const all = row.batch * heads, index = task % all, batch = index / heads, h = index % heads;
  head.qStride = head.kvStride = ((heads + 2 * kvHeads) * dim) << 2;
  head.yStride = (heads * dim) << 2;
  const x = row.qkv + batch * time * head.qStride;
  head.q = x + ((h * dim) << 2);
  head.k = x + (((heads + h / (heads / kvHeads)) * dim) << 2);
  head.v = head.k + ((kvHeads * dim) << 2);
  head.y = row.y + batch * time * head.yStride + ((h * dim) << 2);
  head.lse = row.lse + ((index * time) << 2);
  head.first = 0;
  head.dim = dim;
  head.scale = row.scale;
  head.bf16 = row.precision == 1;
  const chunk = chunkOf(all, time), begin = (ceilDiv(time, chunk) - 1 - task / all) * chunk;
  head.attend(begin, min<usize>(time, begin + chunk));
}
