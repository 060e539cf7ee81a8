// What the ops of a bank share: slices in both types, and the groups of a batch.
#pragma once
#include "cuda/kernels/rows.cuh"
#include "cuda/kernels/stochastic.cuh"

namespace sweetspot::cuda {

// Four numbers of a slice or of dw as they are kept: float, or bf16 in uint16_t.
template <class T>
using Quad = std::conditional_t<sizeof(T) == 4, float4, uint2>;

#ifdef __CUDACC__
__device__ inline float4 widen(float4 x) {
  return x;
}
__device__ inline float4 widen(uint2 x) {
  return make_float4(__uint_as_float(x.x << 16), __uint_as_float(x.x & 0xffff0000u), __uint_as_float(x.y << 16),
                     __uint_as_float(x.y & 0xffff0000u));
}
__device__ inline void add(float4& sum, float4 x) {
  sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
}
__device__ inline void store_slice(float* t, size_t at, float4 x, const StochasticRounding&) {
  *reinterpret_cast<float4*>(t + at) = x;
}
__device__ inline void store_slice(uint16_t* t, size_t at, float4 x, const StochasticRounding& rounding) {
  const auto place = static_cast<uint32_t>(at);
  *reinterpret_cast<ushort4*>(t + at) =
      make_ushort4(rounding(x.x, place), rounding(x.y, place + 1), rounding(x.z, place + 2), rounding(x.w, place + 3));
}

// Eight numbers from element i on, a multiple of 8.
__device__ inline void put8(const Out& to, size_t i, const float4 (&x)[2]) {
  if (to.f32 != nullptr) {
    *reinterpret_cast<float4*>(to.f32 + i) = x[0];
    *reinterpret_cast<float4*>(to.f32 + i + 4) = x[1];
  }
  if (to.half != nullptr) {
    const __nv_bfloat162 pairs[4] = {__floats2bfloat162_rn(x[0].x, x[0].y), __floats2bfloat162_rn(x[0].z, x[0].w),
                                     __floats2bfloat162_rn(x[1].x, x[1].y), __floats2bfloat162_rn(x[1].z, x[1].w)};
    *reinterpret_cast<uint4*>(to.half + i) = *reinterpret_cast<const uint4*>(pairs);
  }
}

// The groups that take part: the first *count, or all. False, and a fault, when there is no room for so many.
__device__ inline bool present(const Fault& fault, const int32_t* count, uint32_t room, uint32_t& groups) {
  groups = count == nullptr ? room : static_cast<uint32_t>(*count);
  if (groups <= room) return true;
  if (blockIdx.x == 0 && threadIdx.x == 0) fault.raise(kCount, *count, room);
  return false;
}
#endif

template <class Row>
const int32_t* count_of(Launch& l, const Row& row) {
  return row.count.present() ? l.i32(row.count) : nullptr;
}

// body(dw) with gradients of generated weights as they are kept.
template <class F>
void with_gradients(Launch& l, Ref dw, F&& body) {
  const In in = l.in(dw);
  in.f32 != nullptr ? body(in.f32) : body(reinterpret_cast<const uint16_t*>(in.half));
}

// body(t) with the slices of a row as they are kept; a fault when they are of neither type.
void refuse_slices(Launch& l, uint32_t dtype);
template <class Row, class F>
void with_slices(Launch& l, const Row& row, F&& body) {
  if (row.dtype > 1) return refuse_slices(l, row.dtype);
  row.dtype == 1 ? body(reinterpret_cast<uint16_t*>(l.raw(row.t))) : body(reinterpret_cast<float*>(l.raw(row.t)));
}

}  // namespace sweetspot::cuda
