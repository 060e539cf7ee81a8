// Conversions between f32, bf16, f16 and i32, with the numbers that the CPU gives (a NaN may carry other bits):
// subnormals are kept, rounding is to nearest even. Every pair goes through float, which holds bf16 and f16 exactly.
// i32 does not fit: on the way to a narrower format it is rounded to odd (the last bit says whether anything was lost),
// so that rounding again does not round twice. To add a dtype: a struct with decode and encode, and a case in the two
// switches.
#include <cuda_fp16.h>

#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

struct F32 {
  using Stored = float;
  __device__ static float decode(float x) { return x; }
  __device__ static float encode(float x) { return x; }
};

struct Bf16 {
  using Stored = uint16_t;
  __device__ static float decode(uint16_t x) { return __uint_as_float(static_cast<uint32_t>(x) << 16); }
  __device__ static uint16_t encode(float x) {
    const uint32_t bits = __float_as_uint(x);
    if (x != x) return static_cast<uint16_t>(bits >> 16 | 0x40u);
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
  }
};

struct F16 {
  using Stored = uint16_t;
  __device__ static float decode(uint16_t x) { return __half2float(__ushort_as_half(x)); }
  __device__ static uint16_t encode(float x) { return __half_as_ushort(__float2half_rn(x)); }
};

struct I32 {
  using Stored = int32_t;
  __device__ static float decode(int32_t x) {
    const float down = __int2float_rz(x);
    return __uint_as_float(__float_as_uint(down) | (__float2int_rz(down) != x ? 1u : 0u));
  }
  __device__ static int32_t encode(float x) {
    // 2^31 is the first float that does not fit above, -2^31 fits.
    if (!(x > -2147483648.0f)) return x <= -2147483648.0f ? INT32_MIN : 0;
    return x < 2147483648.0f ? static_cast<int32_t>(x) : INT32_MAX;
  }
};

template <class From, class To>
__device__ typename To::Stored converted(typename From::Stored x) {
  if constexpr (std::is_same_v<From, To>)
    return x;
  else if constexpr (std::is_same_v<From, I32> && std::is_same_v<To, F32>)
    return static_cast<float>(x);
  else
    return To::encode(From::decode(x));
}

constexpr int kMany = 8;  // numbers of a thread, moved 16 bytes at a time

template <class Stored>
struct alignas(16) Eight {
  Stored at[kMany];
};

template <class From, class To>
__global__ void __launch_bounds__(kThreads)
    cast_kernel(Fault fault, const typename From::Stored* x, typename To::Stored* y, size_t n) {
  if (fault.failed()) return;
  for (size_t i = flat_index() * kMany; i < n; i += flat_stride() * kMany) {
    if (i + kMany <= n) {
      const auto some = *reinterpret_cast<const Eight<typename From::Stored>*>(x + i);
      Eight<typename To::Stored> to;
#pragma unroll
      for (int k = 0; k < kMany; k++) to.at[k] = converted<From, To>(some.at[k]);
      *reinterpret_cast<Eight<typename To::Stored>*>(y + i) = to;
    } else {
      for (size_t k = i; k < n; k++) y[k] = converted<From, To>(x[k]);
    }
  }
}

template <class From, class To>
void convert(Launch& l, const CastRow& row) {
  const auto* x = reinterpret_cast<const typename From::Stored*>(l.raw(row.x));
  auto* y = reinterpret_cast<typename To::Stored*>(l.raw(row.y));
  launch(l, cast_kernel<From, To>, flat_grid(l, ceil_div(row.n, kMany)), kThreads, 0, l.fault(), x, y, row.n);
}

template <class From>
void convert_to(Launch& l, const CastRow& row) {
  switch (row.to) {
    case 0:
      return convert<From, F32>(l, row);
    case 1:
      return convert<From, Bf16>(l, row);
    case 2:
      return convert<From, F16>(l, row);
    default:
      return convert<From, I32>(l, row);
  }
}

}  // namespace

void cast(Launch& l, const CastRow& row) {
  switch (row.from) {
    case 0:
      return convert_to<F32>(l, row);
    case 1:
      return convert_to<Bf16>(l, row);
    case 2:
      return convert_to<F16>(l, row);
    default:
      return convert_to<I32>(l, row);
  }
}

}  // namespace sweetspot::cuda
