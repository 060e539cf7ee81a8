// What becomes of sums: c = alpha * sum (+ bias) (+ add). One element or four of a row at a time, the same bits either
// way: nothing is fused.
#pragma once
#include "cuda/gemm/place.cuh"

namespace sweetspot::cuda {

__device__ inline float4 load4(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}

// `at` is the element's index in c, `col` its column.
__device__ inline void finish(const Product& p, size_t at, uint32_t col, float sum) {
  float x = __fmul_rn(p.alpha, sum);
  if (p.bias != nullptr) x = __fadd_rn(x, p.bias[col]);
  if (p.add != nullptr) x = __fadd_rn(x, p.add[at]);
  p.c.put(at, x);
}

__device__ inline float4 scale4(float4 x, float alpha) {
  return {__fmul_rn(x.x, alpha), __fmul_rn(x.y, alpha), __fmul_rn(x.z, alpha), __fmul_rn(x.w, alpha)};
}
__device__ inline float4 add4(float4 x, float4 y) {
  return {__fadd_rn(x.x, y.x), __fadd_rn(x.y, y.y), __fadd_rn(x.z, y.z), __fadd_rn(x.w, y.w)};
}

// Elements 4 i to 4 i + 3 of a row can be read and written at once.
__device__ inline bool aligned(const Product& p) {
  return p.n % 4 == 0 && p.ldc % 4 == 0 && p.stride_c % 4 == 0;
}

// Elements `at` to at + 3, as far as they are in the row; at and col are multiples of 4 where aligned(p).
__device__ inline void finish_some(const Product& p, size_t at, uint32_t col, float4 sum) {
  if (!aligned(p)) {
    const float each[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (uint32_t e = 0; e < 4; e++)
      if (col + e < p.n) finish(p, at + e, col + e, each[e]);
    return;
  }
  float4 x = scale4(sum, p.alpha);
  if (p.bias != nullptr) x = add4(x, load4(p.bias + col));
  if (p.add != nullptr) x = add4(x, load4(p.add + at));
  p.c.put4(at, x);
}

// The partial product that a tile belongs to, or nullptr.
__device__ inline float* partial_sums(const Product& p, const Split& split, const Place& at) {
  return at.slot == kAbsent ? nullptr : split.sums + static_cast<size_t>(at.slot) * p.m * split.pitch;
}

// The sums of a tile, one by one.
__device__ inline void store(const Product& p, const Split& split, const Place& at, int i, int j, float sum) {
  if (i >= at.rows || j >= at.cols(p)) return;
  const uint32_t row = at.row + i, col = at.col + j;
  if (float* sums = partial_sums(p, split, at))
    sums[static_cast<size_t>(row) * split.pitch + col] = sum;
  else
    finish(p, at.entry * p.stride_c + row * p.ldc + col, col, sum);
}

// The sums of a warp's part of a tile, from (row0, col0) on, as mma.sync leaves them: sum[i][j] are four of 16 x 8, two
// of a row and two of the eighth row below. Pairs of lanes exchange halves, then each has four of a row.
template <int Rows, int Cols>
__device__ inline void store_fragments(const Product& p, const Split& split, const Place& at, int row0, int col0,
                                       const float (&sum)[Rows][Cols][4]) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  float* const sums = partial_sums(p, split, at);
  const uint32_t cols = at.cols(p);
  if (sums == nullptr && !aligned(p)) {
#pragma unroll
    for (int i = 0; i < Rows; i++)
#pragma unroll
      for (int j = 0; j < Cols; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
          store(p, split, at, row0 + 16 * i + g + e / 2 * 8, col0 + 8 * j + 2 * t + e % 2, sum[i][j][e]);
    return;
  }
  constexpr int kQuads = Cols / 2;  // of a row
  const bool odd = t % 2 != 0;
  const int first = col0 + 8 * (t % 2) + 4 * (t / 2);
  const bool has_bias = sums == nullptr && p.bias != nullptr, has_add = sums == nullptr && p.add != nullptr;
  float4 bias[kQuads];
#pragma unroll
  for (int q = 0; q < kQuads; q++)
    if (has_bias && first + 16 * q < cols) bias[q] = load4(p.bias + at.col + first + 16 * q);
  const size_t pitch = sums == nullptr ? p.ldc : split.pitch;
  const size_t corner = (sums == nullptr ? at.entry * p.stride_c : 0) + at.row * pitch + at.col + first;
#pragma unroll
  for (int i = 0; i < Rows; i++) {
    // c may be add, so all is read before the first is written.
    float4 add[2][kQuads];
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
      for (int q = 0; q < kQuads; q++) {
        const int row = row0 + 16 * i + g + 8 * r;
        if (has_add && row < at.rows && first + 16 * q < cols) add[r][q] = load4(p.add + corner + row * pitch + 16 * q);
      }
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
      for (int q = 0; q < kQuads; q++) {
        const float(&left)[4] = sum[i][2 * q], (&right)[4] = sum[i][2 * q + 1];
        const float x = __shfl_xor_sync(0xffffffffu, odd ? left[2 * r] : right[2 * r], 1);
        const float y = __shfl_xor_sync(0xffffffffu, odd ? left[2 * r + 1] : right[2 * r + 1], 1);
        const int row = row0 + 16 * i + g + 8 * r;
        if (row >= at.rows || first + 16 * q >= cols) continue;
        float4 four = odd ? float4{x, y, right[2 * r], right[2 * r + 1]} : float4{left[2 * r], left[2 * r + 1], x, y};
        const size_t to = corner + row * pitch + 16 * q;
        if (sums != nullptr) {
          *reinterpret_cast<float4*>(sums + to) = four;
          continue;
        }
        four = scale4(four, p.alpha);
        if (has_bias) four = add4(four, bias[q]);
        if (has_add) four = add4(four, add[r][q]);
        p.c.put4(to, four);
      }
  }
}

}  // namespace sweetspot::cuda
