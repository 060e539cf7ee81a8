// Functions on Vec that every ISA shares, and loops over rows with a masked tail.
#pragma once

namespace sweetspot::SWEETSPOT_ISA {

// e^x to about 2 units in the last place. x is clamped to [-87.3, 88.3], where the result stays a normal number;
// exp(-inf) is about 1e-38, not 0. NaN gives NaN.
inline Vec exp(Vec x) {
  const Vec low = Vec::set(-87.3f), high = Vec::set(88.3f);
  // max and min return their second operand when either is NaN, so that a NaN passes through.
  const Vec y = min(high, max(low, x));
  const Vec n = round(y * Vec::set(1.44269504088896341f));
  Vec r = fma(n, Vec::set(-0.693359375f), y);
  r = fma(n, Vec::set(2.12194440e-4f), r);
  Vec p = Vec::set(1.9875691500e-4f);
  p = fma(p, r, Vec::set(1.3981999507e-3f));
  p = fma(p, r, Vec::set(8.3334519073e-3f));
  p = fma(p, r, Vec::set(4.1665795894e-2f));
  p = fma(p, r, Vec::set(1.6666665459e-1f));
  p = fma(p, r, Vec::set(5.0000001201e-1f));
  p = fma(p, r * r, r + Vec::set(1.0f));
  return scale_exponent(p, n);
}

// 2^x for x <= 127, to about 1.5 units in the last place; below -126 it is 2^-126. NaN gives NaN. The polynomial is the
// best of degree 5 in the sense of the largest relative error.
inline Vec exp2(Vec x) {
  const Vec y = max(Vec::set(-126.0f), x);
  const Vec n = round(y);
  const Vec r = y - n;
  Vec p = Vec::set(1.3264735462e-3f);
  p = fma(p, r, Vec::set(9.6715176478e-3f));
  p = fma(p, r, Vec::set(5.5507339537e-2f));
  p = fma(p, r, Vec::set(2.4022242427e-1f));
  p = fma(p, r, Vec::set(6.9314700365e-1f));
  p = fma(p, r, Vec::set(1.0f));
  return scale_exponent(p, n);
}

// (e^2x - 1) / (e^2x + 1) to about 2.5 units in the last place, for small x too: e^2x - 1 is taken as
// 2^n (2^r - 1) + (2^n - 1). The polynomial is (2^r - 1) / r, the best of degree 5 in the sense of the largest relative
// error. NaN gives NaN.
inline Vec tanh(Vec x) {
  // From here on the result is 1 or -1 to the last bit.
  const Vec limit = Vec::set(32.0f);
  const Vec y = min(limit, max(Vec::zero() - limit, x * Vec::set(2.88539008f)));
  const Vec n = round(y);
  const Vec r = y - n;
  Vec p = Vec::set(1.5403512783e-4f);
  p = fma(p, r, Vec::set(1.3390735622e-3f));
  p = fma(p, r, Vec::set(9.6182374943e-3f));
  p = fma(p, r, Vec::set(5.5503574334e-2f));
  p = fma(p, r, Vec::set(2.4022649795e-1f));
  p = fma(p, r, Vec::set(6.9314718793e-1f));
  const Vec power = exp2_integer(n);
  const Vec e = fma(p * r, power, power - Vec::set(1.0f));
  return e / (e + Vec::set(2.0f));
}

// 1 / (1 + e^-x)
inline Vec sigmoid(Vec x) {
  return Vec::set(1.0f) / (Vec::set(1.0f) + exp(Vec::zero() - x));
}

}  // namespace sweetspot::SWEETSPOT_ISA
