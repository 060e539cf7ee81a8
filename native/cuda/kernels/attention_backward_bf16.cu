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

// What the kernel for keys keeps of a tile of 64 queries of a head: lse is the log of their softmax's denominator,
// delta rowsum(dy y).
template <int D>
struct QueryTile {
  static constexpr uint32_t rows = 64;
  bf16 q[rows * kRow<D>], dy[rows * kRow<D>];
  float lse[rows], delta[rows];
};

// Blocks of 16 rows of a warp, two of them, are this many rows apart: then warps have the same work on the diagonal.
constexpr uint32_t kApart = 64;

// A warp of the kernel for keys: two blocks of 16 keys. Up to 64 columns it meets all queries and makes all columns of
// dk and dv. More would not fit in registers: there two warps share the keys. Each makes p and ds of half the queries,
// hands them to the other, and makes half the columns. Smaller blocks of keys would read shared memory more often than
// it can answer.
template <int D>
struct Keys {
  static constexpr bool paired = D > 64;
  static constexpr uint32_t warps = paired ? 8 : 4, threads = 32 * warps, columns = paired ? D / 2 : D;
  struct Shared {
    bf16 k[kRows * kRow<D>], v[kRows * kRow<D>];
    QueryTile<D> stage[2];
    uint4 exchange[paired ? warps : 1][4][32];  // a warp's p or ds
  };
  Shared& shared;
  const uint32_t warp, side, begin, time;
  const uint32_t row, first;  // of the first block, in the tile and in the sequence
  const float c;
  float dk[2][columns / 8][4] = {}, dv[2][columns / 8][4] = {};
  uint32_t p[2][2][4], ds[2][2][4];  // as left factors: blocks of queries, blocks of keys

  __device__ Keys(Shared& shared, const Operands& o, uint32_t begin)
      : shared(shared),
        warp(threadIdx.x / 32),
        side(paired ? warp % 2 : 0),
        begin(begin),
        time(o.time),
        row(paired ? warp / 2 * 16 : warp * 16),
        first(begin + row),
        c(o.scale * kLog2e) {}

  // A tile of queries from position `start` on.
  __device__ void meet(const QueryTile<D>& tile, uint32_t start) {
    const auto meet_rows = [&](uint32_t from) {
      if (start >= begin + kRows && start + tile.rows <= time) {
        differentiate(tile, from, [](uint32_t, uint32_t) { return false; });
        gather<true>(tile, start, from);
      } else {
        const auto hidden = [&](uint32_t key, uint32_t query) {
          return first + key > start + query || start + query >= time;
        };
        differentiate(tile, from, hidden);
        gather<false>(tile, start, from);
      }
    };
    if constexpr (paired) {
      meet_rows(32 * side);
    } else {
#pragma unroll 1
      for (uint32_t from = 0; from < tile.rows; from += 32) meet_rows(from);
    }
  }

 private:
  // Scores and dy v^T of the keys and 32 queries of the tile become p and ds, 0 where hidden(key, query).
  template <class F>
  __device__ void differentiate(const QueryTile<D>& tile, uint32_t from, F hidden) {
    float s[2][4][4] = {}, dp[2][4][4] = {};
#pragma unroll
    for (int step = 0; step < D / 16; step++) {
      score<D>(s, shared.k + row * kRow<D> + left_place<D>(), kApart, tile.q + from * kRow<D>, step);
      score<D>(dp, shared.v + row * kRow<D> + left_place<D>(), kApart, tile.dy + from * kRow<D>, step);
    }
#pragma unroll
    for (int n = 0; n < 4; n++) {
      const uint32_t query = from + 8 * n + lane_column();
      const float2 lse = *reinterpret_cast<const float2*>(tile.lse + query);
      const float2 delta = *reinterpret_cast<const float2*>(tile.delta + query);
#pragma unroll
      for (int m = 0; m < 2; m++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const bool none = hidden(kApart * m + lane_row() + e / 2 * 8, query + e % 2);
          const float x = exp2_fast(fmaf(s[m][n][e], c, (e % 2 == 0 ? lse.x : lse.y) * -kLog2e));
          s[m][n][e] = none ? 0.0f : x;
          dp[m][n][e] = none ? 0.0f : x * (dp[m][n][e] - (e % 2 == 0 ? delta.x : delta.y));
        }
    }
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
      for (int m = 0; m < 2; m++) {
        pack_block(s[m][2 * j], s[m][2 * j + 1], p[j][m]);
        pack_block(dp[m][2 * j], dp[m][2 * j + 1], ds[j][m]);
      }
  }

  // dv += p dy, dk += ds q for the rows whose p and ds there are. Not All: some are not seen by all keys.
  template <bool All>
  __device__ void gather(const QueryTile<D>& tile, uint32_t start, uint32_t from) {
    if constexpr (paired) {
      exchange<All>(dv, p, tile.dy, start);
      named_barrier(1 + warp / 2, 64);
      exchange<All>(dk, ds, tile.q, start);
    } else {
      add<All>(dv, p[0], tile.dy, start, from);
      add<All>(dk, ds[0], tile.q, start, from);
      add<All>(dv, p[1], tile.dy, start, from + 16);
      add<All>(dk, ds[1], tile.q, start, from + 16);
    }
  }

  // sums += factors x for all 64 rows of x: this warp's half, and the half that the other warp brings.
  template <bool All>
  __device__ void exchange(float (&sums)[2][columns / 8][4], const uint32_t (&factors)[2][2][4], const bf16* x,
                           uint32_t start) {
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const uint32_t(&a)[4] = factors[i / 2][i % 2];
      shared.exchange[warp][i][lane] = make_uint4(a[0], a[1], a[2], a[3]);
    }
    named_barrier(1 + warp / 2, 64);
#pragma unroll
    for (int j = 0; j < 2; j++) add<All>(sums, factors[j], x, start, 32 * side + 16 * j);
#pragma unroll
    for (int j = 0; j < 2; j++) {
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; m++) {
        const uint4 block = shared.exchange[warp ^ 1][2 * j + m][lane];
        a[m][0] = block.x, a[m][1] = block.y, a[m][2] = block.z, a[m][3] = block.w;
      }
      add<All>(sums, a, x, start, 32 - 32 * side + 16 * j);
    }
  }

  // sums += a x for 16 rows of x from row `from` on.
  template <bool All>
  __device__ void add(float (&sums)[2][columns / 8][4], const uint32_t (&a)[2][4], const bf16* x, uint32_t start,
                      uint32_t from) const {
    x += from * kRow<D> + side * columns;
    if constexpr (All) return multiply_rows<D>(sums, a, x);
    const uint32_t query = start + from;
#pragma unroll
    for (int m = 0; m < 2; m++) {
      const uint32_t key = first + kApart * m;
      if (query == key) multiply_diagonal<D, false>(sums[m], a[m], x);
      if (query > key) multiply_rows<D>(sums[m], a[m], x);
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
  const uint32_t begin = blockIdx.x / o.kv_heads / o.batch * kRows;
  constexpr uint32_t rows = QueryTile<D>::rows;
  const auto load = [&](QueryTile<D>& to, uint32_t head, uint32_t start) {
    copy_rows<D, rows, K::threads>(to.q, o.qkv + o.fused(sequence, start) + o.query(head), o.width(), o.time - start,
                                   o.dim);
    copy_rows<D, rows, K::threads>(to.dy, o.dy + o.output(sequence, start) + o.query(head), o.y_width(), o.time - start,
                                   o.dim);
    if (threadIdx.x >= 2 * rows) return;
    const uint32_t row = threadIdx.x % rows, there = start + row < o.time ? 1 : 0;
    const float* from = (threadIdx.x < rows ? o.lse : o.delta) + o.statistics(sequence, head) + start;
    copy_async_4((threadIdx.x < rows ? to.lse : to.delta) + row, from + there * row, 4 * there);
  };
  const bf16* keys = o.qkv + o.fused(sequence, begin);
  copy_rows<D, kRows, K::threads>(shared.k, keys + o.key(kv_head), o.width(), o.time - begin, o.dim);
  copy_rows<D, kRows, K::threads>(shared.v, keys + o.value(kv_head), o.width(), o.time - begin, o.dim);
  // The queries of all heads that read the key head, from the tile's own on.
  uint32_t head = kv_head * o.group(), start = begin;
  const uint32_t end = head + o.group();
  load(shared.stage[0], head, start);
  copy_async_commit();

  K mine(shared, o, begin);
  for (uint32_t stage = 0; head < end; stage ^= 1) {
    const uint32_t now = start;
    start += rows;
    if (start >= o.time) start = begin, head++;
    copy_async_wait<0>();
    __syncthreads();
    if (head < end) load(shared.stage[stage ^ 1], head, start);
    copy_async_commit();
    mine.meet(shared.stage[stage], now);
  }
#pragma unroll
  for (int m = 0; m < 2; m++) {
    const uint32_t first = mine.first + kApart * m, column = mine.side * K::columns;
    if (first >= o.time) continue;
    const size_t at = o.fused(sequence, first);
    store_block(mine.dk[m], o.scale, o.scale, o.dqkv, at + o.key(kv_head), o.width(), o.time - first, o.dim, column);
    store_block(mine.dv[m], 1.0f, 1.0f, o.dqkv, at + o.value(kv_head), o.width(), o.time - first, o.dim, column);
  }
}

// Queries: two blocks of 16 rows a warp.
template <int D>
struct Queries {
  static constexpr uint32_t threads = 128;
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
