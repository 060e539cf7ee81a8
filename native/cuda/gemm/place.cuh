// Which tile of a product a block computes.
#pragma once
#include "cuda/gemm/product.cuh"

namespace sweetspot::cuda {

// Tiles of blocks that run at the same time should form a square of the result, so that they share rows of a and
// columns of b in the cache: blocks go down kBand tiles, then on to the next column.
constexpr uint32_t kBand = 16;
constexpr uint32_t kMostEntries = 65535;  // of a grid's second dimension

struct Place {
  uint32_t entry, b_entry;  // of the batch: whose a and c, whose b; kAbsent: nothing to do
  uint32_t row, rows;       // of the result; rows are what is left from there on, may exceed the tile
  uint32_t col;
  uint32_t k, depth;
  uint32_t slot;  // number of the partial product, or kAbsent

  __device__ uint32_t cols(const Product& p) const { return p.n - col; }
  __device__ const float* a(const Product& p) const { return p.a + a_offset(p); }
  __device__ const float* b(const Product& p) const { return p.b + b_offset(p); }
  __device__ size_t a_offset(const Product& p) const {
    return entry * p.stride_a + (p.trans_a ? k * p.lda + row : row * p.lda + k);
  }
  __device__ size_t b_offset(const Product& p) const {
    return b_entry * p.stride_b + (p.trans_b ? col * p.ldb + k : k * p.ldb + col);
  }
};

template <int M, int N>
__device__ inline Place compute_place(const Product& p, const Split& split, uint32_t first) {
  const uint32_t wide = ceil_div(p.n, N), high = gridDim.x / wide;
  const uint32_t band = blockIdx.x / (kBand * wide), within = blockIdx.x % (kBand * wide);
  const uint32_t band_high = min(kBand, high - band * kBand);
  const uint32_t tile = band * kBand + within % band_high;
  const uint32_t y = first + blockIdx.y;
  Place at;
  at.row = tile * M;
  at.rows = p.m - at.row;
  at.col = within / band_high * N;
  at.slot = kAbsent;
  if (p.parts != nullptr) {
    const GroupPart part = p.parts[y];
    at.entry = part.group;
    at.b_entry = 0;
    at.k = part.first;
    at.depth = part.rows;
    at.slot = part.slot;
    return at;
  }
  at.entry = at.b_entry = y / split.splits;
  at.k = y % split.splits * split.depth;
  at.depth = min(split.depth, p.k - at.k);
  if (split.splits > 1) at.slot = y;
  if (p.group_tiles != nullptr) {
    const GroupTile group = p.group_tiles[tile];
    at.row = group.first;
    at.rows = group.rows;
    at.b_entry = group.group;
    if (group.rows == 0) at.entry = kAbsent;
  }
  return at;
}

// For all threads of a block. The grid's x counts M x N tiles; its y, from `first` on, the entries of the batch and
// their parts. The answer stays in shared memory: registers are for sums.
template <int M, int N>
__device__ inline const Place& find_place(const Product& p, const Split& split, uint32_t first) {
  __shared__ Place place;
  if (threadIdx.x == 0) place = compute_place<M, N>(p, split, first);
  __syncthreads();
  return place;
}

// launch_tiles<M, N>(l, kernel, ...) launches kernel(fault, p, split, first) for all tiles.
template <int M, int N>
inline void launch_tiles(Launch& l, void (*kernel)(Fault, Product, Split, uint32_t), int threads, size_t shared,
                         const Product& p, const Split& split) {
  const uint32_t high = p.group_tiles != nullptr ? p.group_tile_count : ceil_div(p.m, M);
  const uint32_t entries = p.parts != nullptr ? p.part_count : p.batch * split.splits;
  for (uint32_t first = 0; first < entries; first += kMostEntries) {
    const uint32_t left = entries - first;
    launch(l, kernel, dim3(high * ceil_div(p.n, N), left < kMostEntries ? left : kMostEntries), threads, shared,
           l.fault(), p, split, first);
    if (left <= kMostEntries) break;
  }
}

}  // namespace sweetspot::cuda
