// kmeans_assign: the nearest centroid of every row. Which one is decided by |c|^2 - 2 x.c, a matrix product whose tiles
// stay in the cache and are reduced to the best so far at once; the scores of all rows are never stored. The distance
// to the winner is then computed from the difference, because |x|^2 + |c|^2 - 2 x.c cancels when x is close to c.
// Tasks are blocks of rows.
#include "cpu/gemm/loops.h"

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

// Improves `best` with scores[0..n) of the clusters from `first` on; the first of equals stays, a NaN never wins.
inline void scan(const float* scores, size_t n, size_t first, Best& best) {
  // Positions within one tile are counted in floats, which hold them exactly.
  alignas(64) float lane[Vec::N], low[Vec::N], at[Vec::N];
  for (size_t i = 0; i < Vec::N; i++) lane[i] = static_cast<float>(i);
  const Vec infinity = Vec::set(INFINITY);
  Vec position = Vec::load(lane), value = infinity, where = position;
  for (size_t j = 0; j < n; j += Vec::N) {
    const Vec s = SWEETSPOT_ISA::first(Vec::load(scores + j, n - j), infinity, n - j);
    where = select_less(s, value, position, where);
    value = select_less(s, value, s, value);
    position = position + Vec::set(static_cast<float>(Vec::N));
  }
  value.store(low);
  where.store(at);
  size_t winner = 0;
  for (size_t i = 1; i < Vec::N; i++) {
    if (low[i] < low[winner] || (low[i] == low[winner] && at[i] < at[winner])) winner = i;
  }
  if (low[winner] < best.score) best = {low[winner], static_cast<int32_t>(first + static_cast<size_t>(at[winner]))};
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
  const size_t score_floats = kRows * kClusters;
  const size_t best_floats = round_up(2 * kRows, 16);
  const size_t thread_floats = round_up(score_floats + best_floats + tile_workspace(kRows, kClusters, cols, false), 16);
  const size_t norm_floats = round_up(clusters, 16);
  auto* norms = static_cast<float*>(ctx.scratch((norm_floats + ctx.threads * thread_floats) * sizeof(float)));
  if (norms == nullptr) return;
  const size_t norms_per_task = max_size(16, 200000 / max_size(cols, 1));
  parallel(ctx, ceil_div(clusters, norms_per_task), [&](uint32_t task, uint32_t) {
    const Span own = part(task, norms_per_task, clusters);
    for (size_t j = own.begin; j < own.end; j++) norms[j] = squared_norm(centroids + j * cols, cols);
  });
  const Product q{x, centroids, nullptr, nullptr, nullptr, rows, clusters, cols, cols, cols, 0, false, true, -2.0f};
  parallel(ctx, ceil_div(rows, kRows), [&](uint32_t task, uint32_t thread) {
    float* scores = norms + norm_floats + thread * thread_floats;
    Best* best = reinterpret_cast<Best*>(scores + score_floats);
    float* work = scores + score_floats + best_floats;
    const Span own = part(task, kRows, rows);
    for (size_t i = 0; i < own.size(); i++) best[i] = {INFINITY, 0};
    for (size_t j = 0; j < clusters; j += kClusters) {
      const Span some{j, min_size(clusters, j + kClusters)};
      compute_tile(q, own, some, {0, cols}, q.alpha, norms + j, nullptr, scores, kClusters, work);
      for (size_t i = 0; i < own.size(); i++) scan(scores + i * kClusters, some.size(), j, best[i]);
    }
    for (size_t i = 0; i < own.size(); i++) {
      const float* from = x + (own.begin + i) * cols;
      if (std::isfinite(best[i].score) && std::isfinite(squared_norm(from, cols))) {
        best[i].score = squared_distance(from, centroids + static_cast<size_t>(best[i].id) * cols, cols);
      } else {
        best[i] = scan_directly(from, centroids, cols, clusters);
      }
      ids[own.begin + i] = best[i].id;
      distance[own.begin + i] = best[i].score;
    }
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
