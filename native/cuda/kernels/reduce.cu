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
// Packs that a thread reads at once: sums of their own hide the latency of loads and additions.
constexpr int kMany = 8;
// Columns from which on packs of four leave no multiprocessor idle.
constexpr size_t kWide = 65536;

template <int Count>
__device__ float sum_of(const float (&x)[Count]) {
  float half[Count / 2];
#pragma unroll
  for (int k = 0; k < Count / 2; k++) half[k] = x[k] + x[k + Count / 2];
  if constexpr (Count > 2)
    return sum_of(half);
  else
    return half[0];
}

// y[p] = alpha * sum of piece p of x (+ add[p]), where every row of n has `pieces` pieces of `piece`. Square adds
// squares.
template <class C, bool Square>
__global__ void __launch_bounds__(kThreads)
    sum_along_kernel(Fault fault, const float* x, size_t rows, size_t n, size_t piece, size_t pieces, float alpha,
                     const float* add, float* y) {
  if (fault.failed()) return;
  const size_t p = C::Members::row();
  if (p >= rows * pieces) return;
  const size_t begin = p % pieces * piece, count = min(piece, n - begin);
  const float* from = x + p / pieces * n + begin;
  float sums[kMany] = {};
  for (size_t first = C::Members::lane() * C::W; first < count; first += kMany * C::step) {
    Pack<C::W> some[kMany];
    each_of<kMany>(first, C::step, count, [&](int k, size_t i) { some[k] = load<C::W>(from, i); });
    each_of<kMany>(first, C::step, count, [&](int k, size_t) {
#pragma unroll
      for (int j = 0; j < C::W; j++)
        sums[k] = Square ? fmaf(some[k].at[j], some[k].at[j], sums[k]) : sums[k] + some[k].at[j];
    });
  }
  const float total = C::Members::sum(sum_of(sums));
  if (C::Members::lane() == 0) y[p] = add == nullptr ? alpha * total : fmaf(alpha, total, add[p]);
}

// y[o, piece, i] = alpha * sum of rows of one piece (+ add). A block owns 32 W columns and adds up eight rows at a
// time.
template <int W>
__global__ void __launch_bounds__(kThreads) sum_down_kernel(Fault fault, const float* x, size_t n, size_t inner,
                                                            size_t pieces, float alpha, const float* add, float* y) {
  if (fault.failed()) return;
  constexpr uint32_t lanes = kThreads / kColumns;
  constexpr int many = kMany / W;
  const auto plus = [](float a, float b) { return a + b; };
  __shared__ Pack<W> part[lanes][kColumns];
  const size_t chunks = ceil_div(inner, kColumns * W), slab = blockIdx.x / chunks;
  const uint32_t lane = threadIdx.x / kColumns, column = threadIdx.x % kColumns;
  const size_t i = (blockIdx.x % chunks * kColumns + column) * W;
  const size_t begin = slab % pieces * kDown, end = min(begin + kDown, n);
  const float* from = x + slab / pieces * n * inner + i;
  Pack<W> sums[many] = {};
  if (i < inner)
    for (size_t j = begin + lane; j < end; j += many * lanes)
      each_of<many>(j, lanes, end, [&](int k, size_t r) { sums[k] = each(plus, sums[k], load<W>(from, r * inner)); });
#pragma unroll
  for (int k = 1; k < many; k++) sums[0] = each(plus, sums[0], sums[k]);
  part[lane][column] = sums[0];
  __syncthreads();
  if (lane != 0 || i >= inner) return;
  Pack<W> total = part[0][column];
#pragma unroll
  for (uint32_t k = 1; k < lanes; k++) total = each(plus, total, part[k][column]);
  const size_t at = slab * inner + i;
  total = add == nullptr ? each([=](float v) { return alpha * v; }, total)
                         : each([=](float v, float u) { return fmaf(alpha, v, u); }, total, load<W>(add, at));
  store({y, nullptr}, at, total);
}

template <bool Square>
void sum_along(Launch& l, const float* x, size_t rows, size_t n, float alpha, const float* add, float* y) {
  const size_t pieces = n > kAlong ? ceil_div(n, kAlong) : 1, piece = pieces > 1 ? kAlong : n;
  float* to = pieces == 1 ? y : static_cast<float*>(l.scratch(rows * pieces * sizeof(float)));
  const auto sum = [&](auto cut) {
    using C = decltype(cut);
    launch(l, sum_along_kernel<C, Square>, C::Members::grid(rows * pieces), kThreads, 0, l.fault(), x, rows, n, piece,
           pieces, pieces == 1 ? alpha : 1.0f, pieces == 1 ? add : nullptr, to);
  };
  by_width(n % 4 == 0 ? piece : piece | 1, sum);
  if (pieces > 1) sum_along<false>(l, to, rows, pieces, alpha, add, y);
}

void sum_down(Launch& l, const float* x, size_t outer, size_t n, size_t inner, float alpha, const float* add,
              float* y) {
  const size_t pieces = n > kDown ? ceil_div(n, kDown) : 1;
  float* to = pieces == 1 ? y : static_cast<float*>(l.scratch(outer * pieces * inner * sizeof(float)));
  const auto sum = [&](auto kernel, uint32_t columns) {
    launch(l, kernel, static_cast<uint32_t>(outer * pieces * ceil_div(inner, columns)), kThreads, 0, l.fault(), x, n,
           inner, pieces, pieces == 1 ? alpha : 1.0f, pieces == 1 ? add : nullptr, to);
  };
  if (inner % 4 == 0 && outer * pieces * inner >= kWide)
    sum(sum_down_kernel<4>, 4 * kColumns);
  else
    sum(sum_down_kernel<1>, kColumns);
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

template <class C>
__global__ void __launch_bounds__(C::Members::threads)
    argmax_kernel(Fault fault, const float* x, int32_t* y, size_t rows, size_t cols) {
  if (fault.failed()) return;
  constexpr int T = C::T;
  const size_t r = C::Members::row();
  if (r >= rows) return;
  const float* from = x + r * cols;
  Best best{-INFINITY, 0xffffffffu};
  for (size_t first = C::Members::lane() * C::W; first < cols; first += kMany * C::step) {
    Pack<C::W> some[kMany];
    each_of<kMany>(first, C::step, cols, [&](int k, size_t i) { some[k] = load<C::W>(from, i); });
    each_of<kMany>(first, C::step, cols, [&](int k, size_t i) {
#pragma unroll
      for (int j = 0; j < C::W; j++) best.meet(some[k].at[j], static_cast<uint32_t>(i) + j);
    });
  }
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
  if (C::Members::lane() == 0) y[r] = best.at == 0xffffffffu ? 0 : static_cast<int32_t>(best.at);
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
  const auto find = [&](auto cut) {
    using C = decltype(cut);
    launch(l, argmax_kernel<C>, C::Members::grid(row.rows), C::Members::threads, 0, l.fault(), l.f32(row.x),
           l.i32(row.y), row.rows, row.cols);
  };
  // Decoding has one long row, which a small block would take long to read.
  if (row.cols > 8192 && row.cols % 4 == 0)
    find(Cut<kMostThreads, 4, 0>{});
  else
    by_width(row.cols, find);
}

void bincount(Launch& l, const BincountRow& row) {
  auto* counts = static_cast<uint32_t*>(l.scratch(row.vocab * sizeof(uint32_t)));
  const uint32_t bins = flat_grid(l, row.vocab);
  launch(l, count_begin_kernel, bins, kThreads, 0, l.fault(), counts, row.vocab);
  launch(l, count_kernel, flat_grid(l, row.n), kThreads, 0, l.fault(), l.i32(row.ids), row.n, row.vocab, counts);
  launch(l, count_end_kernel, bins, kThreads, 0, l.fault(), counts, row.vocab, l.f32(row.y));
}

}  // namespace sweetspot::cuda
