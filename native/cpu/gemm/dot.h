// A thin tile of C = A B^T: few rows of A, and B stored (n, k), so both run along K. A vector runs along K too and no B
// is packed: every number of B is read once, in the order it lies in memory. This is the product of a decoded token.
#pragma once
#include "cpu/gemm/precision.h"

namespace sweetspot::SWEETSPOT_ISA {

struct DotCall {
  size_t m, n, k;
  const float* a;
  size_t lda;
  const float* b;
  size_t ldb;
  float* c;
  const float* add;  // laid out as c, may be c; or nullptr
  size_t ldc;
  const float* bias;  // along n, or nullptr
  float alpha;
};

// out[row][column] = a[row, :] . b[column, :]
template <class Precision, size_t Rows, size_t Cols>
inline void dot_block(const DotCall& call, const float* a, const float* b, float (&out)[Rows][Cols]) {
  Vec acc[Rows][Cols];
#pragma GCC unroll 4
  for (size_t i = 0; i < Rows; i++) {
#pragma GCC unroll 4
    for (size_t j = 0; j < Cols; j++) acc[i][j] = Vec::zero();
  }
  size_t p = 0;
  for (; p + Vec::N <= call.k; p += Vec::N) {
    Vec x[Rows];
#pragma GCC unroll 4
    for (size_t i = 0; i < Rows; i++) x[i] = Precision::round(Vec::load(a + i * call.lda + p));
#pragma GCC unroll 4
    for (size_t j = 0; j < Cols; j++) {
      // The next columns: four streams of one row each end too soon for the prefetchers of the processor.
      __builtin_prefetch(b + (j + Cols) * call.ldb + p);
      const Vec y = Precision::round(Vec::load(b + j * call.ldb + p));
#pragma GCC unroll 4
      for (size_t i = 0; i < Rows; i++) acc[i][j] = fma(x[i], y, acc[i][j]);
    }
  }
  const size_t rest = call.k - p;
  for (size_t i = 0; i < Rows; i++) {
    for (size_t j = 0; j < Cols; j++) {
      if (rest > 0) {
        const Vec x = Precision::round(Vec::load(a + i * call.lda + p, rest));
        acc[i][j] = fma(x, Precision::round(Vec::load(b + j * call.ldb + p, rest)), acc[i][j]);
      }
      out[i][j] = sum(acc[i][j]);
    }
  }
}

template <class Precision, size_t Rows, size_t Cols>
inline void dot_finish(const DotCall& call, size_t i0, size_t j0) {
  float out[Rows][Cols];
  dot_block<Precision, Rows, Cols>(call, call.a + i0 * call.lda, call.b + j0 * call.ldb, out);
  for (size_t i = 0; i < Rows; i++) {
    for (size_t j = 0; j < Cols; j++) {
      const size_t at = (i0 + i) * call.ldc + j0 + j;
      float value = call.alpha * out[i][j];
      if (call.bias != nullptr) value += call.bias[j0 + j];
      if (call.add != nullptr) value += call.add[at];
      call.c[at] = value;
    }
  }
}

// Rows in fours and then one by one, for four columns of C (four streams of B), then single columns.
template <class Precision>
inline void dot_tile(const DotCall& call) {
  size_t j = 0;
  for (; j + 4 <= call.n; j += 4) {
    size_t i = 0;
    for (; i + 4 <= call.m; i += 4) dot_finish<Precision, 4, 4>(call, i, j);
    for (; i + 2 <= call.m; i += 2) dot_finish<Precision, 2, 4>(call, i, j);
    for (; i < call.m; i++) dot_finish<Precision, 1, 4>(call, i, j);
  }
  for (; j < call.n; j++) {
    for (size_t i = 0; i < call.m; i++) dot_finish<Precision, 1, 1>(call, i, j);
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
