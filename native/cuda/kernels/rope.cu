// Rotary position embedding on the query and key heads of fused attention rows, in the half-split convention: element j
// of a head turns with element j + headDim / 2. The gradient is the same kernel with inverse = 1.
//
// Angles are kept in turns, in double, because position * frequency in float would lose the angle of late positions;
// what is left after the whole turns is small enough for sincospif. A thread owns one pair of a row for all its heads,
// so each sine is computed once.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

// turns[j] = theta^(-2j / dim) / 2 pi
__global__ void __launch_bounds__(kThreads)
    turns_kernel(Fault fault, double* turns, uint32_t half, uint32_t dim, double theta) {
  if (fault.failed()) return;
  for (size_t j = flat_index(); j < half; j += flat_stride())
    turns[j] = pow(theta, -2.0 * static_cast<double>(j) / dim) / 6.283185307179586;
}

__global__ void __launch_bounds__(kThreads)
    rope_kernel(Fault fault, const float* x, const int32_t* positions, const double* turns, float* y, size_t rows,
                uint32_t rotated, uint32_t copied, uint32_t dim, float sign) {
  if (fault.failed()) return;
  // A head of one element has no pair, but its element is to be copied.
  const uint32_t half = dim / 2, owners = max(half, 1u);
  const size_t width = (static_cast<size_t>(rotated) + copied) * dim;
  for (size_t at = flat_index(); at < rows * owners; at += flat_stride()) {
    const size_t r = at / owners, j = at % owners;
    const float* from = x + r * width;
    float* to = y + r * width;
    if (half > 0) {
      const double all = positions[r] * turns[j];
      float sine, cosine;
      sincospif(static_cast<float>(2.0 * (all - rint(all))), &sine, &cosine);
      sine *= sign;
      for (uint32_t h = 0; h < rotated; h++) {
        const float a = from[h * dim + j], b = from[h * dim + half + j];
        to[h * dim + j] = a * cosine - b * sine;
        to[h * dim + half + j] = a * sine + b * cosine;
      }
    }
    if (from == to) continue;
    if (dim % 2 == 1 && j == 0)
      for (uint32_t h = 0; h < rotated; h++) to[h * dim + dim - 1] = from[h * dim + dim - 1];
    for (size_t i = static_cast<size_t>(rotated) * dim + j; i < width; i += owners) to[i] = from[i];
  }
}

}  // namespace

void rope(Launch& l, const RopeRow& row) {
  const uint32_t half = row.headDim / 2;
  auto* turns = static_cast<double*>(l.scratch(half * sizeof(double)));
  launch(l, turns_kernel, flat_grid(l, half), kThreads, 0, l.fault(), turns, half, row.headDim, row.theta);
  const size_t pairs = row.headDim == 0 ? 0 : static_cast<size_t>(row.rows) * (half > 0 ? half : 1);
  launch(l, rope_kernel, flat_grid(l, pairs), kThreads, 0, l.fault(), l.f32(row.x), l.i32(row.positions), turns,
         l.f32(row.y), row.rows, row.heads + row.kvHeads, row.kvHeads, row.headDim, row.inverse ? -1.0f : 1.0f);
}

}  // namespace sweetspot::cuda
