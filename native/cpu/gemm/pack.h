// Copies blocks of A and B into the order in which the microkernel reads them.
//   B: panels of kUnitCols columns, each panel step by step of K; columns past the edge are zeros, whose products are
//      never stored.
//   A, transposed in memory: panels of kUnitRows rows, step by step of K.
//   A, row-major: read in place, or copied row by row when its rows collide in the first-level cache.
// Memory is read along its rows, whole blocks at a time: matrices are often wider than the caches have ways.
#pragma once
#include <cstring>

#include "cpu/gemm/micro.h"

namespace sweetspot::SWEETSPOT_ISA {

// A row that a packing loop reads soon. Rows lie far apart, where prefetching by the processor stops.
constexpr size_t kRowsAhead = 6;
inline void fetch_row(const float* row, size_t n) {
  for (size_t i = 0; row != nullptr && i < n; i += 16) __builtin_prefetch(row + i);
}

// Panels of B whose rows (steps of K) are contiguous: b[step * ldb + column].
inline void pack_b(const float* b, size_t ldb, size_t depth, size_t cols, float* to) {
  const size_t panel = depth * kUnitCols;
  for (size_t p = 0; p < depth; p++, b += ldb, to += kUnitCols) {
    float* at = to;
    size_t j = 0;
    fetch_row(p + kRowsAhead < depth ? b + kRowsAhead * ldb : nullptr, cols);
    for (; j + kUnitCols <= cols; j += kUnitCols, at += panel) {
      for (size_t v = 0; v < kUnitVecs; v++) Vec::load(b + j + v * Vec::N).store(at + v * Vec::N);
    }
    if (j == cols) continue;
    for (size_t v = 0; v < kUnitVecs; v++, j += Vec::N) {
      (j < cols ? Vec::load(b + j, cols - j) : Vec::zero()).store(at + v * Vec::N);
    }
  }
}

// Panels of B whose columns are contiguous: b[column * ldb + step]. N x N blocks are transposed in registers.
inline void pack_b_transposed(const float* b, size_t ldb, size_t depth, size_t cols, float* to) {
  const size_t panels = ceil_div(cols, kUnitCols);
  for (size_t first = 0; first < panels * kUnitCols; first += Vec::N) {
    const size_t columns = first < cols ? min_size(Vec::N, cols - first) : 0;
    const float* from = b + first * ldb;
    float* at = to + first / kUnitCols * depth * kUnitCols + first % kUnitCols;
    for (size_t p = 0; p < depth; p += Vec::N) {
      const size_t steps = min_size(Vec::N, depth - p);
      Vec block[Vec::N];
      if (columns == Vec::N && steps == Vec::N) {
        for (size_t j = 0; j < Vec::N; j++) block[j] = Vec::load(from + j * ldb + p);
      } else {
        for (size_t j = 0; j < Vec::N; j++) block[j] = j < columns ? Vec::load(from + j * ldb + p, steps) : Vec::zero();
      }
      transpose(block);
      for (size_t s = 0; s < steps; s++) block[s].store(at + (p + s) * kUnitCols);
    }
  }
}

// Floats of a panel of A packed from transposed memory. Whole vectors are stored: its last step needs room behind.
inline size_t panel_floats(size_t depth) {
  return round_up(kUnitRows * depth + 2 * Vec::N, 16);
}

// Panels of A whose rows are contiguous over columns of A^T: a[step * lda + row].
inline void pack_a_transposed(const float* a, size_t lda, size_t depth, size_t rows, float* to) {
  const size_t panel = panel_floats(depth);
  // Ascending steps: what a whole vector writes past its kUnitRows, the next step overwrites.
  for (size_t p = 0; p < depth; p++, a += lda, to += kUnitRows) {
    float* at = to;
    fetch_row(p + kRowsAhead < depth ? a + kRowsAhead * lda : nullptr, rows);
    for (size_t i = 0; i < rows; i += kUnitRows, at += panel) {
      const size_t height = min_size(kUnitRows, rows - i);
      for (size_t r = 0; r < height; r += Vec::N) Vec::load(a + i + r, height - r).store(at + r);
    }
  }
}

// Row-major rows of A: a[row * lda + step], copied with `ldto` between rows.
inline void copy_rows(const float* a, size_t lda, size_t depth, size_t rows, float* to, size_t ldto) {
  for (size_t i = 0; i < rows; i++) std::memcpy(to + i * ldto, a + i * lda, depth * sizeof(float));
}

}  // namespace sweetspot::SWEETSPOT_ISA
