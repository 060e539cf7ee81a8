// A bank of slices: w[g] = s + sum_r c[g, r] t_r for several groups at once, its gradient with respect to c, and the
// optimizer step on the slices. Slices are interleaved, t[tile][slice][256], so everything that belongs to 256 weights
// lies together. Within a tile each kernel is a small matrix product:
//   mix           w (groups x 256)  = c (groups x slices) t (slices x 256)
//   gradient of t   (slices x 256)  = transpose of c times dw (groups x 256), used up in registers, never stored
//   gradient of c (groups x slices) = dw transpose(t), summed over tiles
// In the first two a thread owns four columns of a tile and G groups or R slices; coefficients come from shared memory.
// Blocks that read the same tile follow each other in the grid, so that the second finds it in the L2 cache.
#include "cuda/kernels/adamw.cuh"
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

constexpr uint32_t kTile = 256, kQuads = kTile / 4;
// Tiles of a block, and coefficients of a row in shared memory at a time.
constexpr uint32_t kTiles = kThreads / kQuads, kSteps = 64;

__device__ float4 load4(const float* p) {
  return *reinterpret_cast<const float4*>(p);
}
__device__ void store4(float* p, float4 x) {
  *reinterpret_cast<float4*>(p) = x;
}
__device__ void accumulate(float4& sum, float a, float4 x) {
  sum.x = fmaf(a, x.x, sum.x);
  sum.y = fmaf(a, x.y, sum.y);
  sum.z = fmaf(a, x.z, sum.z);
  sum.w = fmaf(a, x.w, sum.w);
}

// sums[o] += sum over k < n of c[(first + o) * across + k * along] * x[k * stride ..], for o < N and first + o < limit.
// All threads of a block take part; those with `active` false have no x.
template <int N>
__device__ void combine(float4 (&sums)[N], const float* c, size_t across, size_t along, uint32_t first, uint32_t limit,
                        const float* x, size_t stride, uint32_t n, bool active) {
  __shared__ __align__(16) float factors[kSteps][N];
  for (uint32_t begin = 0; begin < n; begin += kSteps) {
    const uint32_t count = min(kSteps, n - begin);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < count * N; i += kThreads) {
      const uint32_t k = i / N, o = i % N;
      factors[k][o] = first + o < limit ? c[(first + o) * across + (begin + k) * along] : 0.0f;
    }
    __syncthreads();
    if (!active) continue;
#pragma unroll 4
    for (uint32_t k = 0; k < count; k++) {
      const float4 value = load4(x + (begin + k) * stride);
#pragma unroll
      for (int o = 0; o < N; o++) accumulate(sums[o], factors[k][o], value);
    }
  }
}

// The groups that take part: the first *count, checked by check_count_kernel, or all.
__device__ uint32_t present(const int32_t* count, uint32_t groups) {
  return count == nullptr ? groups : min(static_cast<uint32_t>(*count), groups);
}

__global__ void check_count_kernel(Fault fault, const int32_t* count, uint32_t groups) {
  if (fault.stopped()) return;
  if (static_cast<uint32_t>(*count) > groups) fault.raise(kCount, *count, groups);
}

// The count of a row on the device, nullptr when it has none.
template <class Row>
const int32_t* checked_count(Launch& l, const Row& row) {
  if (!row.count.present()) return nullptr;
  launch(l, check_count_kernel, 1, 1, 0, l.fault(), l.i32(row.count), row.groups);
  return l.i32(row.count);
}

template <int G>
__global__ void __launch_bounds__(kThreads)
    mix_kernel(Fault fault, const float* t, const float* c, const int32_t* count, const float* s, float* w,
               uint32_t room, uint32_t slices, size_t size) {
  if (fault.failed()) return;
  const uint32_t groups = present(count, room), chunks = ceil_div(room, G), first = blockIdx.x % chunks * G;
  if (first >= groups) return;
  const size_t tile = static_cast<size_t>(blockIdx.x / chunks) * kTiles + threadIdx.x / kQuads;
  const uint32_t column = threadIdx.x % kQuads * 4;
  const bool active = tile < size / kTile;
  const size_t at = tile * kTile + column;
  const float4 shared = active && s != nullptr ? load4(s + at) : make_float4(0, 0, 0, 0);
  float4 sums[G];
#pragma unroll
  for (int g = 0; g < G; g++) sums[g] = shared;
  combine(sums, c, slices, 1, first, groups, t + tile * slices * kTile + column, kTile, slices, active);
#pragma unroll
  for (int g = 0; g < G; g++)
    if (active && first + g < groups) store4(w + (first + g) * size + at, sums[g]);
}

// Gradients of the slices first .. first + R - 1 in four columns of a tile, for the two kernels below.
template <int R>
struct SliceGradient {
  uint32_t first, column;
  size_t tile;
  bool active;
  float4 sums[R] = {};

  __device__ SliceGradient(const float* dw, const float* c, uint32_t groups, uint32_t slices, size_t size,
                           size_t block) {
    const uint32_t chunks = ceil_div(slices, R);
    first = static_cast<uint32_t>(block % chunks) * R;
    column = threadIdx.x % kQuads * 4;
    tile = block / chunks * kTiles + threadIdx.x / kQuads;
    active = tile < size / kTile;
    combine(sums, c, 1, slices, first, slices, dw + tile * kTile + column, size, groups, active);
  }
};

template <int R>
__global__ void __launch_bounds__(kThreads)
    bank_adamw_kernel(Fault fault, const float* dw, const float* c, const int32_t* count, const float* hyper,
                      const float* clip, float* t, float* m, float* v, uint32_t groups, uint32_t slices, size_t size,
                      float lr_scale, float decay_scale) {
  if (fault.failed()) return;
  const SliceGradient<R> gradient(dw, c, present(count, groups), slices, size, blockIdx.x);
  if (!gradient.active) return;
  const AdamwStep step(hyper, clip, lr_scale, decay_scale);
#pragma unroll
  for (int o = 0; o < R; o++) {
    const uint32_t r = gradient.first + o;
    if (r >= slices) break;
    const size_t at = (gradient.tile * slices + r) * kTile + gradient.column;
    float4 ti = load4(t + at), mi = load4(m + at), vi = load4(v + at);
    step(gradient.sums[o], ti, mi, vi);
    store4(t + at, ti);
    store4(m + at, mi);
    store4(v + at, vi);
  }
}

// Blocks of the grid below: their sums are what is left to add up.
constexpr size_t kSquareBlocks = 4096;

template <int R>
__global__ void __launch_bounds__(kThreads)
    bank_squares_kernel(Fault fault, const float* dw, const float* c, const int32_t* count, float* partial,
                        uint32_t room, uint32_t slices, size_t size, size_t blocks) {
  if (fault.failed()) return;
  const uint32_t groups = present(count, room);
  float squares = 0;
  for (size_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const SliceGradient<R> gradient(dw, c, groups, slices, size, block);
    float own = 0;
#pragma unroll
    for (int o = 0; o < R; o++) {
      const float4 g = gradient.sums[o];
      own += (g.x * g.x + g.y * g.y) + (g.z * g.z + g.w * g.w);
    }
    squares += own;
  }
  const float total = block_sum<kThreads>(squares);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

// How many groups or slices a thread owns: as many as there are, up to `most`.
template <int most, class F>
void by_count(uint32_t n, F&& pick) {
  if constexpr (most == 16)
    if (n > 8) return pick(std::integral_constant<int, 16>{});
  if (n > 4) return pick(std::integral_constant<int, 8>{});
  pick(std::integral_constant<int, 4>{});
}

constexpr uint32_t kBlock = 4;  // groups and slices of a block of dot products

// partial[range, g, r] = <dw[g], t_r> over a range of tiles. A warp owns 4 x 4 pairs; its lanes share the columns.
__global__ void __launch_bounds__(kThreads)
    bank_dot_kernel(Fault fault, const float* dw, const float* t, const int32_t* count, float* partial, uint32_t room,
                    uint32_t slices, size_t size, size_t ranges, size_t per_range) {
  if (fault.failed()) return;
  const uint32_t groups = present(count, room);
  const uint32_t across = ceil_div(slices, kBlock), blocks = ceil_div(room, kBlock) * across;
  const size_t warp = Team<32>::row(), range = warp / blocks;
  if (range >= ranges) return;
  const uint32_t first_group = static_cast<uint32_t>(warp % blocks) / across * kBlock;
  const uint32_t first_slice = static_cast<uint32_t>(warp % blocks) % across * kBlock;
  // Blocks of groups that take no part have no tiles: their dots are 0.
  const size_t end = first_group < groups ? min((range + 1) * per_range, size / kTile) : 0;
  float dots[kBlock][kBlock] = {};
  for (size_t tile = range * per_range; tile < end; tile++) {
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
      const uint32_t column = half * (kTile / 2) + Team<32>::lane() * 4;
      // Past the last group or slice the last one is read again, and its dots are dropped.
      float4 slice[kBlock];
#pragma unroll
      for (uint32_t r = 0; r < kBlock; r++)
        slice[r] = load4(t + (tile * slices + min(first_slice + r, slices - 1)) * kTile + column);
#pragma unroll
      for (uint32_t g = 0; g < kBlock; g++) {
        const float4 d = load4(dw + min(first_group + g, groups - 1) * size + tile * kTile + column);
#pragma unroll
        for (uint32_t r = 0; r < kBlock; r++) {
          const float4 x = slice[r];
          dots[g][r] = fmaf(d.w, x.w, fmaf(d.z, x.z, fmaf(d.y, x.y, fmaf(d.x, x.x, dots[g][r]))));
        }
      }
    }
  }
#pragma unroll
  for (uint32_t g = 0; g < kBlock; g++)
#pragma unroll
    for (uint32_t r = 0; r < kBlock; r++) {
      const float dot = warp_sum(dots[g][r]);
      if (Team<32>::lane() == 0 && first_group + g < room && first_slice + r < slices)
        partial[(range * room + first_group + g) * slices + first_slice + r] = first_group + g < groups ? dot : 0.0f;
    }
}

// ds = sum of dw over the groups (+ adds).
__global__ void __launch_bounds__(kThreads)
    sum_groups_kernel(Fault fault, const float* dw, const int32_t* count, const float* adds, float* ds, uint32_t room,
                      size_t size) {
  if (fault.failed()) return;
  const uint32_t groups = present(count, room);
  for (size_t i = flat_index(); i < size; i += flat_stride()) {
    float sum = adds == nullptr ? 0.0f : adds[i];
    for (uint32_t g = 0; g < groups; g++) sum += dw[g * size + i];
    ds[i] = sum;
  }
}

}  // namespace

void bank_mix(Launch& l, const BankMixRow& row) {
  const int32_t* count = checked_count(l, row);
  by_count<16>(row.groups, [&](auto own) {
    constexpr int G = decltype(own)::value;
    launch(l, mix_kernel<G>, ceil_div(row.size / kTile, kTiles) * ceil_div(row.groups, G), kThreads, 0, l.fault(),
           l.f32(row.t), l.f32(row.c), count, l.optional(row.s), l.f32(row.w), row.groups, row.slices, row.size);
  });
}

void bank_mix_backward(Launch& l, const BankMixBackwardRow& row) {
  const size_t tiles = row.size / kTile, pairs = static_cast<size_t>(row.groups) * row.slices;
  const size_t blocks = static_cast<size_t>(ceil_div(row.groups, kBlock)) * ceil_div(row.slices, kBlock);
  const int32_t* count = checked_count(l, row);
  if (row.ds.present()) {
    launch(l, sum_groups_kernel, flat_grid(l, row.size), kThreads, 0, l.fault(), l.f32(row.dw), count,
           l.optional(row.adds), l.f32(row.ds), row.groups, row.size);
  }
  if (pairs == 0) return;
  // Warps enough to fill a machine, but at least 16 ranges, so that a sum within one stays short.
  const size_t wanted = blocks < 1024 ? 16384 / blocks : 16;
  const size_t per_range = tiles == 0 ? 1 : ceil_div(tiles, wanted), ranges = ceil_div(tiles, per_range);
  auto* partial = static_cast<float*>(l.scratch(ranges * pairs * sizeof(float)));
  launch(l, bank_dot_kernel, Team<32>::grid(ranges * blocks), kThreads, 0, l.fault(), l.f32(row.dw), l.f32(row.t),
         count, partial, row.groups, row.slices, row.size, ranges, per_range);
  sum_axis(l, partial, 1, ranges, pairs, 1.0f, l.optional(row.add), l.f32(row.dc));
}

void bank_sum_squares(Launch& l, const BankSumSquaresRow& row) {
  const int32_t* count = checked_count(l, row);
  by_count<8>(row.slices, [&](auto own) {
    constexpr int R = decltype(own)::value;
    const size_t blocks = static_cast<size_t>(ceil_div(row.size / kTile, kTiles)) * ceil_div(row.slices, R);
    const size_t grid = blocks < kSquareBlocks ? blocks : kSquareBlocks;
    auto* partial = static_cast<float*>(l.scratch(grid * sizeof(float)));
    launch(l, bank_squares_kernel<R>, static_cast<uint32_t>(grid), kThreads, 0, l.fault(), l.f32(row.dw), l.f32(row.c),
           count, partial, row.groups, row.slices, row.size, blocks);
    sum_axis(l, partial, 1, grid, 1, 1.0f, nullptr, l.f32(row.y));
  });
}

void bank_adamw(Launch& l, const BankAdamwRow& row) {
  const int32_t* count = checked_count(l, row);
  by_count<8>(row.slices, [&](auto own) {
    constexpr int R = decltype(own)::value;
    launch(l, bank_adamw_kernel<R>, ceil_div(row.size / kTile, kTiles) * ceil_div(row.slices, R), kThreads, 0,
           l.fault(), l.f32(row.dw), l.f32(row.c), count, l.f32(row.hyper), l.f32(row.clip), l.f32(row.t), l.f32(row.m),
           l.f32(row.v), row.groups, row.slices, row.size, row.lrScale, row.decayScale);
  });
}

}  // namespace sweetspot::cuda
