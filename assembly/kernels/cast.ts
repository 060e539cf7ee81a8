// Conversions between f32, bf16, f16 and i32, four numbers at a time, by the integer arithmetic of every other backend: subnormals
// are kept, NaN stays NaN and becomes quiet, rounding is to nearest even. A task is TASK_ELEMENTS numbers.
//
// Every pair goes through float, which holds bf16 and f16 exactly. i32 does not fit: on the way to a narrower format it is rounded
// to odd (the last bit kept says whether anything was lost), so that rounding again does not round twice.
import { fail, locals } from '../control';
import { CastRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, TASK_ELEMENTS } from '../rows';

const F32: u32 = 0;
const BF16: u32 = 1;
const F16: u32 = 2;
const I32: u32 = 3;

export function cast(row: CastRow): void {
  if (row.from > I32 || row.to > I32) {
    fail('no cast from dtype {} to {}: dtypes are 0 to 3', row.from, row.to);
    return;
  }
  parallel(ceilDiv(row.n, TASK_ELEMENTS), castTask, changetype<usize>(row));
}

function castTask(at: usize, task: u32): void {
  const row = changetype<CastRow>(at);
  const from = row.from, to = row.to, step = sizeOf(from), width = sizeOf(to);
  const begin = <usize>task * TASK_ELEMENTS, count = min<usize>(<usize>row.n - begin, TASK_ELEMENTS);
  let x = row.x + begin * step, y = row.y + begin * width;
  if (from == to) {
    memory.copy(y, x, count * step);
    return;
  }
  for (let i = count >> 2; i > 0; i--, x += 4 * step, y += 4 * width) convert(x, y, from, to);
  const left = count & 3;
  if (left == 0) return;
  // Only the last task has a rest: it goes through a place where four may be read and written.
  const space = locals();
  memory.copy(space, x, left * step);
  convert(space, space + 16, from, to);
  memory.copy(y, space + 16, left * width);
}

function sizeOf(dtype: u32): usize {
  return dtype == F32 || dtype == I32 ? 4 : 2;
}

/** Four numbers from x to y. */
// @ts-ignore: decorator
@inline
function convert(x: usize, y: usize, from: u32, to: u32): void {
  let v: v128;
  if (from == F32) v = v128.load(x);
  else if (from == BF16) v = fromBf16(v128.load16x4_u(x));
  else if (from == F16) v = fromF16(v128.load16x4_u(x));
  else if (to == F32) v = f32x4.convert_i32x4_s(v128.load(x));
  else v = fromI32(v128.load(x));
  if (to == F32) v128.store(y, v);
  else if (to == I32) v128.store(y, i32x4.trunc_sat_f32x4_s(v));
  else {
    const halves = to == BF16 ? toBf16(v) : toF16(v);
    v128.store64_lane(y, i16x8.narrow_i32x4_u(halves, halves), 0);
  }
}

// @ts-ignore: decorator
@inline
function same(word: u32): v128 {
  return i32x4.splat(word);
}

/** Bits of floats without their signs. */
// @ts-ignore: decorator
@inline
function sizeBits(x: v128): v128 {
  return v128.and(x, same(0x7fffffff));
}

// @ts-ignore: decorator
@inline
function isNan(size: v128): v128 {
  return i32x4.gt_s(size, same(0x7f800000));
}

function fromBf16(x: v128): v128 {
  const bits = i32x4.shl(x, 16);
  return v128.or(bits, v128.and(isNan(sizeBits(bits)), same(0x400000)));
}

function toBf16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), same(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(x, same(0x7fff)), odd), 16);
  return v128.bitselect(v128.or(i32x4.shr_u(x, 16), same(0x40)), rounded, isNan(sizeBits(x)));
}

function fromF16(x: v128): v128 {
  const sign = i32x4.shl(v128.and(x, same(0x8000)), 16), size = v128.and(x, same(0x7fff));
  const tiny = i32x4.lt_s(size, same(0x400)), special = i32x4.gt_s(size, same(0x7bff));
  // The exponent moves from bias 15 to 127, from 31 to 255. A subnormal, read as if its leading bit were 1 (2^-14), is that much
  // too large.
  const bias = v128.bitselect(same(113 << 23), v128.bitselect(same(224 << 23), same(112 << 23), special), tiny);
  const moved = i32x4.add(i32x4.shl(size, 13), bias);
  return v128.or(f32x4.sub(moved, v128.and(tiny, same(113 << 23))), sign);
}

function toF16(x: v128): v128 {
  const sign = v128.and(i32x4.shr_u(x, 16), same(0x8000)), size = sizeBits(x);
  const odd = v128.and(i32x4.shr_u(size, 13), same(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.sub(size, same((112 << 23) - 0xfff)), odd), 13);
  // Below 2^-14 the unit is 2^-24, the unit of floats in [0.5, 1): adding 0.5 makes the processor round there.
  const half = f32x4.splat(0.5), tiny = i32x4.sub(f32x4.add(size, half), half);
  const nan = v128.or(same(0x7e00), v128.and(i32x4.shr_u(size, 13), same(0x3ff)));
  let y = v128.bitselect(normal, same(0x7c00), i32x4.lt_s(size, same(0x47800000)));
  y = v128.bitselect(tiny, y, i32x4.lt_s(size, same(0x38800000)));
  return v128.or(sign, v128.bitselect(nan, y, isNan(size)));
}

function fromI32(x: v128): v128 {
  const sign = v128.and(x, same(0x80000000)), size = i32x4.abs(x);
  // Far more bits than bf16 and f16 have are left when the last 7 are folded into one; float holds the result.
  const lost = i32x4.ne(v128.and(size, same(127)), same(0));
  const odd = v128.or(v128.andnot(size, same(127)), v128.and(lost, same(128)));
  const exact = i32x4.lt_u(size, same(1 << 24));
  return v128.or(f32x4.convert_i32x4_u(v128.bitselect(size, odd, exact)), sign);
}
