// What attention on tensor cores is made of: rows of a head as bf16 in shared memory, blocks of 16 x 16 of them as
// fragments of mma.sync, and products of whole rows of such blocks. Sums and everything of the softmax are float32 in
// registers: lane (g = lane / 4, t = lane % 4) has of each 16 x 8 block rows g and g + 8, columns 2 t and the next, and
// what is so held can be the left factor of the next product without leaving the registers.
//
// A warp holds blocks of 16 rows (queries, or keys where it makes dk and dv) and meets 16 rows of the other kind at a
// time. Both begin at multiples of 16, so a pair of blocks is seen whole, not at all, or lies on the diagonal.
#pragma once
#include "cuda/kernels/attention_layout.cuh"

namespace sweetspot::cuda {

// Two blocks of 16 rows that a warp owns are this many rows apart: then all warps have the same work where a tile lies
// on the diagonal.
constexpr uint32_t kApart = 64;

// Numbers from one row in shared memory to the next: 16 bytes more than D, so that the eight rows which ldmatrix reads
// at once lie in different banks.
template <int D>
constexpr uint32_t kRow = D + 8;

__device__ inline uint32_t lane_row() {
  return threadIdx.x % 32 / 4;
}
__device__ inline uint32_t lane_column() {
  return threadIdx.x % 4 * 2;
}

// Where a lane points ldmatrix at in a 16 x 16 block: as the left factor, or transposed as the right one whose rows are
// k; and as the right factor whose rows are columns of the product.
template <int D>
__device__ inline uint32_t left_place() {
  return threadIdx.x % 16 * kRow<D> + threadIdx.x % 32 / 16 * 8;
}
template <int D>
__device__ inline uint32_t right_place() {
  return (threadIdx.x % 8 + threadIdx.x % 32 / 16 * 8) * kRow<D> + threadIdx.x / 8 % 2 * 8;
}

// Begins to copy R rows of a head by Threads threads; rows from `count` on and columns from `dim` on become zeros.
// Rows that are not aligned are copied at once.
template <int D, int R, int Threads>
__device__ inline void copy_rows(bf16* to, const bf16* from, size_t stride, uint32_t count, uint32_t dim) {
  constexpr uint32_t pieces = D / 8, at_once = Threads / pieces;
  const uint32_t first = threadIdx.x / pieces, column = threadIdx.x % pieces * 8;
  if (Threads % pieces != 0 && first >= at_once) return;
  const bf16* source = from + first * stride + column;
  to += first * kRow<D> + column;
#pragma unroll
  for (uint32_t row = first, i = 0; i < (R + at_once - 1) / at_once; i++, row += at_once) {
    if (R % at_once != 0 && row >= R) return;
    const bool there = row < count && column < dim;
    if (dim % 8 == 0) {
      copy_async_16(to, there ? source : from, there ? 16 : 0);
    } else {
#pragma unroll 1
      for (uint32_t e = 0; e < 8; e++) to[e] = there && column + e < dim ? source[e] : __float2bfloat16_rn(0.0f);
    }
    source += at_once * stride;
    to += at_once * kRow<D>;
  }
}

__device__ inline uint32_t pack(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
// Two 16 x 8 blocks of sums, rounded, as the left factor of a product.
__device__ inline void pack_block(const float (&left)[4], const float (&right)[4], uint32_t (&a)[4]) {
  a[0] = pack(left[0], left[1]);
  a[1] = pack(left[2], left[3]);
  a[2] = pack(right[0], right[1]);
  a[3] = pack(right[2], right[3]);
}

// c (16, 16) += a (16, 16) b (16, 16), c as its left and right half.
__device__ inline void multiply_block(float (&left)[4], float (&right)[4], const uint32_t (&a)[4],
                                      const uint32_t (&b)[4]) {
  const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
  mma_bf16(left, a, b0);
  mma_bf16(right, a, b1);
}

// c (16 M, 8 N) += a b^T in columns 16 step to 16 step + 15 of the factors; a is as a lane reads it, a block of 16 rows
// `apart` rows from the next. Of b's blocks of 16 rows only the first `count` are multiplied.
template <int D, int M, int N>
__device__ inline void score(float (&c)[M][N][4], const bf16* a, uint32_t apart, const bf16* b, int step,
                             uint32_t count = N / 2) {
  uint32_t left[M][4];
#pragma unroll
  for (int m = 0; m < M; m++) load_matrices(left[m], a + apart * m * kRow<D> + 16 * step);
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    if (n >= 2 * count) continue;
    uint32_t right[4];
    load_matrices(right, b + right_place<D>() + 8 * n * kRow<D> + 16 * step);
#pragma unroll
    for (int m = 0; m < M; m++) multiply_block(c[m][n], c[m][n + 1], left[m], right);
  }
}

// c (16 M, 8 N) += a (16 M, 16) x (16, 8 N).
template <int D, int M, int N>
__device__ inline void multiply_rows(float (&c)[M][N][4], const uint32_t (&a)[M][4], const bf16* x) {
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    uint32_t b[4];
    load_matrices_transposed(b, x + left_place<D>() + 8 * n);
#pragma unroll
    for (int m = 0; m < M; m++) multiply_block(c[m][n], c[m][n + 1], a[m], b);
  }
}
template <int D, int N>
__device__ inline void multiply_rows(float (&c)[N][4], const uint32_t (&a)[4], const bf16* x) {
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    uint32_t b[4];
    load_matrices_transposed(b, x + left_place<D>() + 8 * n);
    multiply_block(c[n], c[n + 1], a, b);
  }
}

// c (16, 8 N) += a (16, 16) x (16, 8 N) for a block on the diagonal, where a is 0 for pairs that do not see each other:
// a row sees steps up to its own (ToRow) or from its own on. 0 times infinity would be NaN and tell an earlier token of
// a later one; so where x is not finite, steps are taken one at a time, each for the rows that see it.
template <int D, bool ToRow, int N>
__device__ inline void multiply_diagonal(float (&c)[N][4], const uint32_t (&a)[4], const bf16* x) {
  uint32_t b[4], exponents = 0;
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    load_matrices_transposed(b, x + left_place<D>() + 8 * n);
    // The sign bit of a half becomes 1 where all bits of the exponent are.
#pragma unroll
    for (int i = 0; i < 4; i++) exponents |= (b[i] & 0x7fff7fffu) + 0x00800080u;
  }
  if (__any_sync(0xffffffffu, (exponents & 0x80008000u) != 0) == 0) return multiply_rows<D>(c, a, x);
#pragma unroll 1
  for (uint32_t step = 0; step < 16; step++) {
    const uint32_t half = threadIdx.x % 4 != step % 8 / 2 ? 0 : step % 2 == 0 ? 0x0000ffffu : 0xffff0000u;
    const uint32_t low = step < 8 ? half : 0, high = step < 8 ? 0 : half;
    const uint32_t column[4] = {a[0] & low, a[1] & low, a[2] & high, a[3] & high};
    const bool upper = ToRow ? step <= lane_row() : step >= lane_row();
    const bool lower = ToRow ? step <= lane_row() + 8 : step >= lane_row() + 8;
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      load_matrices_transposed(b, x + left_place<D>() + 8 * n);
      const uint32_t row[4] = {b[0] & low, b[1] & high, b[2] & low, b[3] & high};
      float part[2][4] = {};
      multiply_block(part[0], part[1], column, row);
#pragma unroll
      for (int i = 0; i < 8; i++)
        if (i % 4 < 2 ? upper : lower) c[n + i / 4][i % 4] += part[i / 4][i % 4];
    }
  }
}

// to[at + row * stride + column] = c * (upper or lower factor), of rows below `rows` and columns below dim; c's first
// column is `begin`.
template <int N>
__device__ inline void store_block(const float (&c)[N][4], float upper, float lower, Out to, size_t at, size_t stride,
                                   uint32_t rows, uint32_t dim, uint32_t begin = 0) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t row = lane_row() + 8 * half;
    const float factor = half == 0 ? upper : lower;
    if (row >= rows) continue;
#pragma unroll
    for (int n = 0; n < N; n++) {
      const uint32_t column = begin + 8 * n + lane_column();
      const size_t i = at + row * stride + column;
      const float x = c[n][2 * half] * factor, y = c[n][2 * half + 1] * factor;
      if (dim % 2 == 0 && column < dim) {
        if (to.f32 != nullptr) *reinterpret_cast<float2*>(to.f32 + i) = make_float2(x, y);
        if (to.half != nullptr) *reinterpret_cast<uint32_t*>(to.half + i) = pack(x, y);
      } else {
        if (column < dim) to.put(i, x);
        if (column + 1 < dim) to.put(i + 1, y);
      }
    }
  }
}

// What pick(width) returns for the narrowest number of columns there are kernels for that holds `dim`; false where
// there is none.
template <class F>
bool by_columns(uint32_t dim, F&& pick) {
  if (dim <= 16) return pick(std::integral_constant<int, 16>{});
  if (dim <= 32) return pick(std::integral_constant<int, 32>{});
  if (dim <= 64) return pick(std::integral_constant<int, 64>{});
  if (dim <= 96) return pick(std::integral_constant<int, 96>{});
  if (dim <= 128) return pick(std::integral_constant<int, 128>{});
  return false;
}

// launch() with one Shared of dynamic memory, where the device has so much; else false, and nothing is launched.
template <class Shared, class... P, class... A>
bool launch_where_it_fits(Launch& l, void (*kernel)(P...), uint32_t grid, uint32_t block, A... arguments) {
  if (sizeof(Shared) > l.most_shared) return false;
  launch(l, kernel, grid, block, sizeof(Shared), l.fault(), arguments...);
  return true;
}

}  // namespace sweetspot::cuda
