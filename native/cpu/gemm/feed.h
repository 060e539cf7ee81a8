// A on its way to the microkernel, which reads a copy: words of a precision, close together, where the rows of the
// matrix may be so far apart that they share a few cache sets. While one block is multiplied the next one is copied, a
// few vectors between two stretches of K: their loads wait for memory while the multipliers work.
//
//   A row-major:  a block is kUnitRows rows, to[row * ldto + word].
//   A transposed: a block is any number of rows in panels of kPanelRows, to[panel][word][row in the panel].
#pragma once
#include "cpu/gemm/precision.h"
#include "cpu/gemm/unit.h"

namespace sweetspot::SWEETSPOT_ISA {

// Words of K between two turns of copying.
constexpr size_t kStretch = 16;

// Words of K in `steps` steps.
template <class Precision>
inline size_t words(size_t steps) {
  return ceil_div(steps, Precision::kSteps);
}

// Words between copied rows: whole vectors, an odd number of them, so that rows spread over all cache sets.
inline size_t copied_ld(size_t words) {
  return (ceil_div(words, 16) | 1) * 16;
}

// Words of a copied block of `deep` words of K.
template <bool RowMajor>
inline size_t copied_words(size_t rows, size_t deep) {
  return RowMajor ? kUnitRows * copied_ld(deep) : round_up(rows, kPanelRows) * round_up(deep, 16);
}

// A block of A to copy, and which part of it. Parts are counted in rows, or in words of a panel.
struct Feed {
  const float* from = nullptr;  // nullptr: nothing to copy
  size_t ld = 0;
  size_t rows = 0, steps = 0;
  float* to = nullptr;
  // Floats from here to what is asked for into the cache: the next block. Transposed: the steps to look ahead.
  size_t ahead = 0;
  size_t begin = 0, end = 0;
};

// The part of call `index` of `count`.
template <class Precision, bool RowMajor>
inline Feed part_of(Feed feed, size_t index, size_t count) {
  const size_t n = RowMajor ? feed.rows : words<Precision>(feed.steps) * ceil_div(feed.rows, kPanelRows);
  feed.begin = n * index / count;
  feed.end = n * (index + 1) / count;
  return feed;
}

// What a part has to do in stretch `index` of `count`. Inlined, or the microkernel would spill its sums around a call.
template <class Precision, bool RowMajor>
[[gnu::always_inline]] inline void copy_stretch(const Feed& feed, size_t index, size_t count) {
  const size_t deep = words<Precision>(feed.steps);
  if constexpr (RowMajor) {
    constexpr size_t kBlock = Vec::N * Precision::kSteps;
    const size_t ldto = copied_ld(deep);
    for (size_t row = feed.begin; row < feed.end; row++) {
      for (size_t v = 0; v < kStretch; v += Vec::N) {
        const size_t word = index * kStretch + v, p = word * Precision::kSteps;
        if (p >= feed.steps) break;
        const float* from = feed.from + row * feed.ld + p;
        for (size_t s = 0; s < kBlock; s += 16) __builtin_prefetch(from + feed.ahead + s);
        const Vec x = p + kBlock <= feed.steps ? Precision::along(from) : Precision::along(from, feed.steps - p);
        x.store(feed.to + row * ldto + word);
      }
    }
  } else {
    const size_t panels = ceil_div(feed.rows, kPanelRows), each = ceil_div(feed.end - feed.begin, count);
    const size_t begin = feed.begin + index * each, end = min_size(feed.end, begin + each);
    size_t word = begin, panel = 0;
    if (panels > 1) word = begin / panels, panel = begin % panels;
    for (size_t item = begin; item < end; item++) {
      const size_t step = word * Precision::kSteps, left = feed.steps - step, rows = feed.rows - panel * kPanelRows;
      const float* from = feed.from + step * feed.ld + panel * kPanelRows;
      const float* ahead = from + (feed.ahead < left ? feed.ahead * feed.ld : 0);
      float* to = feed.to + (panel * deep + word) * kPanelRows;
      for (size_t i = 0; i < kPanelRows && i < rows; i += Vec::N) {
        for (size_t s = 0; s < Precision::kSteps; s++) __builtin_prefetch(ahead + s * feed.ld + i);
        Precision::across(from + i, feed.ld, left, rows - i).store(to + i);
      }
      if (++panel == panels) panel = 0, word++;
    }
  }
}

// All of it at once: the first block of a tile.
template <class Precision, bool RowMajor>
inline void copy_block(const Feed& feed) {
  const size_t stretches = ceil_div(words<Precision>(feed.steps), kStretch);
  const Feed whole = part_of<Precision, RowMajor>(feed, 0, 1);
  for (size_t i = 0; i < stretches; i++) copy_stretch<Precision, RowMajor>(whole, i, stretches);
}

}  // namespace sweetspot::SWEETSPOT_ISA
