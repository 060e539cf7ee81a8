// dq of attention on tensor cores.
#include "cuda/kernels/attention_backward_bf16.cuh"

namespace sweetspot::cuda {
namespace {

constexpr uint32_t kStep = 32;

// Queries: two blocks of 16 rows a warp.
template <int D>
struct Queries {
  static constexpr uint32_t threads = 128;
  static constexpr uint32_t tile = D <= 64 ? 64 : 32;  // two blocks share a multiprocessor's memory
  struct Shared {
    bf16 q[kOwnRows * kRow<D>], dy[kOwnRows * kRow<D>];
    struct {
      bf16 k[tile * kRow<D>], v[tile * kRow<D>];
    } stage[2];
  };
  const bf16 *q, *dy;  // the first block's rows, as a lane reads them
  uint32_t first;      // position of its first query
  float dq[2][D / 8][4], shift[2][2], delta[2][2];

  // 32 keys that all queries see.
  __device__ void meet(const bf16* k, const bf16* v, float c) {
    float s[2][4][4] = {}, dp[2][4][4] = {};
#pragma unroll
    for (int step = 0; step < D / 16; step++) {
      score<D>(s, q, kApart, k, step);
      score<D>(dp, dy, kApart, v, step);
    }
    uint32_t ds[2][2][4];
#pragma unroll
    for (int m = 0; m < 2; m++)
      differentiate(
          m, s[m], dp[m], c, [](uint32_t, uint32_t) { return false; }, ds[0][m], ds[1][m]);
#pragma unroll
    for (int j = 0; j < 2; j++) multiply_rows<D>(dq, ds[j], k + 16 * j * kRow<D>);
  }

  // 32 keys from position `start` on, of which queries see those up to themselves. Block by block.
  __device__ void meet_diagonal(const bf16* k, const bf16* v, float c, uint32_t start) {
#pragma unroll
    for (int m = 0; m < 2; m++) {
      const uint32_t query = first + kApart * m;
      if (query < start) continue;
      float s[1][4][4] = {}, dp[1][4][4] = {};
#pragma unroll
      for (int step = 0; step < D / 16; step++) {
        score<D>(s, q + kApart * m * kRow<D>, 0, k, step);
        score<D>(dp, dy + kApart * m * kRow<D>, 0, v, step);
      }
      uint32_t ds[2][4];
      differentiate(
          m, s[0], dp[0], c, [&](uint32_t row, uint32_t column) { return start + column > query + row; }, ds[0], ds[1]);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        if (start + 16 * j > query) continue;
        const bf16* keys = k + 16 * j * kRow<D>;
        if (start + 16 * j == query)
          multiply_diagonal<D, true>(dq[m], ds[j], keys);
        else
          multiply_rows<D>(dq[m], ds[j], keys);
      }
    }
  }

 private:
  // Scores and dy v^T of 16 queries and 32 keys become ds, 0 where hidden(query, key), as left factors.
  template <class F>
  __device__ void differentiate(int m, float (&s)[4][4], const float (&dp)[4][4], float c, F hidden, uint32_t (&ds0)[4],
                                uint32_t (&ds1)[4]) const {
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const bool none = hidden(lane_row() + e / 2 * 8, 8 * j + lane_column() + e % 2);
        const float p = exp2_fast(fmaf(s[j][e], c, shift[m][e / 2]));
        s[j][e] = none ? 0.0f : p * (dp[j][e] - delta[m][e / 2]);
      }
    pack_block(s[0], s[1], ds0);
    pack_block(s[2], s[3], ds1);
  }
};

// Block (tile of queries, sequence, head). Late queries see more keys and go first.
template <int D>
__global__ void __launch_bounds__(Queries<D>::threads, 2) queries_kernel(Fault fault, BackwardOperands o) {
  if (fault.failed()) return;
  using Q = Queries<D>;
  auto& shared = *reinterpret_cast<typename Q::Shared*>(dynamic_shared());
  const uint32_t head = blockIdx.x % o.heads, sequence = blockIdx.x / o.heads % o.batch, warp = threadIdx.x / 32;
  const uint32_t begin = (ceil_div(o.time, kOwnRows) - 1 - blockIdx.x / o.heads / o.batch) * kOwnRows;
  const uint32_t end = min(begin + kOwnRows, o.time), kv_head = head / o.group();
  const auto load = [&](uint32_t start) {
    auto& to = shared.stage[start / Q::tile % 2];
    const bf16* from = o.qkv + o.fused(sequence, start);
    copy_rows<D, Q::tile, Q::threads>(to.k, from + o.key(kv_head), o.width(), o.time - start, o.dim);
    copy_rows<D, Q::tile, Q::threads>(to.v, from + o.value(kv_head), o.width(), o.time - start, o.dim);
  };
  copy_rows<D, kOwnRows, Q::threads>(shared.q, o.qkv + o.fused(sequence, begin) + o.query(head), o.width(), end - begin,
                                     o.dim);
  copy_rows<D, kOwnRows, Q::threads>(shared.dy, o.dy + o.output(sequence, begin) + o.query(head), o.y_width(),
                                     end - begin, o.dim);
  load(0);
  copy_async_commit();

  Q mine = {};
  mine.first = begin + 16 * warp;
  mine.q = shared.q + 16 * warp * kRow<D> + left_place<D>();
  mine.dy = shared.dy + 16 * warp * kRow<D> + left_place<D>();
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const uint32_t position = mine.first + kApart * m + lane_row() + 8 * r;
      if (position >= end) continue;
      mine.shift[m][r] = o.lse[o.statistics(sequence, head) + position] * -kLog2e;
      mine.delta[m][r] = o.delta[o.statistics(sequence, head) + position];
    }
  const float c = o.scale * kLog2e;
  // Waits for the tile at `start`; the stage that all have just left takes the next one.
  const auto next = [&](uint32_t start) -> const auto& {
    copy_async_wait<0>();
    __syncthreads();
    if (start + Q::tile < end) load(start + Q::tile);
    copy_async_commit();
    return shared.stage[start / Q::tile % 2];
  };
  for (uint32_t start = 0; start < begin; start += Q::tile) {
    const auto& tile = next(start);
#pragma unroll 1
    for (uint32_t row = 0; row < Q::tile; row += kStep) mine.meet(tile.k + row * kRow<D>, tile.v + row * kRow<D>, c);
  }
  for (uint32_t start = begin; start < end; start += Q::tile) {
    const auto& tile = next(start);
#pragma unroll 1
    for (uint32_t row = 0; row < Q::tile; row += kStep)
      mine.meet_diagonal(tile.k + row * kRow<D>, tile.v + row * kRow<D>, c, start + row);
  }
#pragma unroll
  for (int m = 0; m < 2; m++) {
    const uint32_t first = mine.first + kApart * m;
    if (first < end)
      store_block(mine.dq[m], o.scale, o.scale, o.dqkv, o.fused(sequence, first) + o.query(head), o.width(),
                  end - first, o.dim);
  }
}

}  // namespace

bool launch_queries_bf16(Launch& l, const BackwardOperands& o) {
  return by_columns(o.dim, [&](auto width) {
    constexpr int D = decltype(width)::value;
    return launch_where_it_fits<typename Queries<D>::Shared>(
        l, queries_kernel<D>, o.batch * ceil_div(o.time, kOwnRows) * o.heads, Queries<D>::threads, o);
  });
}

bool attention_backward_bf16(Launch& l, const AttentionBackwardRow& row, const float* delta) {
  const BackwardOperands o{{row.batch, row.time, row.heads, row.kvHeads, row.headDim, row.scale},
                           l.factor(row.dy),
                           l.factor(row.qkv),
                           l.f32(row.lse),
                           delta,
                           l.out(row.dqkv)};
  return launch_keys_bf16(l, o) && launch_queries_bf16(l, o);
}

}  // namespace sweetspot::cuda
