// Rotary position embedding on the query and key heads of fused attention rows, in the half-split convention: element j
// of a head turns with element j + headDim / 2. The gradient is the same kernel with inverse = 1.
//
// Angles are kept in turns, in double, because position * frequency in float would lose the angle of late positions;
// what is left after the whole turns is small enough for sincospif. A thread owns W neighbouring pairs of a row for all
// its heads, so each sine is computed once.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

constexpr uint32_t kMany = 4;  // heads that a thread reads at once

struct Fused {
  size_t rows;
  uint32_t rotated, copied, dim;
};

// frequency: log2(theta), with which pair j turns theta^(-2j / dim) / 2 pi a position.
template <int W>
__global__ void __launch_bounds__(kThreads)
    rope_kernel(Fault fault, const float* x, const int32_t* positions, Out y, Fused row, double frequency, float sign) {
  if (fault.failed()) return;
  // A head of one element has no pair, but its element is to be copied.
  const uint32_t half = row.dim / 2, owners = max(half / W, 1u);
  const size_t width = (static_cast<size_t>(row.rotated) + row.copied) * row.dim;
  for (size_t at = flat_index(); at < row.rows * owners; at += flat_stride()) {
    const size_t r = at / owners;
    const uint32_t first = static_cast<uint32_t>(at % owners) * W;
    const float* from = x + r * width;
    const Out to = y.from(r * width);
    if (half > 0) {
      Pack<W> sine, cosine;
#pragma unroll
      for (int j = 0; j < W; j++) {
        const double turns = exp2(-2.0 * (first + j) / row.dim * frequency) * positions[r] / 6.283185307179586;
        sincospif(static_cast<float>(2.0 * (turns - rint(turns))), &sine.at[j], &cosine.at[j]);
        sine.at[j] *= sign;
      }
      const auto low = [](float a, float b, float s, float c) { return a * c - b * s; };
      const auto high = [](float a, float b, float s, float c) { return a * s + b * c; };
      for (uint32_t begin = 0; begin < row.rotated; begin += kMany) {
        Pack<W> a[kMany], b[kMany];
        each_of<kMany>(begin, 1, row.rotated, [&](int k, size_t h) {
          a[k] = load<W>(from, h * row.dim + first);
          b[k] = load<W>(from, h * row.dim + first + half);
        });
        each_of<kMany>(begin, 1, row.rotated, [&](int k, size_t h) {
          store(to, h * row.dim + first, each(low, a[k], b[k], sine, cosine));
          store(to, h * row.dim + first + half, each(high, a[k], b[k], sine, cosine));
        });
      }
    }
    if (to.f32 == from && to.half == nullptr) continue;
    if (row.dim % 2 == 1 && first == 0)
      for (uint32_t h = 0; h < row.rotated; h++)
        to.put((h + 1) * size_t{row.dim} - 1, from[(h + 1) * size_t{row.dim} - 1]);
    const size_t step = size_t{owners} * W;
    for (size_t begin = size_t{row.rotated} * row.dim + first; begin < width; begin += kMany * step) {
      Pack<W> some[kMany];
      each_of<kMany>(begin, step, width, [&](int k, size_t i) { some[k] = load<W>(from, i); });
      each_of<kMany>(begin, step, width, [&](int k, size_t i) { store(to, i, some[k]); });
    }
  }
}

}  // namespace

void rope(Launch& l, const RopeRow& row) {
  const Fused fused{row.rows, row.heads + row.kvHeads, row.kvHeads, row.headDim};
  const auto rotate = [&](auto width) {
    constexpr int W = decltype(width)::value;
    const size_t owners = row.headDim == 0 ? 0 : row.headDim / 2 > W ? row.headDim / 2 / W : 1;
    launch(l, rope_kernel<W>, flat_grid(l, row.rows * owners), kThreads, 0, l.fault(), l.f32(row.x),
           l.i32(row.positions), l.out(row.y), fused, log2(static_cast<double>(row.theta)), row.inverse ? -1.0f : 1.0f);
  };
  if (row.headDim % 8 == 0)
    rotate(std::integral_constant<int, 4>{});
  else
    rotate(std::integral_constant<int, 1>{});
}

}  // namespace sweetspot::cuda
