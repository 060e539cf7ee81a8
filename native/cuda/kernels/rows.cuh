// What kernels over rows and flat ranges share: teams of threads that own a row, packs of numbers that are moved as
// one, rows kept in registers, loops over flat ranges, and the one sum over an axis that everything with a partial sum
// ends in.
//
// Places are multiples of 64 bytes, so every row begins at a multiple of 16 where its length is a multiple of 4: how a
// row is cut up, and with it every sum, follows from its length.
#pragma once
#include <type_traits>

#include "cuda/kernel.cuh"

namespace sweetspot::cuda {

constexpr int kThreads = 256;
constexpr int kMostThreads = 512;

// T threads that work on one row together: half a warp for narrow heads, a warp (eight rows a block) for narrow rows, a
// whole block for wide ones. Every thread of a team gets the same bits from sum and max. A thread without a row may
// leave before it calls them where a team is a warp or more; halves of a warp stay together.
template <int T>
struct Team {
  static_assert(T == 16 || T == 32 || T == kThreads || T == kMostThreads);
  static constexpr int threads = T > kThreads ? T : kThreads;  // of a block
  static constexpr uint32_t count = threads / T;
  __device__ static size_t row() { return static_cast<size_t>(blockIdx.x) * count + number(); }
  __device__ static uint32_t number() { return threadIdx.x / T; }
  __device__ static uint32_t lane() { return threadIdx.x % T; }
  __device__ static float sum(float x) {
    if constexpr (T > 32) {
      return block_sum<T>(x);
    } else {
#pragma unroll
      for (int lane = T / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
      return x;
    }
  }
  // All threads of the team meet, and see what the others wrote.
  __device__ static void meet() {
    if constexpr (T > 32)
      __syncthreads();
    else
      __syncwarp();
  }
  static uint32_t grid(size_t rows) {
    return ceil_div(rows, count);
  }
};

// W numbers side by side, read and written as one.
template <int W>
struct alignas(W * sizeof(float)) Pack {
  float at[W];
};
template <int W>
__device__ inline Pack<W> load(const float* x, size_t i) {
  return *reinterpret_cast<const Pack<W>*>(x + i);
}
template <int W>
__device__ inline Pack<W> load(const In& x, size_t i) {
  if constexpr (W == 4) {
    const float4 four = x.get4(i);
    return {four.x, four.y, four.z, four.w};
  } else {
    return {x.get(i)};
  }
}
template <int W>
__device__ inline void store(const Out& y, size_t i, const Pack<W>& p) {
  if constexpr (W == 4)
    y.put4(i, make_float4(p.at[0], p.at[1], p.at[2], p.at[3]));
  else
    y.put(i, p.at[0]);
}
// f of each number of some packs.
template <class F, int W, class... P>
__device__ inline Pack<W> each(F f, const Pack<W>& first, const P&... others) {
  Pack<W> y;
#pragma unroll
  for (int j = 0; j < W; j++) y.at[j] = f(first.at[j], others.at[j]...);
  return y;
}

// f(k, i) for i = first + k * step, k < Many, as far as i < n. Calls are unrolled, so what one loop reads into arrays
// by k and the next one uses stays in registers, and the reads are in flight together.
template <int Many, class F>
__device__ inline void each_of(size_t first, size_t step, size_t n, F f) {
#pragma unroll
  for (int k = 0; k < Many; k++) {
    const size_t i = first + k * step;
    if (i < n) f(k, i);
  }
}

// How a row is cut up: T threads, W numbers at a time, and V packs a thread where the row is kept in registers. V = 0:
// rows of any length, which are read again in each pass.
template <int T_, int W_, int V_>
struct Cut {
  static constexpr int T = T_, W = W_, V = V_;
  using Members = Team<T>;
  // From one pack of a thread to its next.
  static constexpr uint32_t step = T * W;
};

// A row that its team reads once, or again and again where it is too long for that.
template <class C>
class Row {
 public:
  __device__ Row(const In& x, size_t n) : x_(x) {
    if constexpr (C::V > 0)
      each_of<C::V>(C::Members::lane() * C::W, C::step, n, [&](int k, size_t i) { held_[k] = load<C::W>(x, i); });
  }
  // Pack k of the thread, which begins at number i.
  __device__ Pack<C::W> get(int k, size_t i) const {
    if constexpr (C::V > 0)
      return held_[k];
    else
      return load<C::W>(x_, i);
  }
  __device__ void set(int k, const Pack<C::W>& value) { held_[k] = value; }

 private:
  In x_;
  Pack<C::W> held_[C::V > 0 ? C::V : 1];
};

// f(k, i) for all packs of a thread.
template <class C, class F>
__device__ inline void each_pack(size_t n, F f) {
  if constexpr (C::V > 0) {
    each_of<C::V>(C::Members::lane() * C::W, C::step, static_cast<uint32_t>(n), f);
  } else {
#pragma unroll 4
    for (size_t i = C::Members::lane() * C::W; i < n; i += C::step) f(0, i);
  }
}

// pick(Cut{}) that suits rows of `cols` numbers, in teams of up to Most threads: where nothing is to be kept, ...
template <class F>
void by_width(size_t cols, F&& pick) {
  if (cols % 4 != 0) return cols > 1024 ? pick(Cut<kThreads, 1, 0>{}) : pick(Cut<32, 1, 0>{});
  return cols > 1024 ? pick(Cut<kThreads, 4, 0>{}) : pick(Cut<32, 4, 0>{});
}
// ... and where rows are used twice.
template <int Most, class F>
void by_row(size_t cols, F&& pick) {
  const size_t packs = cols / 4;
  if (cols % 4 != 0) return cols > 1024 ? pick(Cut<kThreads, 1, 0>{}) : pick(Cut<32, 1, 0>{});
  if (packs <= 32) return pick(Cut<32, 4, 1>{});
  if (packs <= 64) return pick(Cut<32, 4, 2>{});
  if (packs <= 128) return pick(Cut<32, 4, 4>{});
  if (packs <= 192) return pick(Cut<32, 4, 6>{});
  if (packs <= 256) return pick(Cut<32, 4, 8>{});
  if (packs <= 512) return pick(Cut<kThreads, 4, 2>{});
  if (packs <= 1024) return pick(Cut<kThreads, 4, 4>{});
  if (packs <= 1536) return pick(Cut<kThreads, 4, 6>{});
  if (packs <= 2048) return pick(Cut<kThreads, 4, 8>{});
  if constexpr (Most > kThreads)
    if (packs <= 8192) return pick(Cut<kMostThreads, 4, 16>{});
  pick(Cut<Most, 4, 0>{});
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

// y[o, i] = alpha * sum over j of x[o, j, i] (+ add, unless nullptr; y may be add). x: (outer, n, inner), beginning at
// a multiple of 16 bytes, as do add and y unless inner is 1. In reduce.cu.
void sum_axis(Launch& l, const float* x, size_t outer, size_t n, size_t inner, float alpha, const float* add, float* y);

}  // namespace sweetspot::cuda
