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

/** Four weights of a slice. */
// @ts-ignore: decorator
@inline
export function loadSlice<T>(p: usize): v128 {
  return sizeof<T>() == 2 ? i32x4.shl(v128.load16x4_u(p), 16) : v128.load(p);
}

/** The same of the slices behind it in the tile: how far is part of the instruction, which saves an addition each. */
// @ts-ignore: decorator
@inline
function loadSecond<T>(p: usize): v128 {
  return sizeof<T>() == 2 ? i32x4.shl(v128.load16x4_u(p, TILE_BYTES / 2), 16) : v128.load(p, TILE_BYTES);
}

// @ts-ignore: decorator
@inline
function loadThird<T>(p: usize): v128 {
  return sizeof<T>() == 2 ? i32x4.shl(v128.load16x4_u(p, 2 * TILE_BYTES / 2), 16) : v128.load(p, 2 * TILE_BYTES);
}

// @ts-ignore: decorator
@inline
function loadFourth<T>(p: usize): v128 {
  return sizeof<T>() == 2 ? i32x4.shl(v128.load16x4_u(p, 3 * TILE_BYTES / 2), 16) : v128.load(p, 3 * TILE_BYTES);
}

/** Groups from which on a tile of slices in bf16 is widened once, into memory, and not by each group. */
export const WIDENS: usize = 3;

/** A tile of slices in bf16 as floats. */
export function widenTile(own: usize, slices: usize, wide: usize): void {
  for (const end = wide + slices * TILE_BYTES; wide < end; wide += 16, own += 8) v128.store(wide, loadSlice<u16>(own));
}

/** y = base + sum of f_k x_k over four rows x_k of a tile that lie one behind the other; factors lie `apart` bytes apart. */
export function addFour<T>(y: usize, base: usize, x: usize, f: usize, apart: usize): void {
  const f0 = set(load<f32>(f)), f1 = set(load<f32>(f + apart));
  const f2 = set(load<f32>(f + 2 * apart)), f3 = set(load<f32>(f + 3 * apart));
  for (const end = y + TILE_BYTES; y < end; y += 16, base += 16, x += 4 * sizeof<T>()) {
    let total = fma(f0, loadSlice<T>(x), v128.load(base));
    total = fma(f1, loadSecond<T>(x), total);
    total = fma(f2, loadThird<T>(x), total);
    v128.store(y, fma(f3, loadFourth<T>(x), total));
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
  const end = x + TILE_BYTES;
  for (; n >= 4; n -= 4, t += 4 * TILE * sizeof<T>(), totals += 32) {
    let a = zero(), b = zero(), c = zero(), d = zero();
    for (let at = x, own = t; at < end; at += 16, own += 4 * sizeof<T>()) {
      const v = v128.load(at);
      a = fma(v, loadSlice<T>(own), a);
      b = fma(v, loadSecond<T>(own), b);
      c = fma(v, loadThird<T>(own), c);
      d = fma(v, loadFourth<T>(own), d);
    }
    addTotals(totals, sumsOf(a, b, c, d));
  }
  for (; n > 0; n--, t += TILE * sizeof<T>(), totals += 8) {
    let a = zero();
    for (let at = x, own = t; at < end; at += 16, own += 4 * sizeof<T>()) a = fma(v128.load(at), loadSlice<T>(own), a);
    store<f64>(totals, load<f64>(totals) + sum(a));
  }
}

/** The same for two rows x, the second one TILE_BYTES behind the first, its totals `apart` bytes behind: t is read once for both. */
export function dotRowsTwice<T>(x: usize, t: usize, n: usize, totals: usize, apart: usize): void {
  const end = x + TILE_BYTES;
  for (; n >= 4; n -= 4, t += 4 * TILE * sizeof<T>(), totals += 32) {
    let a = zero(), b = zero(), c = zero(), d = zero();
    let e = zero(), f = zero(), g = zero(), h = zero();
    for (let at = x, own = t; at < end; at += 16, own += 4 * sizeof<T>()) {
      const v = v128.load(at), w = v128.load(at, TILE_BYTES);
      let slice = loadSlice<T>(own);
      a = fma(v, slice, a);
      e = fma(w, slice, e);
      slice = loadSecond<T>(own);
      b = fma(v, slice, b);
      f = fma(w, slice, f);
      slice = loadThird<T>(own);
      c = fma(v, slice, c);
      g = fma(w, slice, g);
      slice = loadFourth<T>(own);
      d = fma(v, slice, d);
      h = fma(w, slice, h);
    }
    addTotals(totals, sumsOf(a, b, c, d));
    addTotals(totals + apart, sumsOf(e, f, g, h));
  }
  if (n == 0) return;
  dotRows<T>(x, t, n, totals);
  dotRows<T>(x + TILE_BYTES, t, n, totals + apart);
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
