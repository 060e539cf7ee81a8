// Reductions: reduce_sum, sum_squares, argmax, bincount.
// Sums are trees fixed by the shape. sum_axis cuts the axis into pieces, adds up each and, where there are several,
// adds up the sums of the pieces the same way. It has two regimes: inner == 1 adds along contiguous rows, anything else
// adds rows to each other, column by column.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

// Elements of a piece: along a row, and down a column.
constexpr size_t kAlong = 8192, kDown = 512;
constexpr uint32_t kColumns = 32;

// y[p] = alpha * sum of piece p of x (+ add[p]), where every row of n has `pieces` pieces of `piece`. Square adds
// squares.
template <int T, bool Square>
__global__ void __launch_bounds__(kThreads)
    sum_along_kernel(Fault fault, const float* x, size_t rows, size_t n, size_t piece, size_t pieces, float alpha,
                     const float* add, float* y) {
  if (fault.failed()) return;
  const size_t p = Team<T>::row();
  if (p >= rows * pieces) return;
  const size_t begin = p % pieces * piece, end = min(begin + piece, n);
  const float* from = x + p / pieces * n;
  // Four sums at once hide the latency of loads and additions.
  float sums[4] = {};
  for (size_t i = begin + Team<T>::lane(); i < end; i += 4 * T) {
#pragma unroll
    for (int k = 0; k < 4; k++) {
      if (i + k * T < end) {
        const float value = from[i + k * T];
        sums[k] = Square ? fmaf(value, value, sums[k]) : sums[k] + value;
      }
    }
  }
  const float total = Team<T>::sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  if (Team<T>::lane() == 0) y[p] = add == nullptr ? alpha * total : fmaf(alpha, total, add[p]);
}

// y[o, piece, i] = alpha * sum of rows of one piece (+ add). A block owns 32 columns and adds up eight rows at a time.
__global__ void __launch_bounds__(kThreads) sum_down_kernel(Fault fault, const float* x, size_t n, size_t inner,
                                                            size_t pieces, float alpha, const float* add, float* y) {
  if (fault.failed()) return;
  constexpr uint32_t lanes = kThreads / kColumns;
  __shared__ float part[lanes][kColumns];
  const size_t chunks = ceil_div(inner, kColumns), slab = blockIdx.x / chunks;
  const size_t i = blockIdx.x % chunks * kColumns + threadIdx.x % kColumns;
  const uint32_t lane = threadIdx.x / kColumns;
  const size_t begin = slab % pieces * kDown, end = min(begin + kDown, n);
  const float* from = x + slab / pieces * n * inner + i;
  float sums[4] = {};
  if (i < inner) {
    for (size_t j = begin + lane; j < end; j += 4 * lanes) {
#pragma unroll
      for (uint32_t k = 0; k < 4; k++)
        if (j + k * lanes < end) sums[k] += from[(j + k * lanes) * inner];
    }
  }
  part[lane][threadIdx.x % kColumns] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  __syncthreads();
  if (lane != 0 || i >= inner) return;
  float total = 0;
#pragma unroll
  for (uint32_t k = 0; k < lanes; k++) total += part[k][threadIdx.x];
  const size_t at = slab * inner + i;
  y[at] = add == nullptr ? alpha * total : fmaf(alpha, total, add[at]);
}

template <bool Square>
void sum_along(Launch& l, const float* x, size_t rows, size_t n, float alpha, const float* add, float* y) {
  const size_t pieces = n > kAlong ? ceil_div(n, kAlong) : 1, piece = pieces > 1 ? kAlong : n;
  float* to = pieces == 1 ? y : static_cast<float*>(l.scratch(rows * pieces * sizeof(float)));
  by_width(piece, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, sum_along_kernel<T, Square>, Team<T>::grid(rows * pieces), kThreads, 0, l.fault(), x, rows, n, piece,
           pieces, pieces == 1 ? alpha : 1.0f, pieces == 1 ? add : nullptr, to);
  });
  if (pieces > 1) sum_along<false>(l, to, rows, pieces, alpha, add, y);
}

void sum_down(Launch& l, const float* x, size_t outer, size_t n, size_t inner, float alpha, const float* add,
              float* y) {
  const size_t pieces = n > kDown ? ceil_div(n, kDown) : 1;
  float* to = pieces == 1 ? y : static_cast<float*>(l.scratch(outer * pieces * inner * sizeof(float)));
  launch(l, sum_down_kernel, static_cast<uint32_t>(outer * pieces * ceil_div(inner, kColumns)), kThreads, 0, l.fault(),
         x, n, inner, pieces, pieces == 1 ? alpha : 1.0f, pieces == 1 ? add : nullptr, to);
  if (pieces > 1) sum_down(l, to, outer, pieces, inner, alpha, add, y);
}

}  // namespace

void sum_axis(Launch& l, const float* x, size_t outer, size_t n, size_t inner, float alpha, const float* add,
              float* y) {
  if (inner == 1 && n > 1) sum_along<false>(l, x, outer, n, alpha, add, y);
  // Nothing to add up: one long row, so that a small `inner` does not leave columns idle.
  else if (n == 1)
    sum_down(l, x, 1, 1, outer * inner, alpha, add, y);
  else
    sum_down(l, x, outer, n, inner, alpha, add, y);
}

void reduce_sum(Launch& l, const ReduceSumRow& row) {
  sum_axis(l, l.f32(row.x), row.outer, row.n, row.inner, row.alpha, l.optional(row.add), l.f32(row.y));
}

void sum_squares(Launch& l, const SumSquaresRow& row) {
  sum_along<true>(l, l.f32(row.x), 1, row.n, 1.0f, nullptr, l.f32(row.y));
}

namespace {

struct Best {
  float value;
  uint32_t at;
  // The larger, the first of equals. A NaN is never larger and never equal.
  __device__ void meet(float other, uint32_t index) {
    if (other > value || (other == value && index < at)) {
      value = other;
      at = index;
    }
  }
};

template <int T>
__global__ void __launch_bounds__(kThreads)
    argmax_kernel(Fault fault, const float* x, int32_t* y, size_t rows, uint32_t cols) {
  if (fault.failed()) return;
  const size_t r = Team<T>::row();
  if (r >= rows) return;
  Best best{-INFINITY, 0xffffffffu};
  for (uint32_t i = Team<T>::lane(); i < cols; i += T) best.meet(x[r * cols + i], i);
  for (int lane = 16; lane > 0; lane /= 2) {
    const float value = __shfl_xor_sync(0xffffffffu, best.value, lane);
    best.meet(value, __shfl_xor_sync(0xffffffffu, best.at, lane));
  }
  if constexpr (T > 32) {
    __shared__ Best part[T / 32];
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = best;
    __syncthreads();
    for (int k = 0; k < T / 32; k++) best.meet(part[k].value, part[k].at);
  }
  if (Team<T>::lane() == 0) y[r] = best.at == 0xffffffffu ? 0 : static_cast<int32_t>(best.at);
}

// Counts are integers, so here the order of addition is free.
__global__ void __launch_bounds__(kThreads)
    count_kernel(Fault fault, const int32_t* ids, size_t n, uint32_t vocab, uint32_t* counts) {
  if (fault.stopped()) return;
  for (size_t i = flat_index(); i < n; i += flat_stride()) {
    const int32_t id = ids[i];
    if (id < 0) continue;
    if (static_cast<uint32_t>(id) < vocab)
      atomicAdd(counts + id, 1u);
    else
      fault.raise(kIdOutside, id, vocab);
  }
}

__global__ void __launch_bounds__(kThreads) count_begin_kernel(Fault fault, uint32_t* counts, size_t vocab) {
  if (fault.failed()) return;
  for (size_t v = flat_index(); v < vocab; v += flat_stride()) counts[v] = 0;
}

__global__ void __launch_bounds__(kThreads)
    count_end_kernel(Fault fault, const uint32_t* counts, size_t vocab, float* y) {
  if (fault.failed()) return;
  for (size_t v = flat_index(); v < vocab; v += flat_stride()) y[v] = static_cast<float>(counts[v]);
}

}  // namespace

void argmax(Launch& l, const ArgmaxRow& row) {
  by_width(row.cols, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, argmax_kernel<T>, Team<T>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.x), l.i32(row.y), row.rows,
           row.cols);
  });
}

void bincount(Launch& l, const BincountRow& row) {
  auto* counts = static_cast<uint32_t*>(l.scratch(row.vocab * sizeof(uint32_t)));
  const uint32_t bins = flat_grid(l, row.vocab);
  launch(l, count_begin_kernel, bins, kThreads, 0, l.fault(), counts, row.vocab);
  launch(l, count_kernel, flat_grid(l, row.n), kThreads, 0, l.fault(), l.i32(row.ids), row.n, row.vocab, counts);
  launch(l, count_end_kernel, bins, kThreads, 0, l.fault(), counts, row.vocab, l.f32(row.y));
}

}  // namespace sweetspot::cuda
