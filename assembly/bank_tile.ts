// The parts of the bank kernels: rows of one tile of a bank, t[tile][slice][256]. T is f32 or u16 (bf16), as slices are kept. A tile
// of a few rows stays in the first-level cache, so sums over many rows are formed four rows at a time, in memory: t is then
// read from front to back, as the processor foresees it, and few vectors are live.
import { fail, locals } from './control';
import { fma, set, sum, zero } from './vec';

export const TILE: usize = 256;
export const TILE_BYTES: usize = TILE << 2;

/** How a row over a bank is cut, for its tasks. Lies in locals(), behind an AdamwStep. */
@unmanaged
export class BankWork {
  /** Groups that take part. */
  groups: usize;
  tiles: usize;
  /** Tiles of a task. */
  perTask: usize;
  /** What tasks sum, added in their order when all are done. */
  partial: usize;
  /** Memory of the tasks' own, `room` bytes each. */
  rooms: usize;
  room: usize;
}

// @ts-ignore: decorator
@inline
export function bankWork(): BankWork {
  return changetype<BankWork>(locals() + 256);
}

/** Whether slices are kept in a type there is; fails the row if not. */
export function knownSlices(dtype: u32): bool {
  if (dtype > 1) fail('slices of dtype {}: dtypes are 0 and 1', dtype);
  return dtype <= 1;
}

/** A tile of zeros. */
export const ZEROS: usize = memory.data(1024, 16);

/**
 * Tiles of a task when a tile takes `bytes`: about 1 MiB, because the processor foresees a long walk through memory and every task
 * starts one anew, but no fewer than 64 tasks.
 */
export function tilesPerTask(tiles: usize, bytes: usize): usize {
  return max<usize>(min<usize>((1 << 20) / max<usize>(bytes, 1), tiles / 64), 1);
}

// @ts-ignore: decorator
@inline
export function loadSlice<T>(p: usize): v128 {
  return sizeof<T>() == 2 ? i32x4.shl(v128.load16x4_u(p), 16) : v128.load(p);
}

/** y = base + sum of f_k x_k over four rows x_k of a tile that lie one behind the other; factors lie `apart` bytes apart. */
export function addFour<T>(y: usize, base: usize, x: usize, f: usize, apart: usize): void {
  const row = TILE * sizeof<T>();
  const f0 = set(load<f32>(f)), f1 = set(load<f32>(f + apart));
  const f2 = set(load<f32>(f + 2 * apart)), f3 = set(load<f32>(f + 3 * apart));
  for (const end = y + TILE_BYTES; y < end; y += 16, base += 16, x += 4 * sizeof<T>()) {
    let total = fma(f0, loadSlice<T>(x), v128.load(base));
    total = fma(f1, loadSlice<T>(x + row), total);
    total = fma(f2, loadSlice<T>(x + 2 * row), total);
    v128.store(y, fma(f3, loadSlice<T>(x + 3 * row), total));
  }
}

/** The same of one row. */
export function addOne<T>(y: usize, base: usize, x: usize, f: usize): void {
  const factor = set(load<f32>(f));
  for (const end = y + TILE_BYTES; y < end; y += 16, base += 16, x += 4 * sizeof<T>()) {
    v128.store(y, fma(factor, loadSlice<T>(x), v128.load(base)));
  }
}

/** y = base + sum of f_k x_k over n rows of a tile. y may be base. */
export function combine<T>(y: usize, base: usize, x: usize, n: usize, f: usize, apart: usize): void {
  const row = TILE * sizeof<T>();
  let k: usize = 0;
  for (; k + 4 <= n; k += 4, base = y) addFour<T>(y, base, x + k * row, f + k * apart, apart);
  for (; k < n; k++, base = y) addOne<T>(y, base, x + k * row, f + k * apart);
  if (n == 0) memory.copy(y, base, TILE_BYTES);
}

/** totals[r] += <x, t_r> for n rows of a tile: sums of 64 floats a lane, added in double. */
export function dotRows<T>(x: usize, t: usize, n: usize, totals: usize): void {
  const row = TILE * sizeof<T>();
  let r: usize = 0;
  for (; r + 4 <= n; r += 4, t += 4 * row) {
    let a = zero(), b = zero(), c = zero(), d = zero();
    for (let i: usize = 0, at = t; i < TILE_BYTES; i += 16, at += 4 * sizeof<T>()) {
      const v = v128.load(x + i);
      a = fma(v, loadSlice<T>(at), a);
      b = fma(v, loadSlice<T>(at + row), b);
      c = fma(v, loadSlice<T>(at + 2 * row), c);
      d = fma(v, loadSlice<T>(at + 3 * row), d);
    }
    addTotals(totals + (r << 3), sumsOf(a, b, c, d));
  }
  for (; r < n; r++, t += row) {
    let a = zero(), b = zero();
    for (let i: usize = 0, at = t; i < TILE_BYTES; i += 32, at += 8 * sizeof<T>()) {
      a = fma(v128.load(x + i), loadSlice<T>(at), a);
      b = fma(v128.load(x + i, 16), loadSlice<T>(at + 4 * sizeof<T>()), b);
    }
    const total = totals + (r << 3);
    store<f64>(total, load<f64>(total) + sum(f32x4.add(a, b)));
  }
}

/** The same for two rows x, the second one TILE_BYTES behind the first, its totals `apart` bytes behind: t is read once for both. */
export function dotRowsTwice<T>(x: usize, t: usize, n: usize, totals: usize, apart: usize): void {
  const row = TILE * sizeof<T>();
  let r: usize = 0;
  for (; r + 4 <= n; r += 4, t += 4 * row) {
    let a = zero(), b = zero(), c = zero(), d = zero();
    let e = zero(), f = zero(), g = zero(), h = zero();
    for (let i: usize = 0, at = t; i < TILE_BYTES; i += 16, at += 4 * sizeof<T>()) {
      const v = v128.load(x + i), w = v128.load(x + i, TILE_BYTES);
      let own = loadSlice<T>(at);
      a = fma(v, own, a);
      e = fma(w, own, e);
      own = loadSlice<T>(at + row);
      b = fma(v, own, b);
      f = fma(w, own, f);
      own = loadSlice<T>(at + 2 * row);
      c = fma(v, own, c);
      g = fma(w, own, g);
      own = loadSlice<T>(at + 3 * row);
      d = fma(v, own, d);
      h = fma(w, own, h);
    }
    addTotals(totals + (r << 3), sumsOf(a, b, c, d));
    addTotals(totals + apart + (r << 3), sumsOf(e, f, g, h));
  }
  if (r == n) return;
  dotRows<T>(x, t, n - r, totals + (r << 3));
  dotRows<T>(x + TILE_BYTES, t, n - r, totals + apart + (r << 3));
}

/** The sums over the lanes of four vectors. */
// @ts-ignore: decorator
@inline
function sumsOf(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f32>(ab, cd, 0, 1, 4, 5), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
}

/** Four floats to four doubles. */
// @ts-ignore: decorator
@inline
function addTotals(totals: usize, v: v128): void {
  v128.store(totals, f64x2.add(v128.load(totals), f64x2.promote_low_f32x4(v)));
  const high = f64x2.promote_low_f32x4(v128.shuffle<f32>(v, v, 2, 3, 2, 3));
  v128.store(totals, f64x2.add(v128.load(totals, 16), high), 16);
}

/**
 * Copies one tile of every dw to `packed` (groups, TILE): rows of dw are far apart, often by a power of two, and would push each
 * other out of the cache.
 */
export function packTile(dw: usize, groups: usize, size: usize, tile: usize, packed: usize): void {
  let from = dw + tile * TILE_BYTES;
  for (let g: usize = 0; g < groups; g++, from += size << 2, packed += TILE_BYTES) {
    for (let i: usize = 0; i < TILE_BYTES; i += 16) v128.store(packed + i, v128.load(from + i));
  }
}

/** y = base + the sum over the groups of what packTile made. */
export function sumPacked(packed: usize, groups: usize, base: usize, y: usize): void {
  for (let i: usize = 0; i < TILE_BYTES; i += 16) {
    let total = v128.load(base + i);
    for (let g: usize = 0, at = packed + i; g < groups; g++, at += TILE_BYTES) total = f32x4.add(total, v128.load(at));
    v128.store(y + i, total);
  }
}
