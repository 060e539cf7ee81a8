// Causal attention, backward, on tensor cores; attention_backward.cu says what is computed. Two kernels, as there: one
// makes dk and dv, one dq, and both make scores and dy v^T of every pair, 7 products where 5 would do. One kernel would
// have to add up dq of a query over blocks of keys: in a fixed order that means writing and reading dq once more for
// each of them, which at 128 keys a block takes the memory longer than two products take the tensor cores.
//
// In the kernel for keys a warp owns rows of keys, so that the transposed p and ds are left factors as they come out of
// the products before. Factors of the block stay in shared memory, the others pass through two stages of it. A step is
// 32 rows: their p, ds and scores fit in registers beside the sums.
#include "cuda/kernels/attention_mma.cuh"

namespace sweetspot::cuda {
namespace {

constexpr uint32_t kRows = 128, kStep = 32;

struct Operands : Heads {
  const bf16 *dy, *qkv;
  const float *lse, *delta;
  Out dqkv;
};

// Keys: blocks of 16 rows a warp owns. Where dk and dv of 32 rows leave no registers, there are twice as many warps.
template <int D>
struct Keys {
  static constexpr int blocks = D <= 64 ? 2 : 1;
  static constexpr uint32_t warps = kRows / 16 / blocks, threads = 32 * warps, apart = 16 * warps;
  static constexpr uint32_t tile = 64;
  struct Shared {
    bf16 k[kRows * kRow<D>], v[kRows * kRow<D>];
    struct {
      bf16 q[tile * kRow<D>], dy[tile * kRow<D>];
      float lse[tile], delta[tile];
    } stage[2];
  };
  const bf16 *k, *v;  // the first block's rows, as a lane reads them
  uint32_t first;     // position of its first key
  float dk[blocks][D / 8][4], dv[blocks][D / 8][4];

  // Lengths of 32 queries' softmax and rowsum(dy y).
  struct Known {
    const float *lse, *delta;
  };

  // 32 queries that are there and see all keys.
  __device__ void meet(const bf16* q, const bf16* dy, Known known, float c) {
    float s[blocks][4][4] = {}, dp[blocks][4][4] = {};
#pragma unroll
    for (int step = 0; step < D / 16; step++) {
      score<D>(s, k, apart, q, step);
      score<D>(dp, v, apart, dy, step);
    }
    uint32_t p[blocks][2][4], ds[blocks][2][4];
#pragma unroll
    for (int m = 0; m < blocks; m++)
      differentiate(
          s[m], dp[m], known, c, [](uint32_t, uint32_t) { return false; }, p[m], ds[m]);
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
      for (int n = 0; n < D / 16; n++) {
        uint32_t b[4];
        load_matrices_transposed(b, dy + left_place<D>() + 16 * j * kRow<D> + 16 * n);
#pragma unroll
        for (int m = 0; m < blocks; m++) multiply_block(dv[m][2 * n], dv[m][2 * n + 1], p[m][j], b);
        load_matrices_transposed(b, q + left_place<D>() + 16 * j * kRow<D> + 16 * n);
#pragma unroll
        for (int m = 0; m < blocks; m++) multiply_block(dk[m][2 * n], dk[m][2 * n + 1], ds[m][j], b);
      }
  }

  // 32 queries from position `start` on, of which some may not see the keys or lie behind the `time`. Block by block.
  __device__ void meet_diagonal(const bf16* q, const bf16* dy, Known known, float c, uint32_t start, uint32_t time) {
#pragma unroll
    for (int m = 0; m < blocks; m++) {
      const uint32_t key = first + apart * m;
      if (start + kStep <= key) continue;
      float s[1][4][4] = {}, dp[1][4][4] = {};
#pragma unroll
      for (int step = 0; step < D / 16; step++) {
        score<D>(s, k + apart * m * kRow<D>, 0, q, step);
        score<D>(dp, v + apart * m * kRow<D>, 0, dy, step);
      }
      uint32_t p[2][4], ds[2][4];
      const auto hidden = [&](uint32_t row, uint32_t column) {
        return key + row > start + column || start + column >= time;
      };
      differentiate(s[0], dp[0], known, c, hidden, p, ds);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        if (start + 16 * j < key) continue;
        const bf16 *values = dy + 16 * j * kRow<D>, *queries = q + 16 * j * kRow<D>;
        if (start + 16 * j == key) {
          multiply_diagonal<D, false>(dv[m], p[j], values);
          multiply_diagonal<D, false>(dk[m], ds[j], queries);
        } else {
          multiply_rows<D>(dv[m], p[j], values);
          multiply_rows<D>(dk[m], ds[j], queries);
        }
      }
    }
  }

 private:
  // Scores and dy v^T of 16 keys and 32 queries become p and ds, 0 where hidden(key, query), as left factors.
  template <class F>
  __device__ static void differentiate(float (&s)[4][4], float (&dp)[4][4], Known known, float c, F hidden,
                                       uint32_t (&p)[2][4], uint32_t (&ds)[2][4]) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const uint32_t column = 8 * j + lane_column();
      const float2 lse = *reinterpret_cast<const float2*>(known.lse + column);
      const float2 delta = *reinterpret_cast<const float2*>(known.delta + column);
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const bool none = hidden(lane_row() + e / 2 * 8, column + e % 2);
        const float x = exp2_fast(fmaf(s[j][e], c, (e % 2 == 0 ? lse.x : lse.y) * -kLog2e));
        s[j][e] = none ? 0.0f : x;
        dp[j][e] = none ? 0.0f : x * (dp[j][e] - (e % 2 == 0 ? delta.x : delta.y));
      }
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
      pack_block(s[2 * j], s[2 * j + 1], p[j]);
      pack_block(dp[2 * j], dp[2 * j + 1], ds[j]);
    }
  }
};

// Block (tile of keys, sequence, key head). Early keys are seen by more queries and go first.
template <int D>
__global__ void __launch_bounds__(Keys<D>::threads, 256 / Keys<D>::threads) keys_kernel(Fault fault, Operands o) {
  if (fault.failed()) return;
  using K = Keys<D>;
  auto& shared = *reinterpret_cast<typename K::Shared*>(dynamic_shared());
  const uint32_t kv_head = blockIdx.x % o.kv_heads, sequence = blockIdx.x / o.kv_heads % o.batch;
  const uint32_t begin = blockIdx.x / o.kv_heads / o.batch * kRows, warp = threadIdx.x / 32;
  const uint32_t tiles = ceil_div(o.time - begin, K::tile), all = tiles * o.group();
  // Tile i is of query head i / tiles of those that read the key head.
  const auto load = [&](uint32_t i) {
    const uint32_t head = kv_head * o.group() + i / tiles, start = begin + i % tiles * K::tile;
    auto& to = shared.stage[i % 2];
    copy_rows<D, K::tile, K::threads>(to.q, o.qkv + o.fused(sequence, start) + o.query(head), o.width(), o.time - start,
                                      o.dim);
    copy_rows<D, K::tile, K::threads>(to.dy, o.dy + o.output(sequence, start) + o.query(head), o.y_width(),
                                      o.time - start, o.dim);
    const uint32_t at = threadIdx.x % K::tile;
    const float* from = (threadIdx.x < K::tile ? o.lse : o.delta) + o.statistics(sequence, head) + start;
    if (threadIdx.x < 2 * K::tile)
      copy_async_4((threadIdx.x < K::tile ? to.lse : to.delta) + at, from + (start + at < o.time ? at : 0),
                   start + at < o.time ? 4 : 0);
  };
  const bf16* keys = o.qkv + o.fused(sequence, begin);
  copy_rows<D, kRows, K::threads>(shared.k, keys + o.key(kv_head), o.width(), o.time - begin, o.dim);
  copy_rows<D, kRows, K::threads>(shared.v, keys + o.value(kv_head), o.width(), o.time - begin, o.dim);
  load(0);
  copy_async_commit();

  K mine = {};
  mine.first = begin + 16 * warp;
  mine.k = shared.k + 16 * warp * kRow<D> + left_place<D>();
  mine.v = shared.v + 16 * warp * kRow<D> + left_place<D>();
  const float c = o.scale * kLog2e;
  for (uint32_t i = 0; i < all; i++) {
    copy_async_wait<0>();
    __syncthreads();
    if (i + 1 < all) load(i + 1);
    copy_async_commit();
    const auto& now = shared.stage[i % 2];
#pragma unroll 1
    for (uint32_t row = 0; row < K::tile; row += kStep) {
      const uint32_t start = begin + i % tiles * K::tile + row;
      const bf16 *q = now.q + row * kRow<D>, *dy = now.dy + row * kRow<D>;
      const typename K::Known known{now.lse + row, now.delta + row};
      if (start >= begin + kRows && start + kStep <= o.time)
        mine.meet(q, dy, known, c);
      else if (start < o.time)
        mine.meet_diagonal(q, dy, known, c, start, o.time);
    }
  }
#pragma unroll
  for (int m = 0; m < K::blocks; m++) {
    const uint32_t first = mine.first + K::apart * m;
    if (first >= o.time) continue;
    const size_t at = o.fused(sequence, first);
    store_block<D>(mine.dk[m], o.scale, o.scale, o.dqkv, at + o.key(kv_head), o.width(), o.time - first, o.dim);
    store_block<D>(mine.dv[m], 1.0f, 1.0f, o.dqkv, at + o.value(kv_head), o.width(), o.time - first, o.dim);
  }
}

// Queries: two blocks of 16 rows a warp.
template <int D>
struct Queries {
  static constexpr uint32_t threads = 128, apart = 64;
  static constexpr uint32_t tile = D <= 64 ? 64 : 32;  // two blocks share a multiprocessor's memory
  struct Shared {
    bf16 q[kRows * kRow<D>], dy[kRows * kRow<D>];
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
      score<D>(s, q, apart, k, step);
      score<D>(dp, dy, apart, v, step);
    }
    uint32_t ds[2][2][4];
#pragma unroll
    for (int m = 0; m < 2; m++)
      differentiate(
          m, s[m], dp[m], c, [](uint32_t, uint32_t) { return false; }, ds[m]);
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
      for (int n = 0; n < D / 16; n++) {
        uint32_t b[4];
        load_matrices_transposed(b, k + left_place<D>() + 16 * j * kRow<D> + 16 * n);
#pragma unroll
        for (int m = 0; m < 2; m++) multiply_block(dq[m][2 * n], dq[m][2 * n + 1], ds[m][j], b);
      }
  }

  // 32 keys from position `start` on, of which queries see those up to themselves. Block by block.
  __device__ void meet_diagonal(const bf16* k, const bf16* v, float c, uint32_t start) {
#pragma unroll
    for (int m = 0; m < 2; m++) {
      const uint32_t query = first + apart * m;
      if (query < start) continue;
      float s[1][4][4] = {}, dp[1][4][4] = {};
#pragma unroll
      for (int step = 0; step < D / 16; step++) {
        score<D>(s, q + apart * m * kRow<D>, 0, k, step);
        score<D>(dp, dy + apart * m * kRow<D>, 0, v, step);
      }
      uint32_t ds[2][4];
      differentiate(
          m, s[0], dp[0], c, [&](uint32_t row, uint32_t column) { return start + column > query + row; }, ds);
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
  __device__ void differentiate(int m, float (&s)[4][4], const float (&dp)[4][4], float c, F hidden,
                                uint32_t (&ds)[2][4]) const {
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const bool none = hidden(lane_row() + e / 2 * 8, 8 * j + lane_column() + e % 2);
        const float p = exp2_fast(fmaf(s[j][e], c, shift[m][e / 2]));
        s[j][e] = none ? 0.0f : p * (dp[j][e] - delta[m][e / 2]);
      }
#pragma unroll
    for (int j = 0; j < 2; j++) pack_block(s[2 * j], s[2 * j + 1], ds[j]);
  }
};

// Block (tile of queries, sequence, head). Late queries see more keys and go first.
template <int D>
__global__ void __launch_bounds__(Queries<D>::threads, 2) queries_kernel(Fault fault, Operands o) {
  if (fault.failed()) return;
  using Q = Queries<D>;
  auto& shared = *reinterpret_cast<typename Q::Shared*>(dynamic_shared());
  const uint32_t head = blockIdx.x % o.heads, sequence = blockIdx.x / o.heads % o.batch, warp = threadIdx.x / 32;
  const uint32_t begin = (ceil_div(o.time, kRows) - 1 - blockIdx.x / o.heads / o.batch) * kRows;
  const uint32_t end = min(begin + kRows, o.time), kv_head = head / o.group();
  const auto load = [&](uint32_t start) {
    auto& to = shared.stage[start / Q::tile % 2];
    const bf16* from = o.qkv + o.fused(sequence, start);
    copy_rows<D, Q::tile, Q::threads>(to.k, from + o.key(kv_head), o.width(), o.time - start, o.dim);
    copy_rows<D, Q::tile, Q::threads>(to.v, from + o.value(kv_head), o.width(), o.time - start, o.dim);
  };
  copy_rows<D, kRows, Q::threads>(shared.q, o.qkv + o.fused(sequence, begin) + o.query(head), o.width(), end - begin,
                                  o.dim);
  copy_rows<D, kRows, Q::threads>(shared.dy, o.dy + o.output(sequence, begin) + o.query(head), o.y_width(), end - begin,
                                  o.dim);
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
      const uint32_t position = mine.first + Q::apart * m + lane_row() + 8 * r;
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
    const uint32_t first = mine.first + Q::apart * m;
    if (first < end)
      store_block<D>(mine.dq[m], o.scale, o.scale, o.dqkv, o.fused(sequence, first) + o.query(head), o.width(),
                     end - first, o.dim);
  }
}

}  // namespace

bool attention_backward_bf16(Launch& l, const AttentionBackwardRow& row, const float* delta) {
  const Operands o{{row.batch, row.time, row.heads, row.kvHeads, row.headDim, row.scale},
                   l.factor(row.dy),
                   l.factor(row.qkv),
                   l.f32(row.lse),
                   delta,
                   l.out(row.dqkv)};
  return by_columns(row.headDim, [&](auto width) {
    constexpr int D = decltype(width)::value;
    const uint32_t tiles = o.batch * ceil_div(o.time, kRows);
    launch(l, keys_kernel<D>, tiles * o.kv_heads, Keys<D>::threads, sizeof(typename Keys<D>::Shared), l.fault(), o);
    launch(l, queries_kernel<D>, tiles * o.heads, Queries<D>::threads, sizeof(typename Queries<D>::Shared), l.fault(),
           o);
  });
}

}  // namespace sweetspot::cuda
