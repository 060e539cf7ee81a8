// A bank of slices: w[g] = s + sum_r c[g, r] t_r for several groups at once, its gradient with respect to c, and the
// optimizer step on the slices. Slices are interleaved, t[tile][slice][256], so everything that belongs to 256 weights
// lies together. Within a tile each kernel is a small matrix product:
//   mix           w (groups x 256)  = c (groups x slices) t (slices x 256)
//   gradient of t   (slices x 256)  = transpose of c times dw (groups x 256), used up in registers, never stored
//   gradient of c (groups x slices) = dw transpose(t), summed over tiles: bank_dot.cu
// A warp owns a strip of columns and needs no other: warps of a block take neighbouring strips, so that a block works
// on whole tiles, and read the coefficients once for all of theirs.
#include "cuda/kernels/adamw.cuh"
#include "cuda/kernels/bank_product.cuh"
#include "cuda/kernels/bank_rows.cuh"
#include "cuda/kernels/stochastic.cuh"

namespace sweetspot::cuda {
namespace {

// Blocks of a grid for each multiprocessor, which runs some of them at a time. The step on slices keeps so much in
// registers that three blocks of half the size, or four where dw is bf16, are more threads than one of the usual.
constexpr uint32_t kMixBlocks = 4, kStepThreads = 128, kStepBlocks = 12;
// Blocks of the sum of squares, of which each leaves a sum: twice two for every multiprocessor of an H100.
constexpr uint32_t kSquareBlocks = 528;

// Warp after warp of the grid takes a strip.
__device__ size_t first_strip() {
  return (static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
}
__device__ size_t strips_between() {
  return static_cast<size_t>(gridDim.x) * blockDim.x / 32;
}
template <class Strip>
uint32_t strip_blocks(size_t size, uint32_t threads, uint32_t most) {
  const uint32_t blocks = ceil_div(size / Strip::kColumns, threads / 32);
  return blocks == 0 ? 1 : blocks < most ? blocks : most;
}

// pick(staged, bytes of shared memory): where the coefficients are.
template <class F>
void by_stage(size_t rows, size_t terms, F&& pick) {
  const size_t bytes = Coefficients::bytes(rows, terms);
  if (terms <= kTerms && bytes <= Coefficients::kStaged)
    pick(std::true_type{}, bytes);
  else
    pick(std::false_type{}, size_t{0});
}

template <bool Staged>
__device__ const uint4* stage(const Coefficients& c) {
  auto* staged = reinterpret_cast<uint4*>(dynamic_shared());
  if constexpr (Staged) c.stage(staged);
  return staged;
}

template <bool Staged, class T>
__global__ void __launch_bounds__(kThreads, Staged ? 2 : 1)
    mix_kernel(Fault fault, const T* t, const float* coefficients, const int32_t* count, const float* s, Out w,
               uint32_t room, uint32_t slices, size_t size) {
  uint32_t groups;
  if (fault.stopped() || !present(fault, count, room, groups)) return;
  const Coefficients c{coefficients, slices, 1, groups, slices};
  const uint4* staged = stage<Staged>(c);
  using Strip = Strip<T>;
  constexpr uint32_t kWide = Strip::kWide;
  for (size_t i = first_strip(); i < size / Strip::kColumns; i += strips_between()) {
    const size_t column = i * Strip::kColumns;
    const T* x = t + column / kTile * slices * kTile + column % kTile;
    Strip strip;
    for (uint32_t row = 0; row < groups; row += 16) {
      typename Strip::Sums sums;
      strip.template product<Staged>(sums, c, staged, x, kTile, row);
#pragma unroll
      for (uint32_t h = 0; h < 2; h++) {
        const size_t at = column + Strip::run(h);
        float4 shared[kWide / 4] = {};
        if (s != nullptr)
          for (uint32_t q = 0; q < kWide / 4; q++) shared[q] = *reinterpret_cast<const float4*>(s + at + 4 * q);
#pragma unroll
        for (uint32_t lower = 0; lower < 2; lower++) {
          const uint32_t g = row + threadIdx.x % 32 / 4 + 8 * lower, e = 2 * lower + h;
          if (g >= groups) continue;
          float4 out[kWide / 4];
#pragma unroll
          for (uint32_t q = 0; q < kWide / 4; q++)
            out[q] = make_float4(shared[q].x + sums[4 * q][e], shared[q].y + sums[4 * q + 1][e],
                                 shared[q].z + sums[4 * q + 2][e], shared[q].w + sums[4 * q + 3][e]);
          if constexpr (kWide == 8)
            put8(w, g * size + at, out);
          else
            w.put4(g * size + at, out[0]);
        }
      }
    }
  }
}

// Gradients of slices: coefficients transposed times dw. Four numbers a lane in either form of dw, so that sums of
// squares are added up in the same order.
template <class D>
using Gradient = Strip<D, 4>;

template <bool Staged, class D, class T>
__global__ void __launch_bounds__(kStepThreads, Staged ? (sizeof(D) == 4 ? 3 : 4) : 2)
    bank_adamw_kernel(Fault fault, const D* dw, const float* coefficients, const int32_t* count, const float* hyper,
                      const float* clip, T* t, float* m, float* v, uint32_t room, uint32_t slices, size_t size,
                      float lr_scale, float decay_scale, uint32_t seed) {
  uint32_t groups;
  if (fault.stopped() || !present(fault, count, room, groups)) return;
  const Coefficients c{coefficients, 1, slices, slices, groups};
  const uint4* staged = stage<Staged>(c);
  const AdamwStep step(hyper, clip, lr_scale, decay_scale);
  const StochasticRounding rounding(seed, hyper[7]);
  using Gradient = Gradient<D>;
  for (size_t i = first_strip(); i < size / Gradient::kColumns; i += strips_between()) {
    const size_t column = i * Gradient::kColumns, begin = column / kTile * slices * kTile + column % kTile;
    Gradient strip;
    for (uint32_t row = 0; row < slices; row += 16) {
      Quad<T> old[4];
      float4 first[4], second[4];
      const auto read = [&] {
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) {
          const uint32_t r = row + threadIdx.x % 32 / 4 + e / 2 * 8;
          const size_t at = begin + r * kTile + Gradient::run(e % 2);
          if (r >= slices) continue;
          old[e] = *reinterpret_cast<const Quad<T>*>(t + at);
          first[e] = *reinterpret_cast<const float4*>(m + at);
          second[e] = *reinterpret_cast<const float4*>(v + at);
        }
      };
      // Asked for before the product, if that leaves registers.
      if constexpr (Staged) read();
      typename Gradient::Sums sums;
      strip.template product<Staged>(sums, c, staged, dw + column, size, row);
      if constexpr (!Staged) read();
#pragma unroll
      for (uint32_t e = 0; e < 4; e++) {
        const uint32_t r = row + threadIdx.x % 32 / 4 + e / 2 * 8;
        const size_t at = begin + r * kTile + Gradient::run(e % 2);
        if (r >= slices) continue;
        float4 value = widen(old[e]);
        step(make_float4(sums[0][e], sums[1][e], sums[2][e], sums[3][e]), value, first[e], second[e]);
        store_slice(t, at, value, rounding);
        *reinterpret_cast<float4*>(m + at) = first[e];
        *reinterpret_cast<float4*>(v + at) = second[e];
      }
    }
  }
}

template <bool Staged, class D>
__global__ void __launch_bounds__(kThreads, Staged ? 2 : 1)
    bank_squares_kernel(Fault fault, const D* dw, const float* coefficients, const int32_t* count, float* partial,
                        uint32_t room, uint32_t slices, size_t size) {
  uint32_t groups;
  if (fault.stopped() || !present(fault, count, room, groups)) return;
  const Coefficients c{coefficients, 1, slices, slices, groups};
  const uint4* staged = stage<Staged>(c);
  using Gradient = Gradient<D>;
  float squares = 0;
  for (size_t i = first_strip(); i < size / Gradient::kColumns; i += strips_between()) {
    const D* x = dw + i * Gradient::kColumns;
    Gradient strip;
    float own = 0;
    for (uint32_t row = 0; row < slices; row += 16) {
      typename Gradient::Sums sums;
      strip.template product<Staged>(sums, c, staged, x, size, row);
#pragma unroll
      for (uint32_t e = 0; e < 4; e++) {
        if (row + threadIdx.x % 32 / 4 + e / 2 * 8 >= slices) continue;
        own +=
            (sums[0][e] * sums[0][e] + sums[1][e] * sums[1][e]) + (sums[2][e] * sums[2][e] + sums[3][e] * sums[3][e]);
      }
    }
    squares += own;
  }
  const float total = block_sum<kThreads>(squares);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

}  // namespace

void bank_mix(Launch& l, const BankMixRow& row) {
  with_slices(l, row, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    by_stage(row.groups, row.slices, [&](auto staged, size_t bytes) {
      launch(l, mix_kernel<decltype(staged)::value, T>, strip_blocks<Strip<T>>(row.size, kThreads, l.sms * kMixBlocks),
             kThreads, bytes, l.fault(), t, l.f32(row.c), count_of(l, row), l.optional(row.s), l.out(row.w), row.groups,
             row.slices, row.size);
    });
  });
}

void bank_sum_squares(Launch& l, const BankSumSquaresRow& row) {
  const uint32_t blocks = strip_blocks<Gradient<float>>(row.size, kThreads, kSquareBlocks);
  auto* partial = static_cast<float*>(l.scratch(blocks * sizeof(float)));
  with_gradients(l, row.dw, [&](auto* dw) {
    using D = std::remove_const_t<std::remove_pointer_t<decltype(dw)>>;
    by_stage(row.slices, row.groups, [&](auto staged, size_t bytes) {
      launch(l, bank_squares_kernel<decltype(staged)::value, D>, blocks, kThreads, bytes, l.fault(), dw, l.f32(row.c),
             count_of(l, row), partial, row.groups, row.slices, row.size);
    });
  });
  sum_axis(l, partial, 1, blocks, 1, 1.0f, nullptr, l.f32(row.y));
}

void bank_adamw(Launch& l, const BankAdamwRow& row) {
  const auto run = [&](auto* dw, auto* t) {
    using D = std::remove_const_t<std::remove_pointer_t<decltype(dw)>>;
    using T = std::remove_pointer_t<decltype(t)>;
    const uint32_t blocks = strip_blocks<Gradient<D>>(row.size, kStepThreads, l.sms * kStepBlocks);
    by_stage(row.slices, row.groups, [&](auto staged, size_t bytes) {
      launch(l, bank_adamw_kernel<decltype(staged)::value, D, T>, blocks, kStepThreads, bytes, l.fault(), dw,
             l.f32(row.c), count_of(l, row), l.f32(row.hyper), l.f32(row.clip), t, l.f32(row.m), l.f32(row.v),
             row.groups, row.slices, row.size, row.lrScale, row.decayScale, row.seed);
    });
  };
  with_slices(l, row, [&](auto* t) { with_gradients(l, row.dw, [&](auto* dw) { run(dw, t); }); });
}

}  // namespace sweetspot::cuda
