// kmeans_assign: the nearest centroid of every row. Which one is decided by |c|^2 - 2 x.c, a matrix product in float32
// over a band of rows at a time; the distance to the winner is then computed from the difference, because |x|^2 + |c|^2
// - 2 x.c cancels when x is close to c.
#include "cuda/gemm/product.cuh"
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {

namespace {

constexpr size_t kScores = size_t{16} << 20;  // floats of a band
constexpr int kWarps = 8;

__global__ void raise_no_centroid_kernel(Fault fault, uint32_t rows) {
  if (!fault.stopped()) fault.raise(kNoCentroid, 0, rows);
}

// By one warp, the same bits in every lane.
template <class C, class F>
__device__ float warp_total(uint32_t n, F f) {
  float sum = 0;
  each_pack<C>(n, [&](int, size_t i) { sum = f(sum, i); });
  return warp_sum(sum);
}
template <class C>
__device__ float squared_norm(const float* x, uint32_t n) {
  return warp_total<C>(n, [=](float sum, size_t i) {
    const Pack<C::W> a = load<C::W>(x, i);
#pragma unroll
    for (int j = 0; j < C::W; j++) sum = fmaf(a.at[j], a.at[j], sum);
    return sum;
  });
}
template <class C>
__device__ float squared_distance(const float* x, const float* c, uint32_t n) {
  return warp_total<C>(n, [=](float sum, size_t i) {
    const Pack<C::W> a = load<C::W>(x, i), b = load<C::W>(c, i);
#pragma unroll
    for (int j = 0; j < C::W; j++) sum = fmaf(a.at[j] - b.at[j], a.at[j] - b.at[j], sum);
    return sum;
  });
}

template <class C>
__global__ void __launch_bounds__(32 * kWarps)
    norms_kernel(Fault fault, const float* x, float* norms, uint32_t rows, uint32_t cols) {
  if (fault.failed()) return;
  const uint32_t row = blockIdx.x * kWarps + threadIdx.x / 32;
  if (row >= rows) return;
  const float norm = squared_norm<C>(x + static_cast<size_t>(row) * cols, cols);
  if (threadIdx.x % 32 == 0) norms[row] = norm;
}

// A warp a row. The first of equals wins, a NaN never does.
template <class C>
__global__ void __launch_bounds__(32 * kWarps)
    choose_kernel(Fault fault, const float* scores, const float* x, const float* centroids, int32_t* ids,
                  float* distance, uint32_t rows, uint32_t cols, uint32_t clusters) {
  if (fault.failed()) return;
  const uint32_t row = blockIdx.x * kWarps + threadIdx.x / 32;
  if (row >= rows) return;
  const float* own = scores + static_cast<size_t>(row) * clusters;
  const float* from = x + static_cast<size_t>(row) * cols;
  float best = INFINITY;
  uint32_t winner = 0xffffffffu;
  for (uint32_t j = threadIdx.x % 32; j < clusters; j += 32)
    if (own[j] < best) best = own[j], winner = j;
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, best, lane);
    const uint32_t id = __shfl_xor_sync(0xffffffffu, winner, lane);
    if (other < best || (other == best && id < winner)) best = other, winner = id;
  }
  float result;
  if (isfinite(best) && isfinite(squared_norm<C>(from, cols))) {
    result = squared_distance<C>(from, centroids + static_cast<size_t>(winner) * cols, cols);
  } else {
    // Something is not finite or its square overflows: the definition, cluster by cluster.
    result = NAN;
    winner = 0;
    for (uint32_t j = 0; j < clusters; j++) {
      const float d = squared_distance<C>(from, centroids + static_cast<size_t>(j) * cols, cols);
      if (d < result || (isnan(result) && !isnan(d))) result = d, winner = j;
    }
  }
  if (threadIdx.x % 32 == 0) {
    ids[row] = static_cast<int32_t>(winner);
    distance[row] = result;
  }
}

template <class C>
void assign(Launch& l, const KmeansAssignRow& row) {
  const float* x = l.f32(row.x);
  const float* centroids = l.f32(row.centroids);
  auto* norms = static_cast<float*>(l.scratch(row.clusters * sizeof(float)));
  launch(l, norms_kernel<C>, ceil_div(row.clusters, kWarps), 32 * kWarps, 0, l.fault(), centroids, norms, row.clusters,
         row.cols);
  const size_t fitting = kScores / row.clusters;
  const uint32_t band = fitting < 1 ? 1 : fitting < row.rows ? static_cast<uint32_t>(fitting) : row.rows;
  auto* scores = static_cast<float*>(l.scratch(static_cast<size_t>(band) * row.clusters * sizeof(float)));
  const size_t used = l.scratch_used;
  for (uint32_t first = 0; first < row.rows; first += band) {
    l.scratch_used = used;  // bands follow each other and share what the product needs
    const uint32_t rows = row.rows - first < band ? row.rows - first : band;
    Product p;
    p.a = x + static_cast<size_t>(first) * row.cols, p.b = centroids, p.bias = norms, p.c = {scores, nullptr};
    p.m = rows, p.n = row.clusters, p.k = row.cols;
    p.trans_b = true;
    p.lda = p.ldb = row.cols, p.ldc = row.clusters;
    p.alpha = -2;
    multiply(l, p, Matmul::fp32);
    launch(l, choose_kernel<C>, ceil_div(rows, kWarps), 32 * kWarps, 0, l.fault(), scores, p.a, centroids,
           l.i32(row.ids) + first, l.f32(row.distance) + first, rows, row.cols, row.clusters);
  }
}

}  // namespace

void kmeans_assign(Launch& l, const KmeansAssignRow& row) {
  if (row.rows == 0) return;
  if (row.clusters == 0) return launch(l, raise_no_centroid_kernel, 1, 1, 0, l.fault(), row.rows);
  if (row.cols % 4 == 0)
    assign<Cut<32, 4, 0>>(l, row);
  else
    assign<Cut<32, 1, 0>>(l, row);
}

}  // namespace sweetspot::cuda
