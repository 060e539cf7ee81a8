// Rows of a table by id, and the sum of rows by id that is its gradient. k-means also sums members of a cluster with
// the latter, so it must be good for 4096 rows over a vocabulary of thousands and for 100000 rows over 64 ids.
//
// The sum orders row numbers by id with a counting sort, which keeps rows of one id ascending; then each task owns some
// ids and columns and adds their rows in that order: nothing is written by two tasks.
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/kernels/ids.h"
#include "cpu/kernels/lanes.h"

namespace sweetspot::SWEETSPOT_ISA {

void embedding(Context& ctx, const EmbeddingRow& row) {
  const float* table = ctx.f32(row.table);
  const int32_t* ids = ctx.i32(row.ids);
  float* y = ctx.f32(row.y);
  const size_t rows = row.rows, cols = row.cols;
  if (!ids_inside(ctx, "token id", ids, rows, row.vocab, false)) return;
  const size_t per_task = max_size(kTaskElements / max_size(cols, 1), 1);
  parallel(ctx, ceil_div(rows, per_task), [&](uint32_t task, uint32_t) {
    const size_t end = min_size((task + size_t{1}) * per_task, rows);
    for (size_t r = task * per_task; r < end; r++) {
      std::memcpy(y + r * cols, table + static_cast<size_t>(ids[r]) * cols, cols * sizeof(float));
    }
  });
}

namespace {

// order[starts[v] .. starts[v + 1]] = the rows whose id is v, ascending. starts has vocab + 2 elements.
void sort_by_id(const int32_t* ids, size_t rows, size_t vocab, uint32_t* starts, uint32_t* order) {
  // Counts lie two places on, so that placing rows through the place between moves starts to where they belong.
  for (size_t v = 0; v < vocab + 2; v++) starts[v] = 0;
  for (size_t r = 0; r < rows; r++)
    if (ids[r] >= 0) starts[ids[r] + size_t{2}]++;
  for (size_t v = 2; v < vocab + 2; v++) starts[v] += starts[v - 1];
  for (size_t r = 0; r < rows; r++)
    if (ids[r] >= 0) order[starts[ids[r] + size_t{1}]++] = static_cast<uint32_t>(r);
}

}  // namespace

void embedding_backward(Context& ctx, const EmbeddingBackwardRow& row) {
  const float* dy = ctx.f32(row.dy);
  const int32_t* ids = ctx.i32(row.ids);
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  float* dtable = ctx.f32(row.dtable);
  const size_t rows = row.rows, cols = row.cols, vocab = row.vocab;
  if (!ids_inside(ctx, "token id", ids, rows, row.vocab, true)) return;
  if (vocab == 0 || cols == 0) return;
  auto* starts = static_cast<uint32_t*>(ctx.scratch((vocab + 2 + rows) * sizeof(uint32_t)));
  if (starts == nullptr) return;
  uint32_t* order = starts + vocab + 2;
  sort_by_id(ids, rows, vocab, starts, order);

  // Few ids means many rows each: narrow columns make tasks enough for many threads, whatever the ids.
  const size_t width = vocab < 64 ? 64 : vocab < 256 ? 256 : kSumColumns, chunks = ceil_div(cols, width);
  const size_t average = (rows + vocab) / vocab;
  const size_t per_task = max_size(kTaskElements / (min_size(width, cols) * average), 1);
  parallel(ctx, static_cast<uint32_t>(ceil_div(vocab, per_task) * chunks), [&](uint32_t task, uint32_t) {
    float total[kSumColumns], block[kSumColumns];
    const size_t column = task % chunks * width, count = min_size(width, cols - column);
    const size_t begin = task / chunks * per_task, end = min_size(begin + per_task, vocab);
    for (size_t v = begin; v < end; v++) {
      float* y = dtable + v * cols + column;
      const float* plus = add == nullptr ? nullptr : add + v * cols + column;
      const uint32_t* members = order + starts[v];
      sum_rows(starts[v + 1] - starts[v], count, total, block,
               [&](size_t k) { return dy + static_cast<size_t>(members[k]) * cols + column; });
      each_vec(count, [&](size_t i, auto lanes) {
        const Vec value = lanes.load(total + i);
        lanes.store(plus == nullptr ? value : value + lanes.load(plus + i), y + i);
      });
    }
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
