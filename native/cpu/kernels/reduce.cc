// Reductions: reduce_sum, sum_squares, argmax, bincount.
// Sums are made of partial sums of fixed blocks, added in their order in double, so that neither the number of threads
// nor the length decides how good they are. reduce_sum has two regimes: inner == 1 adds along contiguous rows (the sum
// of a whole tensor is one such row), anything else adds rows to each other, column by column.
#include "cpu/kernel.h"
#include "cpu/kernels/ids.h"
#include "cpu/kernels/lanes.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {

// Elements of one partial sum along a row.
constexpr size_t kSumBlock = 4096;

// Sum of map(x[i]); four accumulators hide the latency of an add.
template <class Map>
float sum_of(const float* x, size_t n, Map&& map) {
  Vec a = Vec::zero(), b = a, c = a, d = a;
  size_t i = 0;
  for (; i + 4 * Vec::N <= n; i += 4 * Vec::N) {
    a = map(Vec::load(x + i), a);
    b = map(Vec::load(x + i + Vec::N), b);
    c = map(Vec::load(x + i + 2 * Vec::N), c);
    d = map(Vec::load(x + i + 3 * Vec::N), d);
  }
  each_vec(n - i, [&](size_t j, auto lanes) { a = map(lanes.load(x + i + j), a); });
  return sum((a + b) + (c + d));
}

Vec plus(Vec x, Vec total) {
  return total + x;
}
Vec plus_square(Vec x, Vec total) {
  return fma(x, x, total);
}

// y[o] = alpha * sum of row o (+ add)
void sum_along(Context& ctx, const ReduceSumRow& row) {
  const size_t n = row.n, outer = row.outer, blocks = max_size(ceil_div(n, kSumBlock), 1);
  const float* x = ctx.f32(row.x);
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  float* y = ctx.f32(row.y);
  const auto finish = [&](size_t o, double total) {
    const double value = static_cast<double>(row.alpha) * total;
    y[o] = static_cast<float>(add == nullptr ? value : value + add[o]);
  };
  float* partial = nullptr;
  if (blocks > 1) {
    partial = static_cast<float*>(ctx.scratch(outer * blocks * sizeof(float)));
    if (partial == nullptr) return;
  }
  const size_t per_task = max_size(kTaskElements / max_size(min_size(n, kSumBlock), 1), 1);
  parallel(ctx, ceil_div(outer * blocks, per_task), [&](uint32_t task, uint32_t) {
    const size_t begin = task * per_task, end = min_size(begin + per_task, outer * blocks);
    for (size_t k = begin; k < end; k++) {
      const size_t first = k % blocks * kSumBlock;
      const float value = sum_of(x + k / blocks * n + first, min_size(kSumBlock, n - first), plus);
      if (blocks == 1) {
        finish(k, value);
      } else {
        partial[k] = value;
      }
    }
  });
  for (size_t o = 0; o < outer && blocks > 1; o++) {
    double total = 0;
    for (size_t b = 0; b < blocks; b++) total += partial[o * blocks + b];
    finish(o, total);
  }
}

// y[o, i] = alpha * sum_j x[o, j, i] (+ add). A unit of work is up to 1024 columns of a block of rows.
void sum_across(Context& ctx, const ReduceSumRow& row) {
  // Nothing to add up: one long row, so that small `inner` does not cost a vector each.
  const size_t outer = row.n == 1 ? 1 : row.outer, n = row.n;
  const size_t inner = row.n == 1 ? static_cast<size_t>(row.outer) * row.inner : row.inner;
  const size_t chunks = ceil_div(inner, kSumColumns), width = min_size(inner, kSumColumns);
  const size_t block = max_size(2 * kTaskElements / width, 64), blocks = max_size(ceil_div(n, block), 1);
  const float* x = ctx.f32(row.x);
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  float* y = ctx.f32(row.y);
  float* partial = nullptr;
  if (blocks > 1) {
    partial = static_cast<float*>(ctx.scratch(outer * blocks * inner * sizeof(float)));
    if (partial == nullptr) return;
  }
  const size_t units = outer * blocks * chunks;
  const size_t per_task = max_size(kTaskElements / (width * max_size(min_size(n, block), 1)), 1);
  const Vec alpha = Vec::set(row.alpha);
  parallel(ctx, ceil_div(units, per_task), [&](uint32_t task, uint32_t) {
    float total[kSumColumns], scratch[kSumColumns];
    const size_t end = min_size((task + size_t{1}) * per_task, units);
    for (size_t unit = task * per_task; unit < end; unit++) {
      const size_t column = unit % chunks * kSumColumns, slab = unit / chunks;
      const size_t o = slab / blocks, first = slab % blocks * block;
      const size_t count = min_size(kSumColumns, inner - column), rows = min_size(block, n - first);
      const float* from = x + (o * n + first) * inner + column;
      const size_t at = o * inner + column;
      if (blocks > 1) {
        sum_rows(rows, count, partial + slab * inner + column, scratch, [&](size_t k) { return from + k * inner; });
        continue;
      }
      sum_rows(rows, count, total, scratch, [&](size_t k) { return from + k * inner; });
      each_vec(count, [&](size_t i, auto lanes) {
        const Vec value = alpha * lanes.load(total + i);
        lanes.store(add == nullptr ? value : value + lanes.load(add + at + i), y + at + i);
      });
    }
  });
  if (blocks == 1) return;
  parallel(ctx, static_cast<uint32_t>(outer * chunks), [&](uint32_t task, uint32_t) {
    double total[kSumColumns] = {};
    const size_t o = task / chunks, column = task % chunks * kSumColumns;
    const size_t count = min_size(kSumColumns, inner - column), at = o * inner + column;
    for (size_t b = 0; b < blocks; b++) {
      const float* from = partial + (o * blocks + b) * inner + column;
      for (size_t i = 0; i < count; i++) total[i] += from[i];
    }
    for (size_t i = 0; i < count; i++) {
      const double value = static_cast<double>(row.alpha) * total[i];
      y[at + i] = static_cast<float>(add == nullptr ? value : value + add[at + i]);
    }
  });
}

}  // namespace

void reduce_sum(Context& ctx, const ReduceSumRow& row) {
  if (row.outer == 0 || row.inner == 0) return;
  if (row.inner == 1 && row.n > 1) return sum_along(ctx, row);
  sum_across(ctx, row);
}

void sum_squares(Context& ctx, const SumSquaresRow& row) {
  const float* x = ctx.f32(row.x);
  const size_t blocks = ceil_div(row.n, kTaskElements);
  auto* partial = static_cast<float*>(ctx.scratch(max_size(blocks, 1) * sizeof(float)));
  if (partial == nullptr) return;
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    partial[begin / kTaskElements] = sum_of(x + begin, count, plus_square);
  });
  double total = 0;
  for (size_t b = 0; b < blocks; b++) total += partial[b];
  *ctx.f32(row.y) = static_cast<float>(total);
}

namespace {

// Largest of x, -inf when there is none; a NaN compares false, so it is passed over.
float largest(const float* x, size_t n) {
  Vec a = Vec::set(-INFINITY), b = a;
  size_t i = 0;
  for (; i + 2 * Vec::N <= n; i += 2 * Vec::N) {
    const Vec u = Vec::load(x + i), v = Vec::load(x + i + Vec::N);
    a = select_less(a, u, u, a);
    b = select_less(b, v, v, b);
  }
  float best = max_lane(max(a, b));
  for (; i < n; i++) best = x[i] > best ? x[i] : best;
  return best;
}

// Two looks at a row: the largest value and the block of 256 that first holds it, then its place within that block.
int32_t first_largest(const float* x, size_t n) {
  float best = -INFINITY;
  size_t at = 0, end = n;
  for (size_t i = 0; i < n; i += 256) {
    const size_t stop = min_size(n, i + 256);
    const float value = largest(x + i, stop - i);
    if (value > best) {
      best = value;
      at = i;
      end = stop;
    }
  }
  for (size_t i = at; i < end; i++)
    if (x[i] == best) return static_cast<int32_t>(i);
  return 0;
}

}  // namespace

void argmax(Context& ctx, const ArgmaxRow& row) {
  const float* x = ctx.f32(row.x);
  int32_t* y = ctx.i32(row.y);
  const size_t cols = row.cols, per_task = max_size(kTaskElements / max_size(cols, 1), 1);
  parallel(ctx, ceil_div(row.rows, per_task), [&](uint32_t task, uint32_t) {
    const size_t end = min_size((task + size_t{1}) * per_task, row.rows);
    for (size_t r = task * per_task; r < end; r++) y[r] = first_largest(x + r * cols, cols);
  });
}

// Counts are integers, so here the order of addition is free: each block of ids has its own counts, added at the end.
void bincount(Context& ctx, const BincountRow& row) {
  const int32_t* ids = ctx.i32(row.ids);
  const size_t n = row.n, vocab = row.vocab;
  if (!ids_inside(ctx, "id", ids, n, row.vocab, true)) return;
  const size_t block = max_size(round_up(ceil_div(n, 16), 64), max_size(kTaskElements, 4 * vocab));
  const uint32_t blocks = ceil_div(n, block);
  auto* counts = static_cast<uint32_t*>(ctx.scratch(max_size(blocks * vocab, 1) * sizeof(uint32_t)));
  if (counts == nullptr) return;
  parallel(ctx, blocks, [&](uint32_t task, uint32_t) {
    uint32_t* own = counts + task * vocab;
    for (size_t v = 0; v < vocab; v++) own[v] = 0;
    const size_t end = min_size((task + size_t{1}) * block, n);
    for (size_t i = task * block; i < end; i++)
      if (ids[i] >= 0) own[ids[i]]++;
  });
  float* y = ctx.f32(row.y);
  for (size_t v = 0; v < vocab; v++) {
    uint32_t total = 0;
    for (uint32_t b = 0; b < blocks; b++) total += counts[b * vocab + v];
    y[v] = static_cast<float>(total);
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
