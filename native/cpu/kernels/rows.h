// Loops over one row of numbers that softmax, cross entropy, the norms and attention share. Every function takes any
// length, 0 included, and reads and writes nothing past it.
#pragma once
#include "cpu/kernels/lanes.h"

namespace sweetspot::SWEETSPOT_ISA {

// x in the lanes that a loop body owns, `other` in the rest: keeps a masked tail out of a maximum or a sum.
inline Vec keep(AllLanes, Vec x, Vec) {
  return x;
}
inline Vec keep(FirstLanes lanes, Vec x, Vec other) {
  return first(x, other, lanes.n);
}

// Largest of x, -infinity when n is 0. A NaN may be lost: what follows must meet it again.
inline float row_max(const float* x, size_t n) {
  const Vec low = Vec::set(-INFINITY);
  Vec a = low, b = low;
  size_t i = 0;
  for (; i + 2 * Vec::N <= n; i += 2 * Vec::N) {
    a = max(a, Vec::load(x + i));
    b = max(b, Vec::load(x + i + Vec::N));
  }
  each_vec(n - i, [&](size_t j, auto lanes) { a = max(a, keep(lanes, lanes.load(x + i + j), low)); });
  return max_lane(max(a, b));
}

// Sum of exp(x - shift). With Store the exponentials are written to y, which may be x. Relative errors grow with
// shift - x, as the exponentials themselves fall: of the sum they are a few units in the last place.
template <bool Store>
inline float row_exp(const float* x, float* y, size_t n, float shift) {
  const Vec s = Vec::set(shift), log2e = Vec::set(1.44269504f);
  Vec a = Vec::zero(), b = Vec::zero();
  size_t i = 0;
  for (; i + 2 * Vec::N <= n; i += 2 * Vec::N) {
    const Vec p = exp2((Vec::load(x + i) - s) * log2e), q = exp2((Vec::load(x + i + Vec::N) - s) * log2e);
    if constexpr (Store) {
      p.store(y + i);
      q.store(y + i + Vec::N);
    }
    a = a + p;
    b = b + q;
  }
  each_vec(n - i, [&](size_t j, auto lanes) {
    const Vec p = exp2((lanes.load(x + i + j) - s) * log2e);
    if constexpr (Store) lanes.store(p, y + i + j);
    a = a + keep(lanes, p, Vec::zero());
  });
  return sum(a + b);
}

// x = factor * x
inline void row_scale(float* x, size_t n, float factor) {
  const Vec f = Vec::set(factor);
  each_vec(n, [&](size_t i, auto lanes) { lanes.store(lanes.load(x + i) * f, x + i); });
}

// Sum of a * b
inline float row_dot(const float* a, const float* b, size_t n) {
  Vec s = Vec::zero(), t = Vec::zero();
  size_t i = 0;
  for (; i + 2 * Vec::N <= n; i += 2 * Vec::N) {
    s = fma(Vec::load(a + i), Vec::load(b + i), s);
    t = fma(Vec::load(a + i + Vec::N), Vec::load(b + i + Vec::N), t);
  }
  each_vec(n - i, [&](size_t j, auto lanes) { s = fma(lanes.load(a + i + j), lanes.load(b + i + j), s); });
  return sum(s + t);
}

// y = x, unless they are the same memory.
inline void row_copy(const float* x, float* y, size_t n) {
  if (x != y) std::memcpy(y, x, n * sizeof(float));
}

// body(row) for every row, in parallel: blocks of rows that hold about `elements` numbers and are fixed by the shape.
template <class F>
inline void each_row(Context& ctx, size_t rows, size_t cols, size_t elements, F&& body) {
  const size_t block = max_size(1, elements / max_size(cols, 1));
  parallel(ctx, ceil_div(rows, block), [&](uint32_t task, uint32_t) {
    for (size_t r = task * block; r < min_size(rows, (task + 1) * block); r++) body(r);
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
