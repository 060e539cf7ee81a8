// Causal attention, forward, on tensor cores. A block owns 128 queries of a head and walks over the keys in tiles of 64
// that asynchronous copies bring while the tile before is multiplied. A warp owns two blocks of 16 queries, 64 rows
// apart, so that warps have the same work where the tile lies on the diagonal; what it reads of keys and values serves
// both.
//
// Probabilities are 2^(x - shift), x = scale log2(e) q.k, where shift is the largest x so far, rounded up to a whole
// number: a new shift multiplies what has been summed by a power of two, which changes no bits, so rounded
// probabilities do not depend on where the tiles lie. Most tiles have no new shift, and then nothing is multiplied.
#include "cuda/kernels/attention_mma.cuh"

namespace sweetspot::cuda {
namespace {

constexpr uint32_t kQueries = 128, kKeys = 64, kWarps = 4, kBlock = 32 * kWarps;

template <int D>
struct Shared {
  bf16 q[kQueries * kRow<D>];
  struct {
    bf16 k[kKeys * kRow<D>], v[kKeys * kRow<D>];
  } stage[2];
};

// 2^x for whole x that are not positive.
__device__ float power_of_two(float x) {
  return x < -126.0f ? 0.0f : __int_as_float((__float2int_rz(x) + 127) << 23);
}

// Two blocks of 16 queries: what a warp knows of them.
template <int D>
struct Queries {
  const bf16* shared;  // the first block's rows, as a lane reads them
  uint32_t first;      // position of its first query
  float sums[2][D / 8][4], shift[2][2], total[2][2];

  // A tile of keys that all queries see.
  __device__ void meet(const bf16* keys, const bf16* values, float c) {
    float s[2][8][4] = {};
#pragma unroll
    for (int step = 0; step < D / 16; step++) score<D>(s, shared, kApart, keys, step);
#pragma unroll
    for (int m = 0; m < 2; m++) soften(m, s[m], c, [](int, int) { return false; });
#pragma unroll
    for (int j = 0; j < 4; j++) {
      uint32_t p[2][4];
#pragma unroll
      for (int m = 0; m < 2; m++) pack_block(s[m][2 * j], s[m][2 * j + 1], p[m]);
      multiply_rows<D>(sums, p, values + 16 * j * kRow<D>);
    }
  }

  // A tile of keys, from position `start` on, of which queries see those up to themselves. Block by block.
  __device__ void meet_diagonal(const bf16* keys, const bf16* values, uint32_t start, float c) {
#pragma unroll
    for (int m = 0; m < 2; m++) {
      const uint32_t query = first + kApart * m;
      if (query < start) continue;
      const uint32_t whole = (query - start) / 16;  // blocks before the diagonal; 4 or more: all
      float s[1][8][4] = {};
#pragma unroll
      for (int step = 0; step < D / 16; step++) score<D>(s, shared + kApart * m * kRow<D>, 0, keys, step, whole + 1);
      soften(m, s[0], c,
             [&](int j, int e) { return start + 8 * j + lane_column() + e % 2 > query + lane_row() + e / 2 * 8; });
#pragma unroll
      for (int j = 0; j < 4; j++) {
        if (j > whole) continue;
        uint32_t p[4];
        pack_block(s[0][2 * j], s[0][2 * j + 1], p);
        if (j == whole)
          multiply_diagonal<D, true>(sums[m], p, values + 16 * j * kRow<D>);
        else
          multiply_rows<D>(sums[m], p, values + 16 * j * kRow<D>);
      }
    }
  }

 private:
  // Scores of 64 keys become probabilities, and what earlier tiles gave is rescaled to the new shift.
  template <class F>
  __device__ void soften(int m, float (&s)[8][4], float c, F hidden) {
    float rescale[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float most = -INFINITY;
#pragma unroll
      for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; e++)
          if (!hidden(j, e)) most = fmaxf(most, s[j][e]);
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
      const float highest = fmaxf(shift[m][r], ceilf(most * c)), minus = -safe_shift(highest);
      rescale[r] = power_of_two(shift[m][r] + minus);
      shift[m][r] = highest;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; e++) {
          s[j][e] = hidden(j, e) ? 0.0f : exp2_fast(fmaf(s[j][e], c, minus));
          sum += s[j][e];
        }
      total[m][r] = fmaf(total[m][r], rescale[r], sum);
    }
    if (__any_sync(0xffffffffu, rescale[0] != 1 || rescale[1] != 1) == 0) return;
#pragma unroll
    for (int d = 0; d < D / 8; d++)
#pragma unroll
      for (int e = 0; e < 4; e++) sums[m][d][e] *= rescale[e / 2];
  }
};

// Blocks that share a multiprocessor: as many as its shared memory holds.
template <int D>
constexpr int kBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    2;
#else
    D <= 64 ? 3 : 2;
#endif

// Late queries see more keys and go first, so that the last blocks are the short ones.
template <int D>
__global__ void __launch_bounds__(kBlock, kBlocks<D>)
    attention_kernel(Fault fault, Heads all, const bf16* qkv, Out y, float* lse) {
  if (fault.failed()) return;
  auto& shared = *reinterpret_cast<Shared<D>*>(dynamic_shared());
  const uint32_t head = blockIdx.x % all.heads, sequence = blockIdx.x / all.heads % all.batch;
  const uint32_t begin = (ceil_div(all.time, kQueries) - 1 - blockIdx.x / all.heads / all.batch) * kQueries;
  const uint32_t warp = threadIdx.x / 32, end = min(begin + kQueries, all.time), kv_head = head / all.group();
  const auto load = [&](uint32_t start) {
    auto& to = shared.stage[start / kKeys % 2];
    const bf16* from = qkv + all.fused(sequence, start);
    copy_rows<D, kKeys, kBlock>(to.k, from + all.key(kv_head), all.width(), all.time - start, all.dim);
    copy_rows<D, kKeys, kBlock>(to.v, from + all.value(kv_head), all.width(), all.time - start, all.dim);
  };
  copy_rows<D, kQueries, kBlock>(shared.q, qkv + all.fused(sequence, begin) + all.query(head), all.width(), end - begin,
                                 all.dim);
  load(0);
  copy_async_commit();

  Queries<D> mine = {};
  mine.first = begin + 16 * warp;
  mine.shared = shared.q + 16 * warp * kRow<D> + left_place<D>();
#pragma unroll
  for (int m = 0; m < 2; m++) mine.shift[m][0] = mine.shift[m][1] = -INFINITY;
  const float c = all.scale * kLog2e;
  // Waits for the tile at `start`; the stage that all have just left takes the next one.
  const auto next = [&](uint32_t start) -> const auto& {
    copy_async_wait<0>();
    __syncthreads();
    if (start + kKeys < end) load(start + kKeys);
    copy_async_commit();
    return shared.stage[start / kKeys % 2];
  };
  for (uint32_t start = 0; start < begin; start += kKeys) {
    const auto& tile = next(start);
    mine.meet(tile.k, tile.v, c);
  }
  for (uint32_t start = begin; start < end; start += kKeys) {
    const auto& tile = next(start);
    mine.meet_diagonal(tile.k, tile.v, start, c);
  }
#pragma unroll
  for (int m = 0; m < 2; m++) {
    const uint32_t first = mine.first + kApart * m;
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float total = mine.total[m][r];
      total += __shfl_xor_sync(0xffffffffu, total, 1);
      total += __shfl_xor_sync(0xffffffffu, total, 2);
      inverse[r] = 1.0f / total;
      const uint32_t position = first + lane_row() + 8 * r;
      if (position < end && lane_column() == 0)
        lse[all.statistics(sequence, head) + position] = mine.shift[m][r] * kLn2 + logf(total);
    }
    if (first < end)
      store_block(mine.sums[m], inverse[0], inverse[1], y, all.output(sequence, first) + all.query(head), all.y_width(),
                  end - first, all.dim);
  }
}

}  // namespace

bool attention_bf16(Launch& l, const AttentionRow& row) {
  const Heads all{row.batch, row.time, row.heads, row.kvHeads, row.headDim, row.scale};
  return by_columns(row.headDim, [&](auto width) {
    constexpr int D = decltype(width)::value;
    return launch_where_it_fits<Shared<D>>(l, attention_kernel<D>, all.batch * all.heads * ceil_div(all.time, kQueries),
                                           kBlock, all, l.factor(row.qkv), l.out(row.y), l.f32(row.lse));
  });
}

}  // namespace sweetspot::cuda
