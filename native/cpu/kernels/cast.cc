// Conversions between f32, bf16, f16 and i32, in integer arithmetic: the same bits on every machine, whatever its
// instructions. Subnormals are kept, NaN stays NaN and becomes quiet, rounding is to nearest even. The loops have no
// branches, so that the compiler can vectorize them.
//
// Every pair goes through float, which holds bf16 and f16 exactly. i32 does not fit: on the way to a narrower format it
// is rounded to odd (the last bit kept says whether anything was lost), so that rounding again does not round twice.
// To add a dtype: a struct with decode and encode, and a case in the two switches.
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/kernels/lanes.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

struct F32 {
  using Stored = float;
  static float decode(float x) { return x; }
  static float encode(float x) { return x; }
};

struct Bf16 {
  using Stored = uint16_t;
  static float decode(uint16_t x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    return float_of((bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x400000u : bits);
  }
  static uint16_t encode(float x) {
    const uint32_t bits = bits_of(x);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
  }
};

struct F16 {
  using Stored = uint16_t;
  static float decode(uint16_t x) {
    const uint32_t sign = static_cast<uint32_t>(x & 0x8000u) << 16, exponent = x >> 10 & 31u;
    // The exponent moves from bias 15 to 127, from 31 to 255. A subnormal, read as if its leading bit were 1 (2^-14),
    // is that much too large. The subtraction is done for all, or the loop would not be vectorized.
    const uint32_t bias = exponent == 0 ? 113u : exponent == 31 ? 224u : 112u;
    const uint32_t excess = exponent == 0 ? 113u << 23 : 0u;
    const float moved = float_of((static_cast<uint32_t>(x & 0x7fffu) << 13) + (bias << 23));
    return float_of(bits_of(moved - float_of(excess)) | sign);
  }
  static uint16_t encode(float x) {
    const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    const uint32_t normal = (size - (112u << 23) + 0xfffu + (size >> 13 & 1)) >> 13;
    // Below 2^-14 the unit is 2^-24, the unit of floats in [0.5, 1): adding 0.5 makes the processor round there.
    const uint32_t tiny = bits_of(float_of(size) + 0.5f) - bits_of(0.5f);
    const uint32_t nan = 0x7e00u | (size >> 13 & 0x3ffu);
    const uint32_t finite = size < 0x38800000u ? tiny : size < 0x47800000u ? normal : 0x7c00u;
    return static_cast<uint16_t>(sign | (size > 0x7f800000u ? nan : finite));
  }
};

struct I32 {
  using Stored = int32_t;
  static float decode(int32_t x) {
    const uint32_t sign = static_cast<uint32_t>(x) & 0x80000000u;
    const uint32_t size = sign != 0 ? 0u - static_cast<uint32_t>(x) : static_cast<uint32_t>(x);
    // Far more bits than bf16 and f16 have are left when the last 7 are folded into one; float holds the result.
    const uint32_t odd = (size & ~127u) | ((size & 127u) != 0 ? 128u : 0u);
    return float_of(bits_of(static_cast<float>(size < (1u << 24) ? size : odd)) | sign);
  }
  static int32_t encode(float x) {
    // 2^31 is the first float that does not fit above, -2^31 fits.
    if (!(x > -2147483648.0f)) return x <= -2147483648.0f ? INT32_MIN : 0;
    return x < 2147483648.0f ? static_cast<int32_t>(x) : INT32_MAX;
  }
};

template <class From, class To>
void convert(Context& ctx, const CastRow& row) {
  const auto* x = reinterpret_cast<const typename From::Stored*>(ctx.raw(row.x));
  auto* y = reinterpret_cast<typename To::Stored*>(ctx.raw(row.y));
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    for (size_t i = begin; i < begin + count; i++) y[i] = To::encode(From::decode(x[i]));
  });
}

template <>
void convert<I32, F32>(Context& ctx, const CastRow& row) {
  const int32_t* x = reinterpret_cast<const int32_t*>(ctx.raw(row.x));
  float* y = reinterpret_cast<float*>(ctx.raw(row.y));
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    for (size_t i = begin; i < begin + count; i++) y[i] = static_cast<float>(x[i]);
  });
}

void copy(Context& ctx, const CastRow& row, size_t bytes) {
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    std::memcpy(ctx.raw(row.y) + begin * bytes, ctx.raw(row.x) + begin * bytes, count * bytes);
  });
}

template <class From>
void convert_to(Context& ctx, const CastRow& row) {
  switch (row.to) {
    case 0:
      return convert<From, F32>(ctx, row);
    case 1:
      return convert<From, Bf16>(ctx, row);
    case 2:
      return convert<From, F16>(ctx, row);
    default:
      return convert<From, I32>(ctx, row);
  }
}

}  // namespace

void cast(Context& ctx, const CastRow& row) {
  if (row.from > 3 || row.to > 3) return ctx.fail("no cast from dtype %u to %u: dtypes are 0 to 3", row.from, row.to);
  if (row.from == row.to) return copy(ctx, row, row.from == 0 || row.from == 3 ? 4 : 2);
  switch (row.from) {
    case 0:
      return convert_to<F32>(ctx, row);
    case 1:
      return convert_to<Bf16>(ctx, row);
    case 2:
      return convert_to<F16>(ctx, row);
    default:
      return convert_to<I32>(ctx, row);
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
