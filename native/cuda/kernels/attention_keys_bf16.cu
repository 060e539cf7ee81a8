// dk and dv of attention on tensor cores. A warp owns rows of keys, so that the transposed p and ds are left factors as
// they come out of the products before.
#include "cuda/kernels/attention_backward_bf16.cuh"

namespace sweetspot::cuda {
namespace {

// What the kernel for keys keeps of a tile of 64 queries of a head: lse is the log of their softmax's denominator,
// delta rowsum(dy y).
template <int D>
struct QueryTile {
  static constexpr uint32_t rows = 64;
  bf16 q[rows * kRow<D>], dy[rows * kRow<D>];
  float lse[rows], delta[rows];
};

// A warp of the kernel for keys: two blocks of 16 keys. Up to 64 columns it meets all queries and makes all columns of
// dk and dv. More would not fit in registers: there two warps share the keys. Each makes p and ds of half the queries,
// hands them to the other, and makes half the columns. Smaller blocks of keys would read shared memory more often than
// it can answer.
template <int D>
struct Keys {
  static constexpr bool paired = D > 64;
  static constexpr uint32_t warps = paired ? 8 : 4, threads = 32 * warps, columns = paired ? D / 2 : D;
  struct Shared {
    bf16 k[kOwnRows * kRow<D>], v[kOwnRows * kRow<D>];
    QueryTile<D> stage[2];
    uint4 exchange[paired ? warps : 1][4][32];  // a warp's p or ds
  };
  Shared& shared;
  const uint32_t warp, side, begin, time;
  const uint32_t row, first;  // of the first block, in the tile and in the sequence
  const float c;
  float dk[2][columns / 8][4] = {}, dv[2][columns / 8][4] = {};
  uint32_t p[2][2][4], ds[2][2][4];  // as left factors: blocks of queries, blocks of keys

  __device__ Keys(Shared& shared, const BackwardOperands& o, uint32_t begin)
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
      if (start >= begin + kOwnRows && start + tile.rows <= time) {
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
__global__ void __launch_bounds__(Keys<D>::threads, 256 / Keys<D>::threads)
    keys_kernel(Fault fault, BackwardOperands o) {
  if (fault.failed()) return;
  using K = Keys<D>;
  auto& shared = *reinterpret_cast<typename K::Shared*>(dynamic_shared());
  const uint32_t kv_head = blockIdx.x % o.kv_heads, sequence = blockIdx.x / o.kv_heads % o.batch;
  const uint32_t begin = blockIdx.x / o.kv_heads / o.batch * kOwnRows;
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
  copy_rows<D, kOwnRows, K::threads>(shared.k, keys + o.key(kv_head), o.width(), o.time - begin, o.dim);
  copy_rows<D, kOwnRows, K::threads>(shared.v, keys + o.value(kv_head), o.width(), o.time - begin, o.dim);
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

}  // namespace

bool launch_keys_bf16(Launch& l, const BackwardOperands& o) {
  return by_columns(o.dim, [&](auto width) {
    constexpr int D = decltype(width)::value;
    return launch_where_it_fits<typename Keys<D>::Shared>(
        l, keys_kernel<D>, o.batch * ceil_div(o.time, kOwnRows) * o.kv_heads, Keys<D>::threads, o);
  });
}

}  // namespace sweetspot::cuda
