// float16 on the CPU: the part of CUDA's header that native/cuda uses. The compiler's _Float16 rounds to nearest even.
#pragma once
#include "cuda_runtime.h"

struct __half {
  uint16_t bits;
};
inline float __half2float(__half x) {
  return static_cast<float>(std::bit_cast<_Float16>(x.bits));
}
inline __half __float2half_rn(float x) {
  // As CUDA has it, NaN is 0x7fff.
  return std::isnan(x) ? __half{0x7fff} : __half{std::bit_cast<uint16_t>(static_cast<_Float16>(x))};
}
inline unsigned short __half_as_ushort(__half x) {
  return x.bits;
}
inline __half __ushort_as_half(unsigned short x) {
  return {x};
}
