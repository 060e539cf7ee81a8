// Causal attention, backward, without sums across blocks. Probabilities are made again from lse, never stored:
//   p = exp(scale q k^T - lse)   dv = p^T dy   ds = p (dy v^T - rowsum(dy y))   dq = scale ds k   dk = scale ds^T q
// One kernel owns 64 keys of a key head and walks over the queries that see them, of all query heads that read it: dk
// and dv. Another owns 64 queries of a head and walks over the keys that they see: dq. Both make the scores of a tile,
// which costs less than adding up dq between blocks in an order that changes from run to run. Heads of bf16 up to 128
// wide have kernels of their own (attention_backward_bf16.cuh).
#include "cuda/kernels/attention_tile.cuh"

namespace sweetspot::cuda {
namespace {

template <class T>
struct Operands : Heads {
  const T *dy, *qkv;
  const float *lse, *delta;
  Out dqkv;

  __device__ Rows<T> rows(uint32_t sequence, uint32_t begin, size_t column) const {
    return {qkv + fused(sequence, begin) + column, width(), min(kPairs, time - begin)};
  }
  __device__ Rows<T> gradient(uint32_t sequence, uint32_t begin, uint32_t head) const {
    return {dy + output(sequence, begin) + query(head), y_width(), min(kPairs, time - begin)};
  }
};

// delta = rowsum(dy y), a warp for each row and head.
__global__ void __launch_bounds__(kThreads) delta_kernel(Fault fault, Heads all, In dy, In y, float* delta) {
  if (fault.failed()) return;
  const size_t item = Team<32>::row(), row = item / all.heads;
  if (row >= static_cast<size_t>(all.batch) * all.time) return;
  dy = dy.from(item * all.dim);
  y = y.from(item * all.dim);
  float dot = 0;
  if (all.dim % 4 == 0) {
    for (uint32_t i = Team<32>::lane() * 4; i < all.dim; i += 128) {
      const float4 a = dy.get4(i), b = y.get4(i);
      dot = fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, dot))));
    }
  } else {
    for (uint32_t i = Team<32>::lane(); i < all.dim; i += 32) dot = fmaf(dy.get(i), y.get(i), dot);
  }
  dot = warp_sum(dot);
  const uint32_t head = item % all.heads, sequence = static_cast<uint32_t>(row / all.time);
  if (Team<32>::lane() == 0) delta[all.statistics(sequence, head) + row % all.time] = dot;
}

// s becomes p and dp becomes ds for one pair; both 0 where the query does not see the key.
template <class T>
__device__ void differentiate(const Operands<T>& o, size_t statistics, uint32_t query, uint32_t key, float& s,
                              float& dp) {
  const bool seen = query < o.time && key <= query;
  s = seen ? expf(s * o.scale - o.lse[statistics + query]) : 0.0f;
  dp = seen ? s * (dp - o.delta[statistics + query]) : 0.0f;
}

// Block (tile of keys, sequence, key head, columns). Early keys are seen by more queries and go first.
template <int C, class T>
__global__ void __launch_bounds__(kThreads) keys_kernel(Fault fault, Operands<T> o) {
  if (fault.failed()) return;
  __shared__ Tile<C> tile;
  const uint32_t chunks = ceil_div(o.dim, Tile<C>::width), column = blockIdx.x % chunks * Tile<C>::width;
  const uint32_t kv_head = blockIdx.x / chunks % o.kv_heads, sequence = blockIdx.x / chunks / o.kv_heads % o.batch;
  const uint32_t begin = blockIdx.x / chunks / o.kv_heads / o.batch * kPairs, group = o.group();
  const Rows<T> k = o.rows(sequence, begin, o.key(kv_head)), v = o.rows(sequence, begin, o.value(kv_head));
  float dk[4][C] = {}, dv[4][C] = {};
  for (uint32_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
    const size_t statistics = o.statistics(sequence, head);
    for (uint32_t start = begin; start < o.time; start += kPairs) {
      const Rows<T> q = o.rows(sequence, start, o.query(head)), dy = o.gradient(sequence, start, head);
      float s[4][4], dp[4][4];
      score(tile, k, q, o.dim, s);
      score(tile, v, dy, o.dim, dp);
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
          differentiate(o, statistics, start + 4 * thread_x() + j, begin + 4 * thread_y() + i, s[i][j], dp[i][j]);
      const bool masked = start == begin;
      const auto sees = [](uint32_t key, uint32_t query) { return key <= query; };
      put_left<T>(tile, s);
      accumulate(tile, dy, column, o.dim, dv, masked, sees);
      put_left<T>(tile, dp);
      accumulate(tile, q, column, o.dim, dk, masked, sees);
    }
  }
  store_rows(dk, o.scale, o.dqkv, o.fused(sequence, begin) + o.key(kv_head), o.width(), k.count, column, o.dim);
  store_rows(dv, 1.0f, o.dqkv, o.fused(sequence, begin) + o.value(kv_head), o.width(), k.count, column, o.dim);
}

// Block (tile of queries, sequence, head, columns). Late queries see more keys and go first.
template <int C, class T>
__global__ void __launch_bounds__(kThreads) queries_kernel(Fault fault, Operands<T> o) {
  if (fault.failed()) return;
  __shared__ Tile<C> tile;
  const uint32_t chunks = ceil_div(o.dim, Tile<C>::width), column = blockIdx.x % chunks * Tile<C>::width;
  const uint32_t head = blockIdx.x / chunks % o.heads, sequence = blockIdx.x / chunks / o.heads % o.batch;
  const uint32_t begin = (ceil_div(o.time, kPairs) - 1 - blockIdx.x / chunks / o.heads / o.batch) * kPairs;
  const uint32_t kv_head = head / o.group();
  const Rows<T> q = o.rows(sequence, begin, o.query(head)), dy = o.gradient(sequence, begin, head);
  float dq[4][C] = {};
  for (uint32_t start = 0; start <= begin; start += kPairs) {
    const Rows<T> k = o.rows(sequence, start, o.key(kv_head)), v = o.rows(sequence, start, o.value(kv_head));
    float s[4][4], dp[4][4];
    score(tile, q, k, o.dim, s);
    score(tile, dy, v, o.dim, dp);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        differentiate(o, o.statistics(sequence, head), begin + 4 * thread_y() + i, start + 4 * thread_x() + j, s[i][j],
                      dp[i][j]);
    put_left<T>(tile, dp);
    accumulate(tile, k, column, o.dim, dq, start == begin, [](uint32_t query, uint32_t key) { return key <= query; });
  }
  store_rows(dq, o.scale, o.dqkv, o.fused(sequence, begin) + o.query(head), o.width(), q.count, column, o.dim);
}

}  // namespace

void attention_backward(Launch& l, const AttentionBackwardRow& row) {
  if (row.kvHeads == 0 || row.heads == 0) return;
  const size_t rows = static_cast<size_t>(row.batch) * row.time;
  auto* delta = static_cast<float*>(l.scratch(rows * row.heads * sizeof(float)));
  const Heads all{row.batch, row.time, row.heads, row.kvHeads, row.headDim, row.scale};
  launch(l, delta_kernel, Team<32>::grid(rows * row.heads), kThreads, 0, l.fault(), all, l.in(row.dy), l.in(row.y),
         delta);
  if (row.precision == 1 && attention_backward_bf16(l, row, delta)) return;
  const auto with = [&](const auto* dy, const auto* qkv) {
    using T = std::remove_cvref_t<decltype(*qkv)>;
    const Operands<T> o{all, dy, qkv, l.f32(row.lse), delta, l.out(row.dqkv)};
    by_head<T>(row.headDim, [&](auto count) {
      constexpr int C = decltype(count)::value;
      const uint32_t tiles = row.batch * ceil_div(row.time, kPairs) * ceil_div(row.headDim, Tile<C>::width);
      launch(l, keys_kernel<C, T>, tiles * row.kvHeads, kThreads, 0, l.fault(), o);
      launch(l, queries_kernel<C, T>, tiles * row.heads, kThreads, 0, l.fault(), o);
    });
  };
  row.precision == 1 ? with(l.factor(row.dy), l.factor(row.qkv)) : with(l.f32(row.dy), l.f32(row.qkv));
}

}  // namespace sweetspot::cuda
