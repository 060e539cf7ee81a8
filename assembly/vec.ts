// Four floats (v128) as native/cpu/vec has them: the same names, the same meaning. Relaxed SIMD has fused
// multiply-add; without it fma is a multiply and an add, so the two modules differ by rounding.

// @ts-ignore: decorator
@inline
export function set(x: f32): v128 {
  return f32x4.splat(x);
}

// @ts-ignore: decorator
@inline
export function zero(): v128 {
  return f32x4.splat(0);
}

/** a b + c */
// @ts-ignore: decorator
@inline
export function fma(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);
}

/** a > b ? a : b; b when either is NaN. */
// @ts-ignore: decorator
@inline
export function max(a: v128, b: v128): v128 {
  return f32x4.pmax(b, a);
}

/** a < b ? a : b; b when either is NaN. */
// @ts-ignore: decorator
@inline
export function min(a: v128, b: v128): v128 {
  return f32x4.pmin(b, a);
}

/** The first n (at most 4) floats at p, zeros behind them. Reads nothing past them. */
export function loadFirst(p: usize, n: usize): v128 {
  if (n >= 4) return v128.load(p);
  let v = zero();
  if (n > 0) v = f32x4.replace_lane(v, 0, load<f32>(p));
  if (n > 1) v = f32x4.replace_lane(v, 1, load<f32>(p, 4));
  if (n > 2) v = f32x4.replace_lane(v, 2, load<f32>(p, 8));
  return v;
}

/** Writes the first n (at most 4) lanes, and nothing past them. */
export function storeFirst(p: usize, v: v128, n: usize): void {
  if (n >= 4) {
    v128.store(p, v);
    return;
  }
  if (n > 0) store<f32>(p, f32x4.extract_lane(v, 0));
  if (n > 1) store<f32>(p, f32x4.extract_lane(v, 1), 4);
  if (n > 2) store<f32>(p, f32x4.extract_lane(v, 2), 8);
}

/** a in the first n lanes, b in the rest. */
// @ts-ignore: decorator
@inline
export function first(a: v128, b: v128, n: usize): v128 {
  return v128.bitselect(a, b, i32x4.lt_u(i32x4(0, 1, 2, 3), i32x4.splat(<i32>n)));
}

// @ts-ignore: decorator
@inline
export function sum(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 2) + (f32x4.extract_lane(v, 1) + f32x4.extract_lane(v, 3))
  );
}

export function maxLane(v: v128): f32 {
  const x = f32x4.extract_lane(v, 0) > f32x4.extract_lane(v, 2) ? f32x4.extract_lane(v, 0) : f32x4.extract_lane(v, 2);
  const y = f32x4.extract_lane(v, 1) > f32x4.extract_lane(v, 3) ? f32x4.extract_lane(v, 1) : f32x4.extract_lane(v, 3);
  return x > y ? x : y;
}

/** 2^n of whole n in [-126, 127]. The sum is 1.5 * 2^23 + 127 + n, whose low bits are the exponent; the shift drops the others. */
// @ts-ignore: decorator
@inline
export function exp2Integer(n: v128): v128 {
  return i32x4.shl(f32x4.add(n, set(12583039)), 23);
}

/**
 * e^x to about 2 units in the last place. x is clamped to [-87.3, 88.3], where the result stays a normal number; exp(-inf) is about
 * 1e-38, not 0. NaN gives NaN.
 */
export function exp(x: v128): v128 {
  // max and min return their second operand when either is NaN, so that a NaN passes through.
  const y = min(set(88.3), max(set(-87.3), x));
  const n = f32x4.nearest(f32x4.mul(y, set(1.44269504088896341)));
  let r = fma(n, set(-0.693359375), y);
  r = fma(n, set(2.1219444e-4), r);
  let p = set(1.987569150e-4);
  p = fma(p, r, set(1.3981999507e-3));
  p = fma(p, r, set(8.3334519073e-3));
  p = fma(p, r, set(4.1665795894e-2));
  p = fma(p, r, set(1.6666665459e-1));
  p = fma(p, r, set(5.0000001201e-1));
  p = fma(p, f32x4.mul(r, r), f32x4.add(r, set(1)));
  return f32x4.mul(p, exp2Integer(n));
}

/** 2^x for x <= 127, to about 1.5 units in the last place; below -126 it is 2^-126. NaN gives NaN. */
export function exp2(x: v128): v128 {
  const y = max(set(-126), x);
  const n = f32x4.nearest(y);
  const r = f32x4.sub(y, n);
  let p = set(1.3264735462e-3);
  p = fma(p, r, set(9.6715176478e-3));
  p = fma(p, r, set(5.5507339537e-2));
  p = fma(p, r, set(2.4022242427e-1));
  p = fma(p, r, set(6.9314700365e-1));
  p = fma(p, r, set(1));
  return f32x4.mul(p, exp2Integer(n));
}

/** (e^2x - 1) / (e^2x + 1) to about 2.5 units in the last place, for small x too. NaN gives NaN. */
export function tanh(x: v128): v128 {
  const y = min(set(32), max(set(-32), f32x4.mul(x, set(2.88539008))));
  const n = f32x4.nearest(y);
  const r = f32x4.sub(y, n);
  let p = set(1.5403512783e-4);
  p = fma(p, r, set(1.3390735622e-3));
  p = fma(p, r, set(9.6182374943e-3));
  p = fma(p, r, set(5.5503574334e-2));
  p = fma(p, r, set(2.4022649795e-1));
  p = fma(p, r, set(6.9314718793e-1));
  const power = exp2Integer(n);
  const e = fma(f32x4.mul(p, r), power, f32x4.sub(power, set(1)));
  return f32x4.div(e, f32x4.add(e, set(2)));
}

/** 1 / (1 + e^-x) */
export function sigmoid(x: v128): v128 {
  return f32x4.div(set(1), f32x4.add(set(1), exp(f32x4.neg(x))));
}
