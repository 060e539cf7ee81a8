// Drives matrix products. compute_tile makes one tile of C on one thread; run_products cuts any number of products into
// tiles and runs them over the threads. gemm, grouped_gemm and their gradients are run_products with different lists.
//
// Inside a tile, for each block of kDepth steps of K: B is packed once (it stays in the second-level cache), then every
// kUnitRows rows of A visit all its panels (they stay in the first level). A task packs the B it needs itself: with
// hundreds of rows a tile that costs a few percent, and needs neither shared memory nor a second hand-over.
#pragma once
#include "cpu/gemm/dot.h"
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

struct Span {
  size_t begin, end;
  size_t size() const { return end - begin; }
};

inline Span part(size_t index, size_t length, size_t n) {
  return {index * length, min_size(n, (index + 1) * length)};
}

// Fewer rows than this read B once and cannot repay its packing when its rows are contiguous.
constexpr size_t kUnpackedRows = 2 * kUnitRows;

// Floats of workspace that compute_tile needs for tiles of at most rows x cols, whatever the precision.
inline size_t tile_workspace(size_t rows, size_t cols, size_t k, bool a_transposed) {
  const size_t depth = min_size(k, kDepth);
  const size_t packed_a =
      a_transposed ? ceil_div(rows, kUnitRows) * panel_words(depth) : kUnitRows * (round_up(depth, 16) + 16);
  return round_up(depth * round_up(cols, kUnitCols), 16) + round_up(packed_a, 16);
}

// Rows and columns `rows` x `cols` of the product, over steps `steps` of K only, into c (whose first element is the
// tile's corner); bias and add as in Product, already moved to the corner.
template <class Precision = Fp32>
inline void compute_tile(const Product& q, Span rows, Span cols, Span steps, float alpha, const float* bias,
                         const float* add, float* c, size_t ldc, float* work) {
  if (q.b_transposed && !q.a_transposed && rows.size() <= kThinRows) {
    dot_tile<Precision>({rows.size(), cols.size(), steps.size(), q.a + rows.begin * q.lda + steps.begin, q.lda,
                         q.b + cols.begin * q.ldb + steps.begin, q.ldb, c, add, ldc, bias, alpha});
    return;
  }
  const size_t depth_most = max_size(1, even_part(steps.size(), kDepth, 8));
  const size_t panels = ceil_div(cols.size(), kUnitCols);
  float* packed_a = work + round_up(min_size(depth_most, steps.size()) * panels * kUnitCols, 16);
  const bool in_place = Precision::kInPlace && !q.b_transposed && rows.size() < kUnpackedRows;
  // Strides of many pages' worth put the rows of a panel into the same few cache sets.
  const bool collide = !q.a_transposed && q.lda % 512 == 0 && cols.size() > kUnitCols;
  const bool copied = collide || !Precision::kInPlace;
  for (size_t k0 = steps.begin;;) {
    const size_t depth = min_size(depth_most, steps.end - k0), height_k = words<Precision>(depth);
    // Packed columns begin here: all of them, or only the last few where whole panels are read in place.
    const size_t from = in_place ? cols.size() / kUnitCols * kUnitCols : 0;
    if (q.b_transposed) {
      pack_b_transposed<Precision>(q.b + cols.begin * q.ldb + k0, q.ldb, depth, cols.size(), work);
    } else if (from < cols.size()) {
      pack_b<Precision>(q.b + k0 * q.ldb + cols.begin + from, q.ldb, depth, cols.size() - from, work);
    }
    if (q.a_transposed)
      pack_a_transposed<Precision>(q.a + k0 * q.lda + rows.begin, q.lda, depth, rows.size(), packed_a);
    const bool first = k0 == steps.begin;
    MicroCall call{height_k, nullptr, q.lda, nullptr, 0, nullptr, nullptr, ldc, nullptr, alpha, 0};
    for (size_t i = rows.begin; i < rows.end; i += kUnitRows) {
      const size_t height = min_size(kUnitRows, rows.end - i);
      if (q.a_transposed) {
        call.a = packed_a + (i - rows.begin) / kUnitRows * panel_words(height_k);
        call.lda = kUnitRows;
      } else if (copied) {
        call.lda = round_up(height_k, 16) + 16;
        copy_rows<Precision>(q.a + i * q.lda + k0, q.lda, depth, height, packed_a, call.lda);
        call.a = packed_a;
      } else {
        call.a = q.a + i * q.lda + k0;
      }
      const Micro wide = q.a_transposed ? pick_micro<Precision, false, kUnitVecs>(height)
                                        : pick_micro<Precision, true, kUnitVecs>(height);
      const Micro narrow =
          q.a_transposed ? pick_micro<Precision, false, 1>(height) : pick_micro<Precision, true, 1>(height);
      const size_t corner = (i - rows.begin) * ldc;
      for (size_t j = 0; j < panels; j++) {
        const size_t column = j * kUnitCols;
        call.width = min_size(kUnitCols, cols.size() - column);
        call.b = column < from ? q.b + k0 * q.ldb + cols.begin + column : work + (column - from) * height_k;
        call.ldb = column < from ? q.ldb : kUnitCols;
        call.c = c + corner + column;
        call.bias = first && bias != nullptr ? bias + column : nullptr;
        call.add = !first ? call.c : add != nullptr ? add + corner + column : nullptr;
        (call.width > Vec::N ? wide : narrow)(call);
      }
    }
    k0 += depth;
    if (k0 >= steps.end) return;
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
  Place total{0, 0};
  size_t work_floats = 0;
  double flops = 0;
  const auto count_in = [&](const Product& q) {
    if (q.m == 0 || q.n == 0) return;
    const Plan plan = make_plan(q.m, q.n, q.k, kUnitRows, kUnitCols);
    total.task += plan.tasks();
    if (plan.chunks > 1) total.partial += plan.chunks * q.m * q.n;
    work_floats = max_size(work_floats, tile_workspace(plan.rows, plan.cols, q.k, q.a_transposed));
    flops += cost(q.m, q.n, q.k);
  };
  for (size_t i = 0; i < count; i++) count_in(product(i));
  const Place whole = total;
  if (whole.task == 0) return;
  const double flops_per_task = flops / static_cast<double>(whole.task);

  const size_t place_bytes = round_up((count + 1) * sizeof(Place), 64);
  const size_t partial_bytes = round_up(whole.partial * sizeof(float), 64);
  const size_t work_bytes = round_up(work_floats * sizeof(float), 64);
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

  // Calls body(product, plan, rows, cols, chunk, partial, thread) for every task; small tasks go in bunches.
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
        const Plan plan = make_plan(q.m, q.n, q.k, kUnitRows, kUnitCols);
        const size_t index = task - place[low].task, tile = index / plan.chunks;
        body(q, plan, part(tile / plan.col_tiles, plan.rows, q.m), part(tile % plan.col_tiles, plan.cols, q.n),
             index % plan.chunks, partials + place[low].partial, thread);
      }
    });
  };
  each_task(
      [&](const Product& q, const Plan& plan, Span rows, Span cols, size_t chunk, float* partial, uint32_t thread) {
        auto* work = reinterpret_cast<float*>(memory + place_bytes + partial_bytes + thread * work_bytes);
        const Span steps = part(chunk, plan.depth, q.k);
        if (plan.chunks > 1) {
          float* to = partial + (chunk * q.m + rows.begin) * q.n + cols.begin;
          compute_tile<Precision>(q, rows, cols, steps, 1.0f, nullptr, nullptr, to, q.n, work);
        } else {
          const size_t corner = rows.begin * q.ldc + cols.begin;
          compute_tile<Precision>(q, rows, cols, steps, q.alpha, q.bias == nullptr ? nullptr : q.bias + cols.begin,
                                  q.add == nullptr ? nullptr : q.add + corner, q.c + corner, q.ldc, work);
        }
      });
  if (whole.partial == 0) return;
  // The same tasks again: as many as a tile has chunks share the adding of its rows.
  each_task([&](const Product& q, const Plan& plan, Span rows, Span cols, size_t chunk, float* partial, uint32_t) {
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
