// Copies blocks of B into the order in which the microkernel reads them, as words of a precision: panels of kUnitCols
// columns, each panel word by word of K; columns past the edge are zeros, whose products are never stored. Memory is
// read along its rows, whole blocks at a time: matrices are often wider than the caches have ways. (A: feed.h.)
#pragma once
#include "cpu/gemm/micro.h"

namespace sweetspot::SWEETSPOT_ISA {

// Rows lie far apart, where prefetching by the processor stops: packing loops fetch what they read a few rows later.
constexpr size_t kRowsAhead = 6;

// Words of a packed panel of B. Panels begin one step past a power of two, in different cache sets.
inline size_t panel_words(size_t deep) {
  return (deep + 1) * kUnitCols;
}

// Panels of B whose rows (steps of K) are contiguous: b[step * ldb + column].
template <class Precision>
inline void pack_b(const float* b, size_t ldb, size_t depth, size_t cols, float* to) {
  const size_t panel = panel_words(words<Precision>(depth));
  for (size_t p = 0; p < depth; p += Precision::kSteps, b += Precision::kSteps * ldb, to += kUnitCols) {
    const size_t steps = depth - p;
    const float* ahead = b + (kRowsAhead < steps ? kRowsAhead * ldb : 0);
    float* at = to;
    size_t j = 0;
    for (; j + kUnitCols <= cols; j += kUnitCols, at += panel) {
      for (size_t v = 0; v < kUnitVecs; v++) {
        for (size_t s = 0; s < Precision::kSteps; s++) __builtin_prefetch(ahead + s * ldb + j + v * Vec::N);
        Precision::across(b + j + v * Vec::N, ldb, steps).store(at + v * Vec::N);
      }
    }
    if (j == cols) continue;
    for (size_t v = 0; v < kUnitVecs; v++, j += Vec::N) {
      (j < cols ? Precision::across(b + j, ldb, steps, cols - j) : Vec::zero()).store(at + v * Vec::N);
    }
  }
}

// Panels of B whose columns are contiguous: b[column * ldb + step]. N x N words are transposed in registers.
template <class Precision>
inline void pack_b_transposed(const float* b, size_t ldb, size_t depth, size_t cols, float* to) {
  constexpr size_t kBlock = Vec::N * Precision::kSteps;
  const size_t panels = ceil_div(cols, kUnitCols), panel = panel_words(words<Precision>(depth));
  for (size_t first = 0; first < panels * kUnitCols; first += Vec::N) {
    const size_t columns = first < cols ? min_size(Vec::N, cols - first) : 0;
    const float* from = b + first * ldb;
    float* at = to + first / kUnitCols * panel + first % kUnitCols;
    for (size_t p = 0; p < depth; p += kBlock, at += Vec::N * kUnitCols) {
      const size_t steps = min_size(kBlock, depth - p);
      Vec block[Vec::N];
      if (columns == Vec::N && steps == kBlock) {
        for (size_t j = 0; j < Vec::N; j++) {
          block[j] = Precision::along(from + j * ldb + p);
          for (size_t s = 0; s < kBlock; s += 16) __builtin_prefetch(from + j * ldb + p + 2 * kBlock + s);
        }
      } else {
        for (size_t j = 0; j < Vec::N; j++) {
          block[j] = j < columns ? Precision::along(from + j * ldb + p, steps) : Vec::zero();
        }
      }
      transpose(block);
      for (size_t s = 0; s < words<Precision>(steps); s++) block[s].store(at + s * kUnitCols);
    }
  }
}

// Row-major rows of A: a[row * lda + step], copied with `ldto` words between rows. Writes whole vectors: a row needs
// room for its words rounded up to N.
template <class Precision>
inline void copy_rows(const float* a, size_t lda, size_t depth, size_t rows, float* to, size_t ldto) {
  constexpr size_t kBlock = Vec::N * Precision::kSteps;
  for (size_t i = 0; i < rows; i++, a += lda, to += ldto) {
    float* at = to;
    size_t p = 0;
    for (; p + kBlock <= depth; p += kBlock, at += Vec::N) Precision::along(a + p).store(at);
    if (p < depth) Precision::along(a + p, depth - p).store(at);
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
