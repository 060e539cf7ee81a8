// Stands in for CUDA's header where kernels run on the CPU (test/emulator): the words of the language, the functions of
// device code and the part of the runtime that native/cuda uses.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "../emulator.h"

#define __CUDACC__ 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __grid_constant__
#define __launch_bounds__(...)
// One block runs at a time.
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  operator emulator::Index() const { return {x, y, z}; }
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) ushort4 {
  unsigned short x, y, z, w;
};
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}

inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z, unsigned short w) {
  return {x, y, z, w};
}

using std::isfinite;
using std::isinf;
using std::isnan;
// Of pi x, exact where x is a multiple of one half.
inline void sincospif(float x, float* sine, float* cosine) {
  constexpr double pi = 3.14159265358979323846;
  const double part = std::remainder(static_cast<double>(x), 2.0);
  *sine = static_cast<float>(std::sin(pi * part));
  *cosine = static_cast<float>(std::cos(pi * part));
}
template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return std::fmin(a, b);
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return std::fmax(a, b);
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
// Toward zero and saturating; NaN gives 0.
inline int __float2int_rz(float x) {
  if (std::isnan(x)) return 0;
  if (x >= 2147483648.0f) return INT32_MAX;
  return x <= -2147483648.0f ? INT32_MIN : static_cast<int>(x);
}
inline float __int2float_rz(int x) {
  const auto nearest = static_cast<float>(x);
  return std::fabs(static_cast<double>(nearest)) > std::fabs(static_cast<double>(x)) ? std::nextafter(nearest, 0.0f)
                                                                                     : nearest;
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
// Each nibble of `choice` names one of the bytes of a (0 to 3) and b (4 to 7).
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned choice) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  unsigned y = 0;
  for (int i = 0; i < 4; i++) y |= static_cast<unsigned>(bytes >> 8 * (choice >> 4 * i & 7) & 0xff) << 8 * i;
  return y;
}

// Blocks run one after the other and fibers do not interrupt each other.
template <class T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
  return std::exchange(*at, *at + value);
}
template <class T>
T atomicOr(T* at, std::type_identity_t<T> value) {
  return std::exchange(*at, *at | value);
}
template <class T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T found = *at;
  if (found == expected) *at = value;
  return found;
}

inline void __syncthreads() {
  emulator::barrier(0, 0);
}
inline int __syncthreads_or(int vote) {
  return emulator::barrier(0, 0, vote != 0);
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  emulator::meet("__syncwarp", 32, mask, &mask, [](void* const*) {});
}

// What lane `from(lane)` brings; lanes outside the mask are undefined, here NaN where the type has one.
template <class T, class From>
T emulator_shuffle(const char* what, unsigned mask, T mine, From from) {
  T value = mine;
  emulator::meet(what, 32, mask, &value, [&](void* const* slots) {
    T all[32];
    for (int i = 0; i < 32; i++)
      if (slots[i] != nullptr) all[i] = *static_cast<T*>(slots[i]);
    for (int i = 0; i < 32; i++) {
      if (slots[i] == nullptr) continue;
      const int source = from(i);
      if (source < 0 || source >= 32) continue;
      if (slots[source] == nullptr) emulator::fail("%s: lane %d reads lane %d, which takes no part", what, i, source);
      *static_cast<T*>(slots[i]) = all[source];
    }
  });
  return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T mine, int lane, int = 32) {
  return emulator_shuffle("__shfl_xor_sync", mask, mine, [=](int i) { return i ^ lane; });
}
template <class T>
T __shfl_sync(unsigned mask, T mine, int lane, int width = 32) {
  return emulator_shuffle("__shfl_sync", mask, mine, [=](int i) { return i / width * width + lane % width; });
}
template <class T>
T __shfl_up_sync(unsigned mask, T mine, unsigned delta, int width = 32) {
  return emulator_shuffle("__shfl_up_sync", mask, mine, [=](int i) {
    const int source = i - static_cast<int>(delta);
    return source >= 0 && source / width == i / width ? source : i;
  });
}
inline unsigned __ballot_sync(unsigned mask, int vote) {
  unsigned value = vote != 0;
  emulator::meet("__ballot_sync", 32, mask, &value, [](void* const* slots) {
    unsigned all = 0;
    for (int i = 0; i < 32; i++)
      if (slots[i] != nullptr) all |= *static_cast<unsigned*>(slots[i]) << i;
    for (int i = 0; i < 32; i++)
      if (slots[i] != nullptr) *static_cast<unsigned*>(slots[i]) = all;
  });
  return value;
}
inline int __any_sync(unsigned mask, int vote) {
  return __ballot_sync(mask, vote) != 0;
}
template <class T, class F>
T emulator_reduce(const char* what, unsigned mask, T mine, F both) {
  emulator::meet(what, 32, mask, &mine, [&](void* const* slots) {
    void* const* first = std::find_if(slots, slots + 32, [](void* slot) { return slot != nullptr; });
    T all = *static_cast<T*>(*first);
    for (int i = 0; i < 32; i++)
      if (slots[i] != nullptr) all = both(all, *static_cast<T*>(slots[i]));
    for (int i = 0; i < 32; i++)
      if (slots[i] != nullptr) *static_cast<T*>(slots[i]) = all;
  });
  return mine;
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned mine) {
  return emulator_reduce("__reduce_max_sync", mask, mine, [](unsigned a, unsigned b) { return std::max(a, b); });
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned mine) {
  return emulator_reduce("__reduce_min_sync", mask, mine, [](unsigned a, unsigned b) { return std::min(a, b); });
}
// The lanes that bring the same.
inline unsigned __match_any_sync(unsigned mask, unsigned mine) {
  emulator::meet("__match_any_sync", 32, mask, &mine, [](void* const* slots) {
    unsigned same[32] = {};
    for (int i = 0; i < 32; i++)
      for (int j = 0; j < 32; j++)
        if (slots[i] != nullptr && slots[j] != nullptr)
          same[i] |= unsigned{*static_cast<unsigned*>(slots[i]) == *static_cast<unsigned*>(slots[j])} << j;
    for (int i = 0; i < 32; i++)
      if (slots[i] != nullptr) *static_cast<unsigned*>(slots[i]) = same[i];
  });
  return mine;
}

#include "cuda_runtime_api.h"
