// The one inner product of the attention kernels, and the packing that feeds it. Scores, weighted values and all four
// gradients are c (R rows, n) = a (R rows, k) b (k, n) with R rows of c held in registers: a is read one number at a
// time with any strides, so a transposed left side needs no copy, and b is read in whole vectors, so the caller packs b
// with rows padded to a multiple of Vec::N. Blocks are sized to stay in L1 and L2; no loop here knows about caches.
#pragma once
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {

// Rows of c in registers. With 32 registers 8 rows by up to 3 vectors: even one vector across keeps two multiply-adds
// of 4 cycles busy, which 6 rows did not (heads of 16). Machines with 16 registers hold 6 by 2.
constexpr size_t tile_rows = Vec::N >= 16 ? 8 : 6;
constexpr size_t tile_vectors = Vec::N >= 16 ? 3 : 2;

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
  const auto take = [&](auto count) {
    constexpr size_t C = decltype(count)::value;
    tile<R, C>(a, b, ldb, k, c, ldc, accumulate);
    vectors -= C;
    b += C * Vec::N;
    c += C * Vec::N;
  };
  // Four are two and two: a single vector across would wait for its own sums.
  while (vectors > 4 || vectors == tile_vectors) take(Count<tile_vectors>{});
  while (vectors >= 2) take(Count<2>{});
  if (vectors == 1) take(Count<1>{});
}

// The triangle where a block of queries meets its own keys, which must not be multiplied where masked (a masked value
// may be infinite): c (R rows, n) += a b over the pairs (row, step) with step < row, or step >= row with FromRow. Rows
// and steps are both R; unrolled, so that sums stay in registers.
template <bool FromRow, size_t R, size_t C>
inline void triangle_tile(Left a, const float* b, size_t ldb, float* c, size_t ldc) {
  Vec sums[R][C];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) sums[r][j] = Vec::load(c + r * ldc + j * Vec::N);
#pragma GCC unroll 8
  for (size_t p = 0; p < R; p++) {
    Vec right[C];
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) right[j] = Vec::load(b + p * ldb + j * Vec::N);
    const float* left = a.data + p * a.k_stride;
#pragma GCC unroll 8
    for (size_t r = FromRow ? 0 : p + 1; r < (FromRow ? p + 1 : R); r++) {
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

template <bool FromRow>
inline void triangle(Left a, const float* b, size_t ldb, float* c, size_t ldc, size_t n) {
  size_t j = 0;
  for (; j + 2 * Vec::N <= n; j += 2 * Vec::N) triangle_tile<FromRow, tile_rows, 2>(a, b + j, ldb, c + j, ldc);
  if (j < n) triangle_tile<FromRow, tile_rows, 1>(a, b + j, ldb, c + j, ldc);
}

// Rows of one head lie a whole token apart, too far for the prefetchers: asks for one, to be read some rows later.
inline void ask_row(const float* row, size_t n) {
  for (size_t i = 0; i < n; i += 16) __builtin_prefetch(row + i);
}
constexpr size_t rows_ahead = 16;

// target (rows, ldt) = factor * source (rows, cols), where ldt is cols rounded up to whole vectors; the padding is 0.
inline void pack_rows(const float* source, size_t lds, size_t rows, size_t cols, float factor, float* target,
                      size_t ldt) {
  const Vec f = Vec::set(factor);
  for (size_t r = 0; r < rows; r++) {
    ask_row(source + (r + rows_ahead) * lds, cols);
    each_vec(cols, [&](size_t i, auto lanes) { (lanes.load(source + r * lds + i) * f).store(target + r * ldt + i); });
  }
}

// target (cols, ldt) = transpose of source (rows, cols); columns from `rows` to the next multiple of Vec::N are 0.
inline void pack_transposed(const float* source, size_t lds, size_t rows, size_t cols, float* target, size_t ldt) {
  for (size_t start = 0; start < rows; start += Vec::N) {
    const size_t count = min_size(Vec::N, rows - start);
    for (size_t r = 0; r < count; r++) ask_row(source + (start + r + rows_ahead) * lds, cols);
    for (size_t i = 0; i < cols; i += Vec::N) {
      const size_t width = min_size(Vec::N, cols - i);
      const float* block = source + start * lds + i;
      Vec lines[Vec::N];
      for (size_t r = 0; r < Vec::N; r++) {
        lines[r] = r >= count        ? Vec::zero()
                   : width == Vec::N ? Vec::load(block + r * lds)
                                     : Vec::load(block + r * lds, width);
      }
      transpose(lines);
      for (size_t j = 0; j < width; j++) lines[j].store(target + (i + j) * ldt + start);
    }
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
