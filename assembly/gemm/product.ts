// A matrix product, how it is cut, and one tile of it. Cutting is arithmetic on the shape alone, so that results do not depend on
// the number of threads; K is cut into equal blocks of at most DEPTH, which are added in order.
import { ceilDiv } from '../rows';
import { EDGE_BYTES, micro, UNIT_COLS, UNIT_ROWS } from './micro';
import { copyRounded, packColumns, packRows, panelBytes, transpose } from './pack';

/** Steps of K between two visits of a block of C: a panel of B takes 8 KiB, a tile of A 32, of a first-level cache of 48 or 64. */
const DEPTH: usize = 256;
/** Rows of a tile. All tiles share the packed B, so that small ones cost only its reading. */
export const TILE_ROWS: usize = 32;
export const TILE_COLS: usize = 256;
/** Up to this many rows of C, reading B once is most of the work (thin.ts); up to twice as many where rows of both run along a long K. */
const THIN_ROWS: usize = 8;
const LONG: usize = 256;
/** Numbers of B in a task of dot(). */
const THIN_TASK: usize = 32768;
/** Sums in a task of outer(), in the first-level cache. */
export const OUTER_SUMS: usize = 4096;
/** Tiles of a product of more than WORTH FLOPs, at least, so that several threads have work. */
const TASKS: usize = 4;
const WORTH: f64 = 4e6;
/** Numbers that a task packs. */
const PACK_TASK: usize = 32768;

/** How a product is done: in tiles over packed B, or as the two functions of thin.ts do it. */
export const TILES: u32 = 0;
export const DOT: u32 = 1;
export const OUTER: u32 = 2;

/** c (m, n) = alpha op(a) op(b) (+ bias along n) (+ add, laid out as c; may be c). Leading dimensions in numbers. */
@unmanaged
export class Product {
  a: usize;
  b: usize;
  bias: usize;
  add: usize;
  c: usize;
  m: usize;
  n: usize;
  k: usize;
  lda: usize;
  ldb: usize;
  ldc: usize;
  transA: bool;
  transB: bool;
  bf16: bool;
  alpha: f32;
  /** The rest is filled by plan(). */
  kind: u32;
  /** Of a tile. */
  rows: usize;
  cols: usize;
  /** Of a block of K, and how many there are, 1 at least. */
  depth: usize;
  blocks: usize;
  /** Columns that a task packs, a multiple of UNIT_COLS. */
  strip: usize;
  /** Set by the caller: its first task, its first task of packing, where its packed B goes. */
  task: u32;
  packTask: u32;
  packed: usize;

  plan(): void {
    const m = this.m, n = this.n, k = this.k;
    this.kind = TILES;
    if (!this.bf16 && !this.transB && m <= THIN_ROWS) this.kind = OUTER;
    if (!this.bf16 && this.transB && !this.transA && m <= (k < LONG ? THIN_ROWS : 2 * THIN_ROWS)) this.kind = DOT;
    this.depth = evenPart(k, DEPTH, 8);
    this.blocks = max<usize>(1, ceilDiv(k, this.depth));
    this.strip = max<usize>(UNIT_COLS, (PACK_TASK / this.depth) & ~(UNIT_COLS - 1));
    this.rows = max<usize>(1, m);
    if (this.kind == DOT) {
      this.cols = max<usize>(4, (THIN_TASK / max<usize>(k, 1)) & ~3);
    } else if (this.kind == OUTER) {
      // Long pieces of rows of B, but a few tasks.
      this.cols = evenPart(n, min<usize>(OUTER_SUMS / max<usize>(m, 1), max<usize>(64, n / TASKS)), UNIT_COLS);
    } else {
      this.cols = evenPart(n, TILE_COLS, UNIT_COLS);
      let rows = TILE_ROWS;
      const worth = 2.0 * <f64>m * <f64>n * <f64>k > WORTH;
      while (worth && rows > 2 * UNIT_ROWS && ceilDiv(m, rows) * ceilDiv(n, this.cols) < TASKS) rows >>= 1;
      this.rows = evenPart(m, rows, UNIT_ROWS);
    }
  }

  tasks(): u32 {
    return ceilDiv(this.m, this.rows) * ceilDiv(this.n, this.cols);
  }

  /** Tasks that pack one block of B. */
  strips(): u32 {
    return ceilDiv(this.n, this.strip);
  }

  /** Bytes of one packed block of B. */
  blockBytes(): usize {
    return <usize>ceilDiv(this.n, UNIT_COLS) * panelBytes(this.depth);
  }

  /** Packs strip `strip` of block `block` of B into `to`, where the whole block begins. */
  pack(block: usize, strip: usize, to: usize): void {
    const k0 = block * this.depth, depth = min<usize>(this.depth, this.k - k0);
    const j = strip * this.strip, cols = min<usize>(this.strip, this.n - j), ld = this.ldb << 2;
    to += j / UNIT_COLS * panelBytes(depth);
    if (this.transB) packColumns(this.b + ((j * this.ldb + k0) << 2), ld, depth, cols, to, this.bf16);
    else packRows(this.b + ((k0 * this.ldb + j) << 2), ld, depth, cols, to, this.bf16);
  }

  /**
   * Rows i .. i + rows, columns j .. j + cols over blocks `from` .. `to` of K, into c, the corner of the tile; `packed` holds these blocks
   * of B. j is a multiple of UNIT_COLS, work has TILE_BYTES.
   */
  tile(i: usize, rows: usize, j: usize, cols: usize, from: usize, to: usize, packed: usize, c: usize, add: usize, work: usize): void {
    const ldc = this.ldc << 2;
    for (let block = from; block < to; block++, packed += this.blockBytes()) {
      const k0 = block * this.depth, depth = min<usize>(this.depth, this.k - k0), panel = panelBytes(depth);
      let a = this.a + ((this.transA ? k0 * this.lda + i : i * this.lda + k0) << 2), lda = this.lda << 2;
      if (this.transA || this.bf16) {
        const copy = work + EDGE_BYTES;
        if (this.transA) transpose(a, lda, depth, rows, copy, COPY_BYTES, this.bf16);
        else copyRounded(a, lda, rows, depth, copy, COPY_BYTES);
        a = copy;
        lda = COPY_BYTES;
      }
      const bias = block == 0 ? this.bias : 0, more = block == 0 ? add : c;
      for (let y: usize = 0; y < cols; y += UNIT_COLS) {
        const b = packed + (j + y) / UNIT_COLS * panel, width = min<usize>(UNIT_COLS, cols - y);
        let at = y << 2, x = a;
        for (let r: usize = 0; r < rows; r += UNIT_ROWS, at += UNIT_ROWS * ldc, x += UNIT_ROWS * lda) {
          micro(
            depth, x, lda, b, c + at, ldc, more == 0 ? 0 : more + at, bias == 0 ? 0 : bias + ((j + y) << 2), this.alpha,
            min<usize>(UNIT_ROWS, rows - r), width, work,
          );
        }
      }
    }
  }
}

/** Bytes from a copied row of A to the next: not a power of two, whose rows would share a few cache sets. */
const COPY_BYTES: usize = (DEPTH + 16) * 4;
/** Workspace of a tile. */
export const TILE_BYTES: usize = EDGE_BYTES + TILE_ROWS * COPY_BYTES;

/** Length of equal parts of n, at most `most` each, a multiple of `unit`. */
function evenPart(n: usize, most: usize, unit: usize): usize {
  const parts = max<usize>(1, ceilDiv(n, most));
  return max<usize>(unit, <usize>ceilDiv(ceilDiv(n, parts), unit) * unit);
}
