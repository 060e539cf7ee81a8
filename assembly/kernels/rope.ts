// Rotary position embedding on the query and key heads of fused attention rows, in the half-split convention: element j of a head
// turns with element j + headDim / 2. The gradient is the same kernel with inverse = 1.
//
// Sines are computed first: once for every position where positions are few beside the rows, as in a batch of windows, else for every
// row; headDim / 2 of them serve all heads of a row. Angles are kept in turns, in double, because position * frequency in float would
// lose the angle of late positions; after the whole and quarter turns are taken off, a float polynomial on [-pi/4, pi/4] is exact
// enough (error about 1e-7). A task is a block of positions, then a block of rows.
import { locals, scratch } from '../control';
import { RopeRow } from '../ops.gen';
import { parallel } from '../pool';
import { blockRows, ceilDiv } from '../rows';
import { fma, loadFirst, set, storeFirst } from '../vec';

/** Positions of a task that computes angles. */
const ANGLE_ROWS: usize = 64;

/** What the tasks know beside the row. A table has `half` angles, up to whole vectors, for every entry. */
@unmanaged
class Tables {
  /** Turns a position makes, in double. */
  turns: usize;
  cosine: usize;
  sine: usize;
  /** Bytes of an entry of a table. */
  stride: usize;
  entries: usize;
  /** Whether entries are positions, not rows. */
  shared: bool;
}

export function rope(row: RopeRow): void {
  const rows = <usize>row.rows, half = <usize>(row.headDim >> 1);
  if (rows == 0) return;
  let lowest = load<i32>(row.positions), highest = lowest;
  for (let r: usize = 1; r < rows; r++) {
    const position = load<i32>(row.positions + (r << 2));
    lowest = min(lowest, position);
    highest = max(highest, position);
  }
  const tables = changetype<Tables>(locals());
  tables.shared = lowest >= 0 && <u32>highest < row.rows / 2;
  tables.entries = tables.shared ? <usize>highest + 1 : rows;
  tables.stride = ((half + 3) >> 2) << 4;
  const table = tables.entries * tables.stride, turns = 2 * tables.stride;
  tables.turns = scratch(max<usize>(1, 2 * table + turns));
  if (tables.turns == 0) return;
  tables.cosine = tables.turns + turns;
  tables.sine = tables.cosine + table;
  for (let j: usize = 0; j < half; j++) {
    const power = Math.pow(<f64>row.theta, (-2.0 * <f64>j) / <f64>row.headDim);
    store<f64>(tables.turns + (j << 3), power / 6.283185307179586);
  }
  for (let j = half; j & 3; j++) store<f64>(tables.turns + (j << 3), 0);
  parallel(ceilDiv(tables.entries, ANGLE_ROWS), anglesTask, changetype<usize>(row));
  const width = <usize>(row.heads + 2 * row.kvHeads) * row.headDim;
  parallel(ceilDiv(rows, blockRows(width)), ropeTask, changetype<usize>(row));
}

function anglesTask(at: usize, task: u32): void {
  const row = changetype<RopeRow>(at), tables = changetype<Tables>(locals());
  const sign: f32 = row.inverse ? -1 : 1, from = task * ANGLE_ROWS;
  for (let e = from, end = min<usize>(tables.entries, from + ANGLE_ROWS); e < end; e++) {
    const position = tables.shared ? <f64>e : <f64>load<i32>(row.positions + (e << 2));
    const cosine = tables.cosine + e * tables.stride, sine = tables.sine + e * tables.stride;
    for (let i: usize = 0; i < tables.stride; i += 16) angles(tables.turns + 2 * i, position, sign, cosine + i, sine + i);
  }
}

/** Cosines and sines of four angles: of position * turns whole turns. */
// @ts-ignore: decorator
@inline
function angles(turns: usize, position: f64, sign: f32, cosine: usize, sine: usize): void {
  const p = f64x2.splat(position), a = f64x2.mul(v128.load(turns), p), b = f64x2.mul(v128.load(turns, 16), p);
  const s = f64x2.sub(a, f64x2.nearest(a)), t = f64x2.sub(b, f64x2.nearest(b));
  const four = f64x2.splat(4), quarterS = f64x2.nearest(f64x2.mul(s, four)), quarterT = f64x2.nearest(f64x2.mul(t, four));
  const q = joined(quarterS, quarterT); // -2, -1, 0, 1 or 2
  const r = joined(radians(s, quarterS), radians(t, quarterT));
  const s2 = f32x4.mul(r, r);
  let x = fma(s2, set(-1.9515295891e-4), set(8.3321608736e-3));
  x = fma(s2, x, set(-1.6666654611e-1));
  const sin = fma(f32x4.mul(r, s2), x, r);
  let y = fma(s2, set(2.443315711809948e-5), set(-1.388731625493765e-3));
  y = fma(s2, y, set(4.166664568298827e-2));
  const cos = fma(f32x4.mul(s2, s2), y, fma(s2, set(-0.5), set(1)));
  // cos(r + q pi/2) is cos, -sin, -cos, sin of r for q = 0, 1, 2, -1; sin(r + q pi/2) is sin, cos, -sin, -cos.
  const size = f32x4.mul(q, q), odd = f32x4.eq(size, set(1)), even = v128.bitselect(set(-1), set(1), f32x4.eq(size, set(4)));
  v128.store(cosine, v128.bitselect(f32x4.mul(f32x4.neg(q), sin), f32x4.mul(even, cos), odd));
  v128.store(sine, f32x4.mul(v128.bitselect(f32x4.mul(q, cos), f32x4.mul(even, sin), odd), set(sign)));
}

// @ts-ignore: decorator
@inline
function radians(turn: v128, quarter: v128): v128 {
  return f64x2.mul(f64x2.sub(turn, f64x2.mul(quarter, f64x2.splat(0.25))), f64x2.splat(6.283185307179586));
}

/** Four floats of two pairs of doubles. */
// @ts-ignore: decorator
@inline
function joined(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(f32x4.demote_f64x2_zero(a), f32x4.demote_f64x2_zero(b), 0, 1, 4, 5);
}

function ropeTask(at: usize, task: u32): void {
  const row = changetype<RopeRow>(at), tables = changetype<Tables>(locals());
  const dim = <usize>row.headDim, half = dim >> 1, rotated = row.heads + row.kvHeads;
  const width = <usize>(rotated + row.kvHeads) * dim, block = blockRows(width), from = task * block;
  for (let r = from, end = min<usize>(row.rows, from + block); r < end; r++) {
    let x = row.x + ((r * width) << 2), y = row.y + ((r * width) << 2);
    const entry = (tables.shared ? <usize>load<i32>(row.positions + (r << 2)) : r) * tables.stride;
    for (let h: u32 = 0; h < rotated; h++, x += dim << 2, y += dim << 2) {
      rotate(x, y, tables.cosine + entry, tables.sine + entry, half);
      if (dim & 1) store<f32>(y + ((dim - 1) << 2), load<f32>(x + ((dim - 1) << 2)));
    }
    if (x != y) memory.copy(y, x, (row.kvHeads * dim) << 2);
  }
}

function rotate(x: usize, y: usize, cosine: usize, sine: usize, half: usize): void {
  const other = half << 2;
  let i: usize = 0;
  for (; i + 4 <= half; i += 4, x += 16, y += 16, cosine += 16, sine += 16) {
    const a = v128.load(x), b = v128.load(x + other), c = v128.load(cosine), s = v128.load(sine);
    v128.store(y, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
    v128.store(y + other, fma(b, c, f32x4.mul(a, s)));
  }
  const left = half - i;
  if (left == 0) return;
  const a = loadFirst(x, left), b = loadFirst(x + other, left), c = v128.load(cosine), s = v128.load(sine);
  storeFirst(y, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)), left);
  storeFirst(y + other, fma(b, c, f32x4.mul(a, s)), left);
}
