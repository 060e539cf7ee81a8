// What kernels over rows and flat ranges share: teams of threads that own a row, loops over flat ranges, and the one
// sum over an axis that everything with a partial sum ends in.
#pragma once
#include <type_traits>

#include "cuda/kernel.cuh"

namespace sweetspot::cuda {

constexpr int kThreads = 256;

// T threads that work on one row together: a warp (eight rows a block) for narrow rows, a whole block for wide ones.
// Every thread of a team gets the same bits from sum and max. A thread without a row may leave before it calls them.
template <int T>
struct Team {
  static_assert(T == 32 || T == kThreads);
  static constexpr uint32_t count = kThreads / T;
  __device__ static size_t row() { return static_cast<size_t>(blockIdx.x) * count + threadIdx.x / T; }
  __device__ static uint32_t lane() { return threadIdx.x % T; }
  __device__ static float sum(float x) {
    if constexpr (T == 32)
      return warp_sum(x);
    else
      return block_sum<kThreads>(x);
  }
  // NaN is passed over.
  __device__ static float max(float x) {
    if constexpr (T == 32)
      return warp_max(x);
    else
      return block_max<kThreads>(x);
  }
  static uint32_t grid(size_t rows) { return ceil_div(rows, count); }
};

// pick(team), where team() is the number of threads that suits rows of `cols` numbers.
template <class F>
void by_width(size_t cols, F&& pick) {
  if (cols > 1024)
    pick(std::integral_constant<int, kThreads>{});
  else
    pick(std::integral_constant<int, 32>{});
}

// Blocks for a loop over n items with `flat_stride` between a thread's items: enough to fill the machine.
inline uint32_t flat_grid(const Launch& l, size_t n) {
  const size_t needed = (n + kThreads - 1) / kThreads, most = static_cast<size_t>(l.sms) * 16;
  return static_cast<uint32_t>(needed < most ? needed : most);
}
__device__ inline size_t flat_index() {
  return static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
}
__device__ inline size_t flat_stride() {
  return static_cast<size_t>(gridDim.x) * kThreads;
}

// exp(x - shift) summed the usual way, where shift is the largest x: 0 in place of -infinity, or nothing but minus
// infinities would give NaN where a later part of the row is finite.
__device__ inline float safe_shift(float maximum) {
  return maximum == -INFINITY ? 0.0f : maximum;
}

// y[o, i] = alpha * sum over j of x[o, j, i] (+ add, unless nullptr; y may be add). x: (outer, n, inner). In reduce.cu.
void sum_axis(Launch& l, const float* x, size_t outer, size_t n, size_t inner, float alpha, const float* add, float* y);

}  // namespace sweetspot::cuda
