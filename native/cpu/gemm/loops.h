// Drives matrix products. compute_tile makes one tile of C on one thread; run_products cuts any number of products into
// tiles and runs them over the threads. gemm, grouped_gemm and their gradients are run_products with different lists.
//
// Inside a tile, for each block of K: B is packed once (it stays in the second-level cache), then every kUnitRows rows
// of A visit all its panels (they stay in the first level), while the rows after them are copied (feed.h). A thread
// packs the B it needs itself and keeps it for its next tile of the same columns: each thread packs most of B once,
// without a second hand-over.
#pragma once
#include "cpu/gemm/dot.h"
#include "cpu/gemm/outer.h"
#include "cpu/gemm/pack.h"
#include "cpu/gemm/policy.h"

namespace sweetspot::SWEETSPOT_ISA {

// c (m, n) = alpha * op(a) op(b) (+ bias along n) (+ add, laid out as c; may be c).
struct Product {
  const float* a;
  const float* b;
  const float* bias;
  const float* add;
  float* c;
  size_t m, n, k;
  size_t lda, ldb, ldc;
  bool a_transposed, b_transposed;
  float alpha;
};

// Neither factor is transposed.
inline bool b_rows(const Product& q) {
  return !q.a_transposed && !q.b_transposed;
}

struct Span {
  size_t begin, end;
  size_t size() const { return end - begin; }
};

inline Span part(size_t index, size_t length, size_t n) {
  return {index * length, min_size(n, (index + 1) * length)};
}

// Fewer rows than this read B once and cannot repay its packing when its rows are contiguous.
constexpr size_t kUnpackedRows = 2 * kUnitRows;

// Steps of K in one block: equal blocks of at most kDepth words.
template <class Precision>
inline size_t block_depth(size_t steps, bool a_transposed) {
  return max_size(1, even_part(steps, (a_transposed ? kTransposedDepth : kDepth) * Precision::kSteps, 8));
}

// Words of the packed B of a tile, all blocks of K; never less for a larger tile, and enough for every precision.
inline size_t whole_b(size_t cols, size_t steps) {
  return ceil_div(cols, kUnitCols) * kUnitCols * (steps + ceil_div(steps, kTransposedDepth));
}

// Whether it is kept whole, for the next tile of the same columns; else it is packed block by block.
inline bool keeps_b(size_t cols, size_t steps) {
  return whole_b(cols, steps) <= kKeptWords;
}

inline size_t packed_b_words(size_t cols, size_t steps) {
  if (keeps_b(cols, steps)) return whole_b(cols, steps);
  return ceil_div(cols, kUnitCols) * panel_words(min_size(steps, kDepth));
}

// Words of workspace that compute_tile needs for tiles of at most rows x cols x steps, whatever the precision: B, and
// two blocks of A, the one in use and the next.
inline size_t tile_workspace(size_t rows, size_t cols, size_t steps, bool a_transposed) {
  const size_t block = a_transposed ? copied_words<false>(rows, min_size(steps, kTransposedDepth))
                                    : copied_words<true>(rows, min_size(steps, kDepth));
  // A smaller tile of a product may keep its B where the largest one does not.
  const size_t kept = keeps_b(cols, steps) ? 0 : kKeptWords;
  return max_size(packed_b_words(cols, steps), kept) + 2 * block;
}

// Asks for rows of A that are read in place a few lines at a time, while the rows before them are multiplied.
struct Ahead {
  const float* row = nullptr;
  size_t ld = 0, rows = 0, lines = 0, line = 0;
  void fetch(size_t count) {
    for (; count > 0 && rows > 0; count--) {
      __builtin_prefetch(row + line * 16, 0, 2);
      if (++line < lines) continue;
      line = 0, rows--, row += ld;
    }
  }
};

// compute_tile where B is packed or has contiguous rows.
template <class Precision, bool RowMajor>
inline void multiply_tile(const Product& q, Span rows, Span cols, Span steps, float alpha, const float* bias,
                          const float* add, float* c, size_t ldc, float* work, bool has_b) {
  const size_t depth_most = block_depth<Precision>(steps.size(), !RowMajor);
  const size_t panels = ceil_div(cols.size(), kUnitCols);
  const bool kept = keeps_b(cols.size(), steps.size());
  const bool in_place = Precision::kInPlace && !q.b_transposed && (q.m < kUnpackedRows || cols.size() == q.ldb);
  // Packed columns begin here: all of them, or only the last few where whole panels are read in place, because they are
  // read too seldom to repay packing or lie as close in memory as they would when packed.
  const size_t from = in_place ? cols.size() / kUnitCols * kUnitCols : 0;
  const bool packs = !(has_b && kept) && from < cols.size();
  // Numbers that need no rounding are copied only where strides of many pages' worth put them into the same few cache
  // sets, or where they come from memory in short pieces.
  const bool far = !RowMajor && q.k * q.lda >= kFarWords;
  const bool copied = !Precision::kInPlace || (q.lda % 512 == 0 && cols.size() > kUnitCols) || far;
  // Rows of A in a block that is copied ahead.
  const size_t height = RowMajor ? kUnitRows : far ? rows.size() : kPanelRows;
  float* packed_b = work;
  float* block = work + packed_b_words(cols.size(), steps.size());
  float* next_block = block + copied_words<RowMajor>(height, words<Precision>(min_size(depth_most, steps.size())));
  const auto block_at = [&](size_t i, size_t k0, float* to) {
    const size_t count = min_size(height, rows.end - i);
    Feed feed;
    feed.from = RowMajor ? q.a + i * q.lda + k0 : q.a + k0 * q.lda + i;
    feed.ld = q.lda;
    feed.rows = count;
    feed.steps = min_size(depth_most, steps.end - k0);
    feed.to = to;
    // Steps enough for memory to answer: a word of a block takes as long as its rows and panels are many.
    feed.ahead = !RowMajor                       ? Precision::kSteps * (1 + 768 / (count * panels))
                 : i + 2 * kUnitRows <= rows.end ? kUnitRows * q.lda
                                                 : 0;
    return feed;
  };
  if (copied) copy_block<Precision, RowMajor>(block_at(rows.begin, steps.begin, block));
  for (size_t k0 = steps.begin;;) {
    const size_t depth = min_size(depth_most, steps.end - k0), deep = words<Precision>(depth);
    if (packs && q.b_transposed) {
      pack_b_transposed<Precision>(q.b + cols.begin * q.ldb + k0, q.ldb, depth, cols.size(), packed_b);
    } else if (packs) {
      pack_b<Precision>(q.b + k0 * q.ldb + cols.begin + from, q.ldb, depth, cols.size() - from, packed_b);
    }
    const bool first = k0 == steps.begin;
    const size_t lda = !copied ? q.lda : RowMajor ? copied_ld(deep) : kPanelRows;
    MicroCall call{deep, nullptr, lda, nullptr, 0, nullptr, nullptr, ldc, nullptr, alpha, 0};
    for (size_t begin = rows.begin; begin < rows.end; begin += height) {
      const size_t end = min_size(rows.end, begin + height), calls = ceil_div(end - begin, kUnitRows) * panels;
      Feed next;
      if (copied && end < rows.end) {
        next = block_at(end, k0, next_block);
      } else if (copied && k0 + depth < steps.end) {
        next = block_at(rows.begin, k0 + depth, next_block);
      }
      size_t turn = 0;
      for (size_t i = begin; i < end; i += kUnitRows) {
        const size_t unit = min_size(kUnitRows, end - i), row = i - begin, corner = (i - rows.begin) * ldc;
        Ahead ahead;
        if (copied) {
          call.a = RowMajor ? block : block + row / kPanelRows * kPanelRows * deep + row % kPanelRows;
        } else {
          call.a = q.a + (RowMajor ? i * q.lda + k0 : k0 * q.lda + i);
          const size_t left = rows.end - i - unit;
          if (RowMajor) {
            ahead = {call.a + kUnitRows * q.lda, q.lda, min_size(kUnitRows, left), depth / 16 + 1, 0};
          } else if (left > 0) {
            ahead = {call.a + kUnitRows, q.lda, depth, 1, 0};
          }
        }
        const size_t lines = ceil_div(ahead.rows * ahead.lines, panels);
        const Micro wide = pick_micro<Precision, RowMajor, kUnitVecs>(unit);
        const Micro narrow = pick_micro<Precision, RowMajor, 1>(unit);
        for (size_t j = 0; j < panels; j++) {
          const size_t column = j * kUnitCols;
          call.width = min_size(kUnitCols, cols.size() - column);
          call.b = column < from ? q.b + k0 * q.ldb + cols.begin + column
                                 : packed_b + (column - from) / kUnitCols * panel_words(deep);
          call.ldb = column < from ? q.ldb : kUnitCols;
          call.c = c + corner + column;
          call.bias = first && bias != nullptr ? bias + column : nullptr;
          call.add = !first ? call.c : add != nullptr ? add + corner + column : nullptr;
          ahead.fetch(lines);
          call.feed = part_of<Precision, RowMajor>(next, turn++, calls);
          (call.width > Vec::N ? wide : narrow)(call);
        }
      }
      float* const used = block;
      block = next_block;
      next_block = used;
    }
    k0 += depth;
    if (kept) packed_b += panels * panel_words(deep);
    if (k0 >= steps.end) return;
  }
}

// Rows and columns `rows` x `cols` of the product, over steps `steps` of K only, into c (whose first element is the
// tile's corner); bias and add as in Product, already moved to the corner. has_b: work holds the packed B of these
// columns and steps, left there by an earlier tile (only where keeps_b).
template <class Precision = Fp32>
inline void compute_tile(const Product& q, Span rows, Span cols, Span steps, float alpha, const float* bias,
                         const float* add, float* c, size_t ldc, float* work, bool has_b = false) {
  DotCall thin{rows.size(), cols.size(), steps.size(), q.a + rows.begin * q.lda + steps.begin,
               q.lda,       nullptr,     q.ldb,        c,
               add,         ldc,         bias,         alpha};
  if (q.b_transposed && !q.a_transposed && q.m <= kThinRows) {
    thin.b = q.b + cols.begin * q.ldb + steps.begin;
    dot_tile<Precision>(thin);
  } else if (b_rows(q) && q.m <= kOuterRows) {
    thin.b = q.b + steps.begin * q.ldb + cols.begin;
    outer_tile<Precision>(thin, work);
  } else if (q.a_transposed) {
    multiply_tile<Precision, false>(q, rows, cols, steps, alpha, bias, add, c, ldc, work, has_b);
  } else {
    multiply_tile<Precision, true>(q, rows, cols, steps, alpha, bias, add, c, ldc, work, has_b);
  }
}

// Adds the chunks of rows `rows` of a tile in order, and finishes the product there. partial holds whole (m, n) copies.
inline void add_chunks(const Product& q, Span rows, Span cols, const float* partial, size_t chunks) {
  const size_t size = q.m * q.n;
  const Vec alpha = Vec::set(q.alpha);
  for (size_t i = rows.begin; i < rows.end; i++) {
    for (size_t j = cols.begin; j < cols.end; j += Vec::N) {
      const size_t n = min_size(Vec::N, cols.end - j);
      const float* from = partial + i * q.n + j;
      Vec total = Vec::load(from, n);
      for (size_t s = 1; s < chunks; s++) total = total + Vec::load(from + s * size, n);
      total = total * alpha;
      if (q.bias != nullptr) total = total + Vec::load(q.bias + j, n);
      if (q.add != nullptr) total = total + Vec::load(q.add + i * q.ldc + j, n);
      total.store(q.c + i * q.ldc + j, n);
    }
  }
}

// Runs product(0) .. product(count - 1), each returning a Product; m, n or k may be 0.
template <class Precision, class F>
inline void run_products(Context& ctx, size_t count, F&& product) {
  // First of each product's tasks and partial tiles. A Product is cheap to make, so it is made again where needed.
  struct Place {
    size_t task, partial;
  };
  // Whose B is packed in a thread's workspace: a task that needs the same one finds it there.
  struct Packed {
    size_t product, chunk, column;
  };
  Place total{0, 0};
  size_t work_floats = 0;
  double flops = 0;
  const auto count_in = [&](const Product& q) {
    if (q.m == 0 || q.n == 0) return;
    const Plan plan = make_plan(q.m, q.n, q.k, b_rows(q), kUnitRows, kUnitCols);
    total.task += plan.tasks();
    if (plan.chunks > 1) total.partial += plan.chunks * q.m * q.n;
    const size_t steps = min_size(q.k, plan.depth);
    work_floats = max_size(work_floats, b_rows(q) && q.m <= kOuterRows
                                            ? outer_workspace(q.m, plan.cols, steps)
                                            : tile_workspace(plan.rows, plan.cols, steps, q.a_transposed));
    flops += cost(q.m, q.n, q.k);
  };
  for (size_t i = 0; i < count; i++) count_in(product(i));
  const Place whole = total;
  if (whole.task == 0) return;
  const double flops_per_task = flops / static_cast<double>(whole.task);

  const size_t place_bytes = round_up((count + 1) * sizeof(Place), 64);
  const size_t partial_bytes = round_up(whole.partial * sizeof(float), 64);
  const size_t work_bytes = 64 + round_up(work_floats * sizeof(float), 64);
  auto* memory = static_cast<uint8_t*>(ctx.scratch(place_bytes + partial_bytes + ctx.threads * work_bytes));
  if (memory == nullptr) return;
  auto* place = reinterpret_cast<Place*>(memory);
  auto* partials = reinterpret_cast<float*>(memory + place_bytes);
  total = {0, 0};
  for (size_t i = 0; i < count; i++) {
    place[i] = total;
    count_in(product(i));
  }
  place[count] = total;
  const auto workspace = [&](uint32_t thread) { return memory + place_bytes + partial_bytes + thread * work_bytes; };
  for (uint32_t t = 0; t < ctx.threads; t++) *reinterpret_cast<Packed*>(workspace(t)) = {count, 0, 0};

  // Calls body(product, its index, plan, rows, cols, chunk, partial, thread) for every task, tasks with the same B one
  // after the other; small tasks go in bunches.
  const auto each_task = [&](auto&& body) {
    const size_t bunch = flops_per_task * 64 < kTaskFlops ? 64 : flops_per_task * 4 < kTaskFlops ? 4 : 1;
    parallel(ctx, ceil_div(whole.task, bunch), [&](uint32_t first, uint32_t thread) {
      const size_t end = min_size(whole.task, (first + size_t{1}) * bunch);
      for (size_t task = first * bunch; task < end; task++) {
        size_t low = 0, high = count;  // place[low].task <= task < place[high].task
        while (high - low > 1) {
          const size_t middle = (low + high) / 2;
          (place[middle].task <= task ? low : high) = middle;
        }
        const Product q = product(low);
        const Plan plan = make_plan(q.m, q.n, q.k, b_rows(q), kUnitRows, kUnitCols);
        const size_t index = task - place[low].task, column = index / plan.row_tiles;
        body(q, low, plan, part(index % plan.row_tiles, plan.rows, q.m), part(column % plan.col_tiles, plan.cols, q.n),
             column / plan.col_tiles, partials + place[low].partial, thread);
      }
    });
  };
  each_task([&](const Product& q, size_t index, const Plan& plan, Span rows, Span cols, size_t chunk, float* partial,
                uint32_t thread) {
    auto* packed = reinterpret_cast<Packed*>(workspace(thread));
    auto* work = reinterpret_cast<float*>(workspace(thread) + 64);
    const bool has_b = packed->product == index && packed->chunk == chunk && packed->column == cols.begin;
    *packed = {index, chunk, cols.begin};
    const Span steps = part(chunk, plan.depth, q.k);
    if (plan.chunks > 1) {
      float* to = partial + (chunk * q.m + rows.begin) * q.n + cols.begin;
      compute_tile<Precision>(q, rows, cols, steps, 1.0f, nullptr, nullptr, to, q.n, work, has_b);
    } else {
      const size_t corner = rows.begin * q.ldc + cols.begin;
      compute_tile<Precision>(q, rows, cols, steps, q.alpha, q.bias == nullptr ? nullptr : q.bias + cols.begin,
                              q.add == nullptr ? nullptr : q.add + corner, q.c + corner, q.ldc, work, has_b);
    }
  });
  if (whole.partial == 0) return;
  // The same tasks again: as many as a tile has chunks share the adding of its rows.
  each_task(
      [&](const Product& q, size_t, const Plan& plan, Span rows, Span cols, size_t chunk, float* partial, uint32_t) {
        if (plan.chunks == 1) return;
        const Span own = part(chunk, ceil_div(rows.size(), plan.chunks), rows.size());
        if (own.begin < own.end) {
          add_chunks(q, {rows.begin + own.begin, rows.begin + own.end}, cols, partial, plan.chunks);
        }
      });
}

// The same with the precision of a row: 0 fp32, 1 bf16.
template <class F>
inline void run_products(Context& ctx, uint32_t precision, size_t count, F&& product) {
  if (precision == 1) {
    run_products<Bf16>(ctx, count, product);
  } else {
    run_products<Fp32>(ctx, count, product);
  }
}

}  // namespace sweetspot::SWEETSPOT_ISA
