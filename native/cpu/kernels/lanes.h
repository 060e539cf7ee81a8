// Loops over flat ranges and rows shared by kernels: whole vectors first, then one masked tail.
#pragma once
#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

struct AllLanes {
  Vec load(const float* p) const { return Vec::load(p); }
  void store(Vec x, float* p) const { x.store(p); }
};
struct FirstLanes {
  size_t n;
  Vec load(const float* p) const { return Vec::load(p, n); }
  void store(Vec x, float* p) const { x.store(p, n); }
};

// body(i, lanes) for i = 0, N, 2 N ... below n; `lanes` loads and stores only what lies below n.
template <class F>
inline void each_vec(size_t n, F&& body) {
  size_t i = 0;
  for (; i + Vec::N <= n; i += Vec::N) body(i, AllLanes{});
  if (i < n) body(i, FirstLanes{n - i});
}

// Elements of a task that does little to each: some 10-20 us of memory traffic.
constexpr size_t kTaskElements = 16384;

// body(begin, count) over fixed blocks of a flat range, in parallel.
template <class F>
inline void each_block(Context& ctx, uint64_t n, F&& body) {
  parallel(ctx, ceil_div(n, kTaskElements), [&](uint32_t task, uint32_t) {
    const size_t begin = static_cast<size_t>(task) * kTaskElements;
    body(begin, min_size(kTaskElements, n - begin));
  });
}

// Columns that row sums below handle at a time: an accumulator that stays in the first-level cache beside its rows.
constexpr size_t kSumColumns = 1024;

// total[i] = sum over k < rows of row(k)[i]. Every 64 rows go to `block` first (both at least n long), so that rounding
// grows with rows / 64 and not with rows. Four rows at a time, because the accumulator costs a load and a store. Rows
// may lie anywhere, so the next four are asked for beforehand.
template <class Row>
inline void sum_rows(size_t rows, size_t n, float* total, float* block, Row&& row) {
  each_vec(n, [&](size_t i, auto lanes) { lanes.store(Vec::zero(), total + i); });
  for (size_t begin = 0; begin < rows; begin += 64) {
    const size_t end = min_size(rows, begin + 64);
    each_vec(n, [&](size_t i, auto lanes) { lanes.store(Vec::zero(), block + i); });
    size_t k = begin;
    for (; k + 4 <= end; k += 4) {
      const float *a = row(k), *b = row(k + 1), *c = row(k + 2), *d = row(k + 3);
      for (size_t next = k + 4; next < min_size(k + 8, rows); next++) {
        for (size_t i = 0; i < n; i += 16) __builtin_prefetch(row(next) + i);
      }
      each_vec(n, [&](size_t i, auto lanes) {
        const Vec four = (lanes.load(a + i) + lanes.load(b + i)) + (lanes.load(c + i) + lanes.load(d + i));
        lanes.store(lanes.load(block + i) + four, block + i);
      });
    }
    for (; k < end; k++) {
      const float* a = row(k);
      each_vec(n, [&](size_t i, auto lanes) { lanes.store(lanes.load(block + i) + lanes.load(a + i), block + i); });
    }
    each_vec(n, [&](size_t i, auto lanes) { lanes.store(lanes.load(total + i) + lanes.load(block + i), total + i); });
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
