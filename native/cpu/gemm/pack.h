// Copies blocks of A and B into the order in which the microkernel reads them, as words of a precision.
//   B: panels of kUnitCols columns, each panel word by word of K; columns past the edge are zeros, whose products are
//      never stored.
//   A, transposed in memory: panels of kUnitRows rows, word by word of K.
//   A, row-major: copied row by row, or read in place.
// Memory is read along its rows, whole blocks at a time: matrices are often wider than the caches have ways.
#pragma once
#include "cpu/gemm/micro.h"

namespace sweetspot::SWEETSPOT_ISA {

// Words of K in `steps` steps.
template <class Precision>
inline size_t words(size_t steps) {
  return ceil_div(steps, Precision::kSteps);
}

// A row that a packing loop reads soon. Rows lie far apart, where prefetching by the processor stops.
constexpr size_t kRowsAhead = 6;
inline void fetch_row(const float* row, size_t n) {
  for (size_t i = 0; row != nullptr && i < n; i += 16) __builtin_prefetch(row + i);
}

// Panels of B whose rows (steps of K) are contiguous: b[step * ldb + column].
template <class Precision>
inline void pack_b(const float* b, size_t ldb, size_t depth, size_t cols, float* to) {
  const size_t panel = words<Precision>(depth) * kUnitCols;
  for (size_t p = 0; p < depth; p += Precision::kSteps, b += Precision::kSteps * ldb, to += kUnitCols) {
    const size_t steps = depth - p;
    float* at = to;
    size_t j = 0;
    for (size_t s = 0; s < Precision::kSteps; s++) {
      fetch_row(kRowsAhead + s < steps ? b + (kRowsAhead + s) * ldb : nullptr, cols);
    }
    for (; j + kUnitCols <= cols; j += kUnitCols, at += panel) {
      for (size_t v = 0; v < kUnitVecs; v++) {
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
  const size_t panels = ceil_div(cols, kUnitCols), height = words<Precision>(depth);
  for (size_t first = 0; first < panels * kUnitCols; first += Vec::N) {
    const size_t columns = first < cols ? min_size(Vec::N, cols - first) : 0;
    const float* from = b + first * ldb;
    float* at = to + first / kUnitCols * height * kUnitCols + first % kUnitCols;
    for (size_t p = 0; p < depth; p += kBlock, at += Vec::N * kUnitCols) {
      const size_t steps = min_size(kBlock, depth - p);
      Vec block[Vec::N];
      if (columns == Vec::N && steps == kBlock) {
        for (size_t j = 0; j < Vec::N; j++) block[j] = Precision::along(from + j * ldb + p);
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

// Words of a panel of A packed from transposed memory. Whole vectors are stored: its last step needs room behind.
inline size_t panel_words(size_t height) {
  return round_up(kUnitRows * height + 2 * Vec::N, 16);
}

// Panels of A whose rows are contiguous over columns of A^T: a[step * lda + row].
template <class Precision>
inline void pack_a_transposed(const float* a, size_t lda, size_t depth, size_t rows, float* to) {
  const size_t panel = panel_words(words<Precision>(depth));
  // Ascending steps: what a whole vector writes past its kUnitRows, the next step overwrites.
  for (size_t p = 0; p < depth; p += Precision::kSteps, a += Precision::kSteps * lda, to += kUnitRows) {
    const size_t steps = depth - p;
    float* at = to;
    for (size_t s = 0; s < Precision::kSteps; s++) {
      fetch_row(kRowsAhead + s < steps ? a + (kRowsAhead + s) * lda : nullptr, rows);
    }
    for (size_t i = 0; i < rows; i += kUnitRows, at += panel) {
      const size_t height = min_size(kUnitRows, rows - i);
      for (size_t r = 0; r < height; r += Vec::N) Precision::across(a + i + r, lda, steps, height - r).store(at + r);
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
