// Causal attention, backward. A task owns a key head of one sequence and all query heads that read it, so dk and dv gather in a fixed
// order without partial copies. Probabilities are made again from lse, never stored whole:
//   p = exp(scale q k^T - lse)   dv = p^T dy   ds = p (dy v^T - rowsum(dy y))   dq = scale ds k   dk = scale ds^T q
// Keys go in tiles of KEY_TILE, queries in blocks of QUERY_BLOCK. As in the forward pass a masked pair is never multiplied: where a
// block meets its own keys, rows are taken one by one.
import { AttentionBackwardRow } from '../ops.gen';
import { parallel } from '../pool';
import { rowDot } from '../rows';
import { makeWorkspaces, workspace } from '../workspace';
import { exp2, first, fma, set, zero } from '../vec';
import { multiply, multiplyRow, packRows, packTransposed, roundUp, TILE_COLS, TILE_ROWS, toBf16, unpackRows } from './attention_tile';

/** Multiples of TILE_COLS. A row of the tile of scores has some room more, so that rows are not a power of two apart. */
const KEY_TILE: usize = 256, QUERY_BLOCK: usize = 64;
const TILE_LD: usize = KEY_TILE << 2, SCORES_LD: usize = (KEY_TILE + 8) << 2;

/** A task: one key head, its packed key tile and gradients, one packed block of queries and its products. Lies at its own scratch. */
@unmanaged
class KeyHead {
  dim: usize;
  /** Bytes of a packed row. */
  ld: usize;
  scale: f32;
  bf16: bool;
  /** (KEY_TILE, dim), the same and the values transposed, and the gradients. */
  keys: usize;
  keysT: usize;
  valuesT: usize;
  dk: usize;
  dv: usize;
  /** (QUERY_BLOCK, dim) */
  queries: usize;
  dy: usize;
  dq: usize;
  /** (QUERY_BLOCK, KEY_TILE): scores, then probabilities; dy v^T, then ds. */
  p: usize;
  ds: usize;
  /** Of each query of a block: lse in powers of two, and rowsum(dy y). */
  shift: usize;
  delta: usize;

  static bytes(dim: usize): usize {
    const ld = roundUp(dim, TILE_COLS) << 2;
    return roundUp(offsetof<KeyHead>(), 64) + 2 * dim * TILE_LD + 3 * KEY_TILE * ld +
      QUERY_BLOCK * (3 * ld + 2 * SCORES_LD + 8);
  }

  split(dim: usize): void {
    const ld = roundUp(dim, TILE_COLS) << 2;
    this.dim = dim;
    this.ld = ld;
    this.keysT = changetype<usize>(this) + roundUp(offsetof<KeyHead>(), 64);
    this.valuesT = this.keysT + dim * TILE_LD;
    this.keys = this.valuesT + dim * TILE_LD;
    this.dk = this.keys + KEY_TILE * ld;
    this.dv = this.dk + KEY_TILE * ld;
    this.queries = this.dv + KEY_TILE * ld;
    this.dy = this.queries + QUERY_BLOCK * ld;
    this.dq = this.dy + QUERY_BLOCK * ld;
    this.p = this.dq + QUERY_BLOCK * ld;
    this.ds = this.p + QUERY_BLOCK * SCORES_LD;
    this.shift = this.ds + QUERY_BLOCK * SCORES_LD;
    this.delta = this.shift + (QUERY_BLOCK << 2);
  }

  /** The tile's keys and values, `stride` bytes apart, and gradients of 0. */
  takeKeys(k: usize, v: usize, stride: usize, count: usize): void {
    const all = roundUp(count, TILE_COLS);
    packRows(k, stride, count, this.dim, this.keys, this.ld, all, this.bf16);
    packTransposed(k, stride, count, this.dim, this.keysT, TILE_LD, all, this.bf16);
    packTransposed(v, stride, count, this.dim, this.valuesT, TILE_LD, all, this.bf16);
    memory.fill(this.dk, 0, 2 * KEY_TILE * this.ld);
  }

  /** A block of queries, `stride` bytes apart, with dy and y, `yStride` apart. */
  takeQueries(q: usize, stride: usize, dy: usize, y: usize, yStride: usize, lse: usize, rows: usize): void {
    const all = roundUp(rows, TILE_ROWS);
    packRows(q, stride, rows, this.dim, this.queries, this.ld, all, this.bf16);
    packRows(dy, yStride, rows, this.dim, this.dy, this.ld, all, this.bf16);
    for (let r: usize = 0; r < rows; r++, dy += yStride, y += yStride) {
      store<f32>(this.shift + (r << 2), load<f32>(lse + (r << 2)) * <f32>-1.44269504);
      store<f32>(this.delta + (r << 2), rowDot(dy, y, this.dim));
    }
  }

  /** The block against the tile, of which it sees `lead` keys and then one more a query: adds to dk and dv, leaves dq without scale. */
  differentiate(rows: usize, lead: usize, tileKeys: usize): void {
    const all = roundUp(rows, TILE_ROWS), keys = min<usize>(roundUp(tileKeys, TILE_ROWS), lead + all);
    const ld = this.ld, padded = ld >> 2, columns = roundUp(tileKeys, TILE_COLS);
    for (let r: usize = 0; r < all; r += TILE_ROWS) {
      const most = min<usize>(columns, roundUp(lead + r + TILE_ROWS, TILE_COLS)), p = this.p + r * SCORES_LD, ds = this.ds + r * SCORES_LD;
      multiply(this.queries + r * ld, ld, 4, this.keysT, TILE_LD, this.dim, p, SCORES_LD, most, false);
      multiply(this.dy + r * ld, ld, 4, this.valuesT, TILE_LD, this.dim, ds, SCORES_LD, most, false);
      for (let row = r; row < r + TILE_ROWS; row++)
        this.differentiateRow(row, row < rows ? min<usize>(tileKeys, lead + row + 1) : 0, most);
    }
    this.gather(this.p, this.dy, all, lead, keys, this.dv);
    this.gather(this.ds, this.queries, all, lead, keys, this.dk);
    for (let r: usize = 0; r < all; r += TILE_ROWS) {
      const before = min<usize>(tileKeys, lead + r), ds = this.ds + r * SCORES_LD, dq = this.dq + r * ld;
      multiply(ds, SCORES_LD, 4, this.keys, ld, before, dq, ld, padded, false);
      for (let j: usize = 0; j < TILE_ROWS; j++) {
        const own = min<usize>(tileKeys - before, j + 1);
        multiplyRow(ds + j * SCORES_LD + (before << 2), 4, this.keys + before * ld, ld, own, dq + j * ld, padded);
      }
    }
  }

  /** Scores and dy v^T of a row become p and ds, 0 from `limit` on. */
  private differentiateRow(row: usize, limit: usize, most: usize): void {
    const c = set(this.scale * <f32>1.44269504), bf16 = this.bf16;
    const shift = v128.load_splat<f32>(this.shift + (row << 2)), delta = v128.load_splat<f32>(this.delta + (row << 2));
    let s = this.p + row * SCORES_LD, d = this.ds + row * SCORES_LD;
    let key: usize = 0;
    for (; key + 4 <= limit; key += 4, s += 16, d += 16) {
      const p = exp2(fma(v128.load(s), c, shift)), ds = f32x4.mul(p, f32x4.sub(v128.load(d), delta));
      v128.store(s, bf16 ? toBf16(p) : p);
      v128.store(d, bf16 ? toBf16(ds) : ds);
    }
    for (; key < most; key += 4, s += 16, d += 16) {
      const lanes = limit > key ? limit - key : 0;
      const p = exp2(fma(v128.load(s), c, shift)), ds = f32x4.mul(p, f32x4.sub(v128.load(d), delta));
      v128.store(s, first(bf16 ? toBf16(p) : p, zero(), lanes));
      v128.store(d, first(bf16 ? toBf16(ds) : ds, zero(), lanes));
    }
  }

  /** target (keys, dim) += p^T source. Key j is seen by the queries from j - lead on. */
  private gather(p: usize, source: usize, rows: usize, lead: usize, keys: usize, target: usize): void {
    const ld = this.ld, padded = ld >> 2;
    for (let key: usize = 0; key < keys; key += TILE_ROWS, target += TILE_ROWS * ld) {
      // From `full` on every query sees every key of the group.
      const own: usize = key < lead ? 0 : key - lead, full: usize = key < lead ? 0 : own + TILE_ROWS, column = p + (key << 2);
      multiply(column + full * SCORES_LD, 4, SCORES_LD, source + full * ld, ld, rows - full, target, ld, padded, true);
      for (let query = own; query < full; query++) {
        const j = query - own;
        multiplyRow(column + query * SCORES_LD + (j << 2), SCORES_LD, source + query * ld, ld, full - query, target + j * ld, padded);
      }
    }
  }
}

export function attention_backward(row: AttentionBackwardRow): void {
  if (row.batch == 0 || row.time == 0 || row.heads == 0 || row.kvHeads == 0 || row.headDim == 0) return;
  if (!makeWorkspaces(roundUp(KeyHead.bytes(row.headDim), 64))) return;
  parallel(row.batch * row.kvHeads, attentionBackwardTask, changetype<usize>(row));
}

function attentionBackwardTask(at: usize, task: u32): void {
  const row = changetype<AttentionBackwardRow>(at), w = changetype<KeyHead>(workspace());
  const time = <usize>row.time, heads = row.heads, kvHeads = row.kvHeads, group = heads / kvHeads;
  const batch = task / kvHeads, g = task % kvHeads, headBytes = <usize>row.headDim << 2;
  const width = (heads + 2 * kvHeads) * headBytes, yWidth = heads * headBytes;
  const kColumn = (heads + g) * headBytes, vColumn = kColumn + kvHeads * headBytes;
  const qkv = row.qkv + batch * time * width, dqkv = row.dqkv + batch * time * width;
  w.split(row.headDim);
  w.scale = row.scale;
  w.bf16 = row.precision == 1;
  const scale = set(row.scale);
  for (let start: usize = 0; start < time; start += KEY_TILE) {
    const tileKeys = min<usize>(KEY_TILE, time - start), tile = qkv + start * width, dTile = dqkv + start * width;
    w.takeKeys(tile + kColumn, tile + vColumn, width, tileKeys);
    for (let h = g * group; h < (g + 1) * group; h++) {
      const lse = row.lse + (((batch * heads + h) * time) << 2), qColumn = h * headBytes;
      for (let block = start; block < time; block += QUERY_BLOCK) {
        const rows = min<usize>(QUERY_BLOCK, time - block), y = (batch * time + block) * yWidth + qColumn;
        w.takeQueries(qkv + block * width + qColumn, width, row.dy + y, row.y + y, yWidth, lse + (block << 2), rows);
        w.differentiate(rows, block - start, tileKeys);
        unpackRows(w.dq, w.ld, rows, w.dim, scale, dqkv + block * width + qColumn, width, start != 0);
      }
    }
    unpackRows(w.dk, w.ld, tileKeys, w.dim, scale, dTile + kColumn, width, false);
    unpackRows(w.dv, w.ld, tileKeys, w.dim, set(1), dTile + vColumn, width, false);
  }
}
