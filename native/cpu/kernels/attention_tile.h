// The one inner product of the attention kernels, and the packing that feeds it. Scores, weighted values and all four
// gradients are c (R rows, n) = a (R rows, k) b (k, n) with R rows of c held in registers: a is read one number at a
// time with any strides, so a transposed left side needs no copy, and b is read in whole vectors, so the caller packs b
// with rows padded to a multiple of Vec::N. Blocks are sized to stay in L1 and L2; no loop here knows about caches.
#pragma once
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {

// 6 rows by 4 vectors fill the 32 registers of AVX-512; machines with 16 registers hold 6 by 2.
constexpr size_t tile_rows = 6;
constexpr size_t tile_vectors = Vec::N >= 16 ? 4 : 2;

// Left side of a product: element (row, k) is at data[row * row_stride + k * k_stride].
struct Left {
  const float* data;
  size_t row_stride, k_stride;
};

template <size_t R, size_t C>
inline void tile(Left a, const float* b, size_t ldb, size_t k, float* c, size_t ldc, bool accumulate) {
  Vec sums[R][C];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) sums[r][j] = accumulate ? Vec::load(c + r * ldc + j * Vec::N) : Vec::zero();
  for (size_t p = 0; p < k; p++) {
    Vec right[C];
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) right[j] = Vec::load(b + p * ldb + j * Vec::N);
    const float* left = a.data + p * a.k_stride;
#pragma GCC unroll 8
    for (size_t r = 0; r < R; r++) {
      const Vec x = Vec::set(left[r * a.row_stride]);
#pragma GCC unroll 4
      for (size_t j = 0; j < C; j++) sums[r][j] = fma(x, right[j], sums[r][j]);
    }
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) sums[r][j].store(c + r * ldc + j * Vec::N);
}

// c (R rows, n) = a b, or += with accumulate. n counts floats; b and c must hold it rounded up to whole vectors.
template <size_t R>
inline void multiply(Left a, const float* b, size_t ldb, size_t k, float* c, size_t ldc, size_t n, bool accumulate) {
  size_t vectors = (n + Vec::N - 1) / Vec::N;
  for (; vectors >= tile_vectors; vectors -= tile_vectors) {
    tile<R, tile_vectors>(a, b, ldb, k, c, ldc, accumulate);
    b += tile_vectors * Vec::N;
    c += tile_vectors * Vec::N;
  }
  if (vectors == 3) tile<R, 3>(a, b, ldb, k, c, ldc, accumulate);
  if (vectors == 2) tile<R, 2>(a, b, ldb, k, c, ldc, accumulate);
  if (vectors == 1) tile<R, 1>(a, b, ldb, k, c, ldc, accumulate);
}

// target (rows, ldt) = factor * source (rows, cols), where ldt is cols rounded up to whole vectors; the padding is 0.
inline void pack_rows(const float* source, size_t lds, size_t rows, size_t cols, float factor, float* target,
                      size_t ldt) {
  const Vec f = Vec::set(factor);
  for (size_t r = 0; r < rows; r++)
    each_vec(cols, [&](size_t i, auto lanes) { (lanes.load(source + r * lds + i) * f).store(target + r * ldt + i); });
}

// target (cols, ldt) = transpose of source (rows, cols); columns from `rows` to the next multiple of Vec::N are 0.
inline void pack_transposed(const float* source, size_t lds, size_t rows, size_t cols, float* target, size_t ldt) {
  for (size_t start = 0; start < rows; start += Vec::N) {
    const size_t count = min_size(Vec::N, rows - start);
    const float* block = source + start * lds;
    for (size_t i = 0; i < cols; i++) {
      float* line = target + i * ldt + start;
      if (count == Vec::N) {
        for (size_t r = 0; r < Vec::N; r++) line[r] = block[r * lds + i];
      } else {
        for (size_t r = 0; r < Vec::N; r++) line[r] = r < count ? block[r * lds + i] : 0.0f;
      }
    }
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
