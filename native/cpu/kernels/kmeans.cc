// kmeans_assign: the nearest centroid of every row. Which one is decided by |c|^2 - 2 x.c, a matrix product whose
// scores, some rows times kClusters, are reduced to the best so far while they are in the first-level cache; the scores
// of all rows are never stored. The distance to the winner is then computed from the difference, because
// |x|^2 + |c|^2 - 2 x.c cancels when x is close to c. Centroids are packed once, for all tasks; tasks are blocks of
// rows.
#include "cpu/gemm/loops.h"
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {

constexpr size_t kRows = 192;
constexpr size_t kClusters = 256;

float squared_norm(const float* x, size_t n) {
  Vec a = Vec::zero();
  for (size_t i = 0; i < n; i += Vec::N) {
    const Vec v = Vec::load(x + i, n - i);
    a = fma(v, v, a);
  }
  return sum(a);
}

float squared_distance(const float* x, const float* c, size_t n) {
  Vec a = Vec::zero();
  for (size_t i = 0; i < n; i += Vec::N) {
    const Vec v = Vec::load(x + i, n - i) - Vec::load(c + i, n - i);
    a = fma(v, v, a);
  }
  return sum(a);
}

struct Best {
  float score;
  int32_t id;
};

// The smallest score so far in each lane of a row, and where it was: centroids are counted in floats, which hold them
// exactly up to 2^24. The first of equals stays, a NaN never wins.
struct Lanes {
  Vec score, id;
};

inline void scan(const float* scores, size_t n, Vec id, Lanes& best) {
  const Vec infinity = Vec::set(INFINITY), step = Vec::set(static_cast<float>(Vec::N));
  Lanes b = best;
  each_vec(n, [&](size_t j, auto lanes) {
    const Vec s = keep(lanes, lanes.load(scores + j), infinity);
    b.id = select_less(s, b.score, id, b.id);
    b.score = select_less(s, b.score, s, b.score);
    id = id + step;
  });
  best = b;
}

inline Best winner(const Lanes& best) {
  alignas(64) float score[Vec::N], id[Vec::N];
  best.score.store(score);
  best.id.store(id);
  size_t w = 0;
  for (size_t i = 1; i < Vec::N; i++) {
    if (score[i] < score[w] || (score[i] == score[w] && id[i] < id[w])) w = i;
  }
  return {score[w], static_cast<int32_t>(id[w])};
}

// For rows or centroids that are not finite, or whose squares overflow: the definition, cluster by cluster.
inline Best scan_directly(const float* x, const float* centroids, size_t cols, size_t clusters) {
  Best best{NAN, 0};
  for (size_t j = 0; j < clusters; j++) {
    const float d = squared_distance(x, centroids + j * cols, cols);
    if (d < best.score || (std::isnan(best.score) && !std::isnan(d))) best = {d, static_cast<int32_t>(j)};
  }
  return best;
}

}  // namespace

void kmeans_assign(Context& ctx, const KmeansAssignRow& row) {
  const size_t rows = row.rows, cols = row.cols, clusters = row.clusters;
  const float* x = ctx.f32(row.x);
  const float* centroids = ctx.f32(row.centroids);
  int32_t* ids = ctx.i32(row.ids);
  float* distance = ctx.f32(row.distance);
  if (rows == 0) return;
  if (clusters == 0) {
    ctx.fail("no centroids to assign %u rows to", row.rows);
    return;
  }
  if (clusters > 1u << 24) return ctx.fail("%u centroids are more than 16777216", row.clusters);
  const size_t depth_most = max_size(1, even_part(cols, kDepth, 8)), blocks = max_size(1, ceil_div(cols, depth_most));
  // The scores of one unit of rows when K is one block, else of all rows of a task, which visit a block one by one.
  const size_t score_floats = (blocks == 1 ? kUnitRows : kRows) * kClusters;
  const size_t best_floats = round_up(kRows * sizeof(Lanes) / sizeof(float), 16);
  const size_t copy_stride = depth_most + 16;
  const size_t thread_floats = round_up(score_floats + best_floats + kUnitRows * copy_stride, 16);
  const size_t norm_floats = round_up(clusters, 16), padded = round_up(clusters, kUnitCols);
  // Every panel of a block ends with one more step (panel_words).
  const size_t steps = cols + blocks, packed_floats = round_up(padded * steps, 16);
  auto* norms =
      static_cast<float*>(ctx.scratch((norm_floats + packed_floats + ctx.threads * thread_floats) * sizeof(float)));
  if (norms == nullptr) return;
  float* packed = norms + norm_floats;
  // A band of kClusters centroids lies together, K block by K block, and within a block panel by panel.
  parallel(ctx, ceil_div(clusters, kClusters), [&](uint32_t task, uint32_t) {
    const Span band = part(task, kClusters, clusters);
    for (size_t j = band.begin; j < band.end; j++) norms[j] = squared_norm(centroids + j * cols, cols);
    float* to = packed + band.begin * steps;
    for (size_t k0 = 0; k0 < cols; k0 += depth_most) {
      const size_t depth = min_size(depth_most, cols - k0);
      pack_b_transposed<Fp32>(centroids + band.begin * cols + k0, cols, depth, band.size(), to);
      to += ceil_div(band.size(), kUnitCols) * panel_words(depth);
    }
  });
  // Rows that lie this far apart fall into the same few cache sets.
  const bool collide = cols % 512 == 0;
  alignas(64) float lane[Vec::N];
  for (size_t i = 0; i < Vec::N; i++) lane[i] = static_cast<float>(i);
  const Vec first_id = Vec::load(lane);
  parallel(ctx, ceil_div(rows, kRows), [&](uint32_t task, uint32_t thread) {
    float* scores = packed + packed_floats + thread * thread_floats;
    auto* best = reinterpret_cast<Lanes*>(scores + score_floats);
    float* copy = scores + score_floats + best_floats;
    const Span own = part(task, kRows, rows);
    for (size_t i = 0; i < own.size(); i++) best[i] = {Vec::set(INFINITY), first_id};
    for (size_t j = 0; j < clusters; j += kClusters) {
      const size_t width = min_size(kClusters, clusters - j);
      const Vec id = first_id + Vec::set(static_cast<float>(j));
      for (size_t block = 0; block < blocks; block++) {
        const size_t k0 = block * depth_most, depth = min_size(depth_most, cols - k0);
        const float* b = packed + j * steps + round_up(width, kUnitCols) * (k0 + block);
        MicroCall call{depth, nullptr, cols, nullptr, kUnitCols, nullptr, nullptr, kClusters, nullptr, -2.0f, 0};
        for (size_t i = 0; i < own.size(); i += kUnitRows) {
          const size_t height = min_size(kUnitRows, own.size() - i);
          call.a = x + (own.begin + i) * cols + k0;
          if (collide) {
            copy_rows<Fp32>(call.a, cols, depth, height, copy, copy_stride);
            call.a = copy;
            call.lda = copy_stride;
          }
          const Micro product = pick_micro<Fp32, true, kUnitVecs>(height);
          float* to = blocks == 1 ? scores : scores + i * kClusters;
          for (size_t column = 0; column < width; column += kUnitCols) {
            call.width = min_size(kUnitCols, width - column);
            call.b = b + column / kUnitCols * panel_words(depth);
            call.c = to + column;
            call.bias = block == 0 ? norms + j + column : nullptr;
            call.add = block == 0 ? nullptr : call.c;
            product(call);
          }
          if (block + 1 < blocks) continue;
          for (size_t r = 0; r < height; r++) scan(to + r * kClusters, width, id, best[i + r]);
        }
      }
    }
    for (size_t i = 0; i < own.size(); i++) {
      const float* from = x + (own.begin + i) * cols;
      Best nearest = winner(best[i]);
      if (std::isfinite(nearest.score) && std::isfinite(squared_norm(from, cols))) {
        nearest.score = squared_distance(from, centroids + static_cast<size_t>(nearest.id) * cols, cols);
      } else {
        nearest = scan_directly(from, centroids, cols, clusters);
      }
      ids[own.begin + i] = nearest.id;
      distance[own.begin + i] = nearest.score;
    }
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
