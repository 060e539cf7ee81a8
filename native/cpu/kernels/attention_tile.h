// The one inner product of the attention kernels, and the packing that feeds it. Scores, weighted values and all four
// gradients are c (R rows, n) = a (R rows, k) b (k, n) with R rows of c held in registers: a is read one word at a
// time with any strides, so a transposed left side needs no copy, and b is read in whole vectors, so the caller packs b
// with rows padded to a multiple of Vec::N. k counts words: one number each or, with bf16 instructions, a pair of bf16
// (gemm/precision.h). Blocks are sized to stay in L1 and L2; no loop here knows about caches.
#pragma once
#include "cpu/gemm/precision.h"
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {

// Rows of c in registers. With 32 registers 8 rows by up to 3 vectors; machines with 16 hold 6 by 2.
constexpr size_t tile_rows = Vec::N >= 16 ? 8 : 6;
constexpr size_t tile_vectors = Vec::N >= 16 ? 3 : 2;

// Factors that are made in registers: words of the 2 N numbers that follow each other along k in x[0] and x[1] (N and
// x[0] where a word is one number), words of neighbours across it, and a word's first or second number alone.
inline Vec words_along(Fp32, const Vec* x) {
  return x[0];
}
inline Vec words_across(Fp32, Vec x, Vec) {
  return x;
}
inline Vec half_words(Fp32, Vec x, bool) {
  return x;
}
#if defined(__AVX512BF16__)
inline Vec words_along(Bf16, const Vec* x) {
  return bf16_pairs(x[0], x[1]);
}
inline Vec words_across(Bf16, Vec x, Vec y) {
  return bf16_interleaved(x, y);
}
inline Vec half_words(Bf16, Vec x, bool second) {
  return second ? bf16_second(x) : bf16_first(x);
}
#else
inline Vec words_along(Bf16, const Vec* x) {
  return Bf16::round(x[0]);
}
inline Vec words_across(Bf16, Vec x, Vec) {
  return Bf16::round(x);
}
#endif

// Left side of a product: word (row, k) is at data[row * row_stride + k * k_stride].
struct Left {
  const float* data;
  size_t row_stride, k_stride;
};

template <class P, size_t R, size_t C>
inline void tile(Left a, const float* b, size_t ldb, size_t k, float* c, size_t ldc, bool accumulate) {
  // One vector across would wait for its own sums: then there are two of each, for every other word.
  constexpr size_t chains = C == 1 ? 2 : 1;
  Vec sums[chains][R][C];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) {
      sums[0][r][j] = accumulate ? Vec::load(c + r * ldc + j * Vec::N) : Vec::zero();
      if constexpr (chains > 1) sums[1][r][j] = Vec::zero();
    }
  const auto step = [&](size_t p, Vec(&to)[R][C]) {
    Vec right[C];
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) right[j] = Vec::load(b + p * ldb + j * Vec::N);
    const float* left = a.data + p * a.k_stride;
#pragma GCC unroll 8
    for (size_t r = 0; r < R; r++) {
      const Vec x = Vec::set(left[r * a.row_stride]);
#pragma GCC unroll 4
      for (size_t j = 0; j < C; j++) to[r][j] = P::multiply(x, right[j], to[r][j]);
    }
  };
  size_t p = 0;
  for (; p + chains <= k; p += chains) {
    step(p, sums[0]);
    if constexpr (chains > 1) step(p + 1, sums[1]);
  }
  if (p < k) step(p, sums[0]);
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++)
      (chains > 1 ? sums[0][r][j] + sums[chains - 1][r][j] : sums[0][r][j]).store(c + r * ldc + j * Vec::N);
}

// c (R rows, n) = a b, or += with accumulate. n counts floats; b and c must hold it rounded up to whole vectors.
template <class P, size_t R>
inline void multiply(Left a, const float* b, size_t ldb, size_t k, float* c, size_t ldc, size_t n, bool accumulate) {
  size_t vectors = (n + Vec::N - 1) / Vec::N;
  const auto take = [&](auto count) {
    constexpr size_t C = decltype(count)::value;
    tile<P, R, C>(a, b, ldb, k, c, ldc, accumulate);
    vectors -= C;
    b += C * Vec::N;
    c += C * Vec::N;
  };
  // Four are two and two: pairs keep more sums in flight than three and one.
  while (vectors > 4 || vectors == tile_vectors) take(Count<tile_vectors>{});
  while (vectors >= 2) take(Count<2>{});
  if (vectors == 1) take(Count<1>{});
}

// The triangle where a block of queries meets its own keys, which must not be multiplied where masked (a masked value
// may be infinite): c (R rows, n) += a b over the pairs (row, step) with step <= row, or step >= row with FromRow. Rows
// and steps are both R; unrolled, so that sums stay in registers. Of a word with one masked step, half is multiplied.
template <class P, bool FromRow, size_t R, size_t C>
inline void triangle_tile(Left a, const float* b, size_t ldb, float* c, size_t ldc) {
  constexpr size_t steps = P::kSteps;
  Vec sums[R][C];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) sums[r][j] = Vec::load(c + r * ldc + j * Vec::N);
#pragma GCC unroll 8
  for (size_t p = 0; p < R / steps; p++) {
    const size_t begin = p * steps, last = begin + steps - 1;
    Vec right[C];
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) right[j] = Vec::load(b + p * ldb + j * Vec::N);
    const float* left = a.data + p * a.k_stride;
#pragma GCC unroll 8
    for (size_t r = FromRow ? 0 : begin; r < (FromRow ? last + 1 : R); r++) {
      const bool whole = FromRow ? begin >= r : last <= r;
      const Vec x = Vec::set(left[r * a.row_stride]);
#pragma GCC unroll 4
      for (size_t j = 0; j < C; j++)
        sums[r][j] = P::multiply(x, whole ? right[j] : half_words(P{}, right[j], FromRow), sums[r][j]);
    }
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
    for (size_t j = 0; j < C; j++) sums[r][j].store(c + r * ldc + j * Vec::N);
}

template <class P, bool FromRow>
inline void triangle(Left a, const float* b, size_t ldb, float* c, size_t ldc, size_t n) {
  size_t j = 0;
  for (; j + 2 * Vec::N <= n; j += 2 * Vec::N) triangle_tile<P, FromRow, tile_rows, 2>(a, b + j, ldb, c + j, ldc);
  if (j < n) triangle_tile<P, FromRow, tile_rows, 1>(a, b + j, ldb, c + j, ldc);
}

// Rows of one head lie a whole token apart, too far for the prefetchers: asks for one, to be read some rows later.
inline void ask_row(const float* row, size_t n) {
  for (size_t i = 0; i < n; i += 16) __builtin_prefetch(row + i);
}
constexpr size_t rows_ahead = 32;

// target (padded_rows, ldt) = the words along each row of source (rows, cols); all that is past the source is 0.
template <class P>
inline void pack_along(const float* source, size_t lds, size_t rows, size_t cols, float* target, size_t ldt,
                       size_t padded_rows) {
  constexpr size_t step = P::kSteps * Vec::N;
  for (size_t r = 0; r < rows; r++) {
    ask_row(source + (r + rows_ahead) * lds, cols);
    const float* from = source + r * lds;
    float* to = target + r * ldt;
    size_t i = 0;
    for (; i + step <= cols; i += step, to += Vec::N) P::along(from + i).store(to);
    if (i < cols) P::along(from + i, cols - i).store(to);
  }
  for (size_t i = rows * ldt; i < padded_rows * ldt; i += Vec::N) Vec::zero().store(target + i);
}

// target (padded_rows / kSteps, ldt) = the words across the rows of source (rows, cols); what is past the source is 0.
template <class P>
inline void pack_across(const float* source, size_t lds, size_t rows, size_t cols, float* target, size_t ldt,
                        size_t padded_rows) {
  size_t r = 0;
  for (; r < rows; r += P::kSteps, target += ldt) {
    const float* from = source + r * lds;
    const size_t steps = min_size(P::kSteps, rows - r);
    for (size_t s = 0; s < P::kSteps; s++) ask_row(from + (s + rows_ahead) * lds, cols);
    size_t i = 0;
    for (; i + Vec::N <= cols; i += Vec::N) P::across(from + i, lds, steps).store(target + i);
    if (i < cols) P::across(from + i, lds, steps, cols - i).store(target + i);
  }
  for (; r < padded_rows; r += P::kSteps, target += ldt)
    for (size_t i = 0; i < ldt; i += Vec::N) Vec::zero().store(target + i);
}

// target (words of cols, ldt) = the words along each row of source (rows, cols), transposed; columns from `rows` to
// `padded_rows`, a multiple of Vec::N, are 0.
template <class P>
inline void pack_transposed(const float* source, size_t lds, size_t rows, size_t cols, float* target, size_t ldt,
                            size_t padded_rows) {
  constexpr size_t step = P::kSteps * Vec::N;
  for (size_t start = 0; start < padded_rows; start += Vec::N) {
    const size_t count = start < rows ? min_size(Vec::N, rows - start) : 0;
    for (size_t r = 0; r < count; r++) ask_row(source + (start + r + rows_ahead) * lds, cols);
    for (size_t i = 0; i < cols; i += step) {
      const size_t width = min_size(step, cols - i);
      const float* block = source + start * lds + i;
      Vec lines[Vec::N];
      for (size_t r = 0; r < Vec::N; r++) {
        lines[r] = r >= count      ? Vec::zero()
                   : width == step ? P::along(block + r * lds)
                                   : P::along(block + r * lds, width);
      }
      transpose(lines);
      float* to = target + i / P::kSteps * ldt + start;
      for (size_t j = 0; j < (width + P::kSteps - 1) / P::kSteps; j++) lines[j].store(to + j * ldt);
    }
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
