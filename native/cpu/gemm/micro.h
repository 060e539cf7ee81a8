// The microkernel: a tile of C held in registers while K passes by. Each word of K (precision.h) loads kUnitCols
// columns of B and broadcasts one word of A for each row.
#pragma once
#include "cpu/gemm/feed.h"

namespace sweetspot::SWEETSPOT_ISA {

// One call: c (rows, width) = alpha * a b (+ bias) (+ add). b has whole vectors behind every row, whatever the width.
struct MicroCall {
  size_t depth;  // words of K
  const float* a;
  size_t lda;  // between rows when A is row-major, else between words of K
  const float* b;
  size_t ldb;
  float* c;
  const float* add;  // laid out as c, may be c; or nullptr
  size_t ldc;
  const float* bias;  // or nullptr
  float alpha;
  size_t width;
  Feed feed = {};  // to be copied meanwhile
};

// RowMajor: a[row * lda + word]; otherwise a[word * lda + row].
template <class Precision, bool RowMajor, size_t Rows, size_t Vecs>
void micro(const MicroCall& call) {
  Vec acc[Rows][Vecs];
#pragma GCC unroll 16
  for (size_t i = 0; i < Rows; i++) {
#pragma GCC unroll 4
    for (size_t v = 0; v < Vecs; v++) acc[i][v] = Vec::zero();
  }
  // C is on its way while K passes by: it may be in memory, or belong to another core.
#pragma GCC unroll 16
  for (size_t i = 0; i < Rows; i++) {
#pragma GCC unroll 4
    for (size_t v = 0; v < Vecs; v++) __builtin_prefetch(call.c + i * call.ldc + v * Vec::N, 1);
  }
  const size_t lda = call.lda, ldb = call.ldb;
  const float* b = call.b;
  // Row-major rows are reached from three pointers with offsets 0, 1, 2 and 3 lda: few address registers.
  const float* a = call.a;
  const float* a4 = RowMajor && Rows > 4 ? a + 4 * lda : a;
  const float* a8 = RowMajor && Rows > 8 ? a + 8 * lda : a;
  const size_t lda3 = 3 * lda;
  // One stretch where there is nothing to copy.
  const bool feeds = call.feed.from != nullptr;
  const size_t stretch = feeds ? kStretch : call.depth, stretches = ceil_div(call.depth, kStretch);
  for (size_t begin = 0; begin < call.depth; begin += stretch) {
    if (feeds) copy_stretch<Precision, RowMajor>(call.feed, begin / kStretch, stretches);
    const size_t steps = min_size(stretch, call.depth - begin);
#pragma GCC unroll 2
    for (size_t p = 0; p < steps; p++) {
      Vec y[Vecs];
#pragma GCC unroll 4
      for (size_t v = 0; v < Vecs; v++) y[v] = Vec::load(b + v * Vec::N);
#pragma GCC unroll 16
      for (size_t i = 0; i < Rows; i++) {
        const float* base = i < 4 ? a : i < 8 ? a4 : a8;
        const size_t step = i % 4 == 0 ? 0 : i % 4 == 1 ? lda : i % 4 == 2 ? 2 * lda : lda3;
        const Vec x = Vec::set(RowMajor ? base[step] : a[i]);
#pragma GCC unroll 4
        for (size_t v = 0; v < Vecs; v++) acc[i][v] = Precision::multiply(x, y[v], acc[i][v]);
      }
      b += ldb;
      if (RowMajor) {
        a++, a4++, a8++;
      } else {
        a += lda;
      }
    }
  }
  const Vec alpha = Vec::set(call.alpha);
  if (call.width == Vecs * Vec::N && call.bias == nullptr) {
    // Whole vectors, and one decision for all of them.
    if (call.add == nullptr) {
#pragma GCC unroll 16
      for (size_t i = 0; i < Rows; i++) {
#pragma GCC unroll 4
        for (size_t v = 0; v < Vecs; v++) (acc[i][v] * alpha).store(call.c + i * call.ldc + v * Vec::N);
      }
    } else {
#pragma GCC unroll 16
      for (size_t i = 0; i < Rows; i++) {
#pragma GCC unroll 4
        for (size_t v = 0; v < Vecs; v++) {
          const size_t at = i * call.ldc + v * Vec::N;
          (acc[i][v] * alpha + Vec::load(call.add + at)).store(call.c + at);
        }
      }
    }
    return;
  }
  alignas(64) float sums[Rows * Vecs * Vec::N];
#pragma GCC unroll 16
  for (size_t i = 0; i < Rows; i++) {
#pragma GCC unroll 4
    for (size_t v = 0; v < Vecs; v++) (acc[i][v] * alpha).store(sums + (i * Vecs + v) * Vec::N);
  }
  for (size_t i = 0; i < Rows; i++) {
    for (size_t at = 0; at < call.width; at += Vec::N) {
      const size_t n = min_size(Vec::N, call.width - at);
      Vec r = Vec::load(sums + i * Vecs * Vec::N + at);
      if (call.bias != nullptr) r = r + Vec::load(call.bias + at, n);
      if (call.add != nullptr) r = r + Vec::load(call.add + i * call.ldc + at, n);
      r.store(call.c + i * call.ldc + at, n);
    }
  }
}

using Micro = void (*)(const MicroCall&);

// The microkernel for `rows` in 1..kUnitRows; a partial tile of rows costs what it has, not a whole tile.
template <class Precision, bool RowMajor, size_t Vecs, size_t Rows = kUnitRows>
inline Micro pick_micro(size_t rows) {
  if constexpr (Rows > 1) {
    if (rows != Rows) return pick_micro<Precision, RowMajor, Vecs, Rows - 1>(rows);
  }
  return micro<Precision, RowMajor, Rows, Vecs>;
}

}  // namespace sweetspot::SWEETSPOT_ISA
