// A thin tile of C = A B: few rows of A, and B stored (k, n). Every number of B is read once, along its rows, a few
// rows at a time for all rows of A: memory gives long pieces, and sums that do not fit in registers stay in the
// first-level cache.
#pragma once
#include "cpu/gemm/dot.h"
#include "cpu/gemm/pack.h"
#include "cpu/kernels/lanes.h"

namespace sweetspot::SWEETSPOT_ISA {

// Words of K done together: their B and two sums in registers.
constexpr size_t kOuterWords = Vec::N == 16 ? 8 : 4;
constexpr size_t kOuterCols = 2 * Vec::N;

// Words of workspace for a tile of m x n sums and m rows of A.
inline size_t outer_workspace(size_t m, size_t n, size_t steps) {
  return m * (round_up(n, kOuterCols) + copied_ld(steps));
}

// sums (m, n) += words a (m, Words) times Words words of B, whose rows begin at b; `first`: sums hold nothing yet.
template <class Precision, size_t Words>
inline void outer_block(const DotCall& call, const float* a, size_t lda, const float* b, size_t steps, bool first,
                        float* sums, size_t ldsums) {
  constexpr size_t kSteps = Precision::kSteps;
  for (size_t j = 0; j < call.n; j += kOuterCols) {
    Vec y[Words][2];
#pragma GCC unroll 8
    for (size_t w = 0; w < Words; w++) {
      const float* from = b + w * kSteps * call.ldb + j;
      const size_t left = steps - w * kSteps;
      // The same columns of the next rows: pieces of a row are too short for the processor to foresee.
      for (size_t s = 0; s < kSteps; s++) {
        __builtin_prefetch(from + (Words * kSteps + s) * call.ldb);
        __builtin_prefetch(from + (Words * kSteps + s) * call.ldb + 16);
      }
      if (j + kOuterCols <= call.n) {
        y[w][0] = Precision::across(from, call.ldb, left);
        y[w][1] = Precision::across(from + Vec::N, call.ldb, left);
      } else {
        const size_t n = call.n - j;
        y[w][0] = Precision::across(from, call.ldb, left, min_size(n, Vec::N));
        y[w][1] = n > Vec::N ? Precision::across(from + Vec::N, call.ldb, left, n - Vec::N) : Vec::zero();
      }
    }
    for (size_t i = 0; i < call.m; i++) {
      float* at = sums + i * ldsums + j;
      Vec low = first ? Vec::zero() : Vec::load(at), high = first ? Vec::zero() : Vec::load(at + Vec::N);
#pragma GCC unroll 8
      for (size_t w = 0; w < Words; w++) {
        const Vec x = Vec::set(a[i * lda + w]);
        low = Precision::multiply(x, y[w][0], low);
        high = Precision::multiply(x, y[w][1], high);
      }
      low.store(at);
      high.store(at + Vec::N);
    }
  }
}

template <class Precision>
inline void outer_tile(const DotCall& call, float* work) {
  const size_t deep = words<Precision>(call.k), lda = copied_ld(deep), ldsums = round_up(call.n, kOuterCols);
  float *sums = work, *a = work + call.m * ldsums;
  copy_rows<Precision>(call.a, call.lda, call.k, call.m, a, lda);
  const auto block = [&](size_t word, auto count) {
    const size_t step = word * Precision::kSteps;
    outer_block<Precision, count.value>(call, a + word, lda, call.b + step * call.ldb, call.k - step, word == 0, sums,
                                        ldsums);
  };
  size_t word = 0;
  for (; word + kOuterWords <= deep; word += kOuterWords) block(word, Count<kOuterWords>{});
  for (; word < deep; word++) block(word, Count<1>{});
  const Vec alpha = Vec::set(call.alpha);
  for (size_t i = 0; i < call.m; i++) {
    each_vec(call.n, [&](size_t j, auto lanes) {
      Vec r = deep > 0 ? lanes.load(sums + i * ldsums + j) * alpha : Vec::zero();
      if (call.bias != nullptr) r = r + lanes.load(call.bias + j);
      if (call.add != nullptr) r = r + lanes.load(call.add + i * call.ldc + j);
      lanes.store(r, call.c + i * call.ldc + j);
    });
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
