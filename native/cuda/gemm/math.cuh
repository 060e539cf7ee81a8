// How a warp multiplies two tiles that lie in shared memory as float32. One struct a precision; they share the way
// tiles are stored, and each says how lanes map to elements of its piece of the result.
//
// A tile is K-contiguous (row of the result times k, `KMajor`) or row-contiguous (k times row), as in global memory,
// and padded so that the fragment loads below meet no bank conflicts.
#pragma once
#include "cuda/gemm/store.cuh"

namespace sweetspot::cuda {

constexpr int kDepth = 32;  // k per tile

// Where element (row, k) of a tile lies.
template <bool KMajor_, int Rows, int Pad>
struct TileLayout {
  static constexpr bool kKMajor = KMajor_;
  static constexpr int kInner = kKMajor ? kDepth : Rows;
  static constexpr int kOuter = kKMajor ? Rows : kDepth;
  static constexpr int kStride = kInner + (kKMajor ? Pad : 4);
  static constexpr int kFloats = kOuter * kStride;
  __device__ static constexpr int at(int row, int k) { return kKMajor ? row * kStride + k : k * kStride + row; }
};

// Plain float32 multiply-adds. A warp owns WarpM x WarpN, its lanes are 4 x 8. Loads are 16 bytes wide: four k of a
// row, or four rows of a k; so which rows a lane owns depends on the layout.
template <class A, class B, int WarpM, int WarpN>
struct Simt {
  static constexpr int kRows = WarpM / 4, kCols = WarpN / 8;
  float sum[kRows][kCols] = {};

  __device__ void multiply(const float* a, const float* b, int row0, int col0) {
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int k = 0; k < kDepth; k += 4) {
      float x[4][kRows], y[4][kCols];
      load<A, 4, kRows>(x, a, row0, lane / 8, k);
      load<B, 8, kCols>(y, b, col0, lane % 8, k);
#pragma unroll
      for (int d = 0; d < 4; d++)
#pragma unroll
        for (int i = 0; i < kRows; i++)
#pragma unroll
          for (int j = 0; j < kCols; j++) sum[i][j] = fmaf(x[d][i], y[d][j], sum[i][j]);
    }
  }

  __device__ void store(const Product& p, const Split& split, const Place& at, int row0, int col0) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kRows; i++)
#pragma unroll
      for (int j = 0; j < kCols; j++)
        cuda::store(p, split, at, row0 + owned<A, 4>(lane / 8, i), col0 + owned<B, 8>(lane % 8, j), sum[i][j]);
  }

 private:
  template <class Layout, int Lanes>
  __device__ static int owned(int lane, int i) {
    return Layout::kKMajor ? lane + Lanes * i : 4 * lane + i % 4 + 4 * Lanes * (i / 4);
  }
  template <class Layout, int Lanes, int Count>
  __device__ static void load(float (&x)[4][Count], const float* tile, int first, int lane, int k) {
    if constexpr (Layout::kKMajor) {
#pragma unroll
      for (int i = 0; i < Count; i++) {
        const float4 four =
            *reinterpret_cast<const float4*>(tile + Layout::at(first + owned<Layout, Lanes>(lane, i), k));
        x[0][i] = four.x, x[1][i] = four.y, x[2][i] = four.z, x[3][i] = four.w;
      }
    } else {
#pragma unroll
      for (int d = 0; d < 4; d++)
#pragma unroll
        for (int i = 0; i < Count; i += 4) {
          const int row = first + owned<Layout, Lanes>(lane, i);
          const float4 four = *reinterpret_cast<const float4*>(tile + Layout::at(row, k + d));
          x[d][i] = four.x, x[d][i + 1] = four.y, x[d][i + 2] = four.z, x[d][i + 3] = four.w;
        }
    }
  }
};

// Tensor cores. Lane (g = lane / 4, t = lane % 4) holds rows g and g + 8 of A, column g of B. The order of k within an
// instruction is free as long as A and B agree, so a lane takes neighbours 2t and 2t + 1, which one load brings.
template <class Layout>
__device__ inline float2 neighbours(const float* tile, int row, int k) {
  if constexpr (Layout::kKMajor) return *reinterpret_cast<const float2*>(tile + Layout::at(row, k));
  return {tile[Layout::at(row, k)], tile[Layout::at(row, k + 1)]};
}

template <class A, class B, int WarpM, int WarpN>
struct Tf32 {
  static constexpr int kRows = WarpM / 16, kCols = WarpN / 8;
  float sum[kRows][kCols][4] = {};

  __device__ void multiply(const float* a, const float* b, int row0, int col0) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < kDepth; k += 8) {
      uint32_t low[kRows][2], high[kRows][2], right[kCols][2];
#pragma unroll
      for (int i = 0; i < kRows; i++) {
        load<A>(low[i], a, row0 + 16 * i + g, k + 2 * t);
        load<A>(high[i], a, row0 + 16 * i + g + 8, k + 2 * t);
      }
#pragma unroll
      for (int j = 0; j < kCols; j++) load<B>(right[j], b, col0 + 8 * j + g, k + 2 * t);
#pragma unroll
      for (int i = 0; i < kRows; i++)
#pragma unroll
        for (int j = 0; j < kCols; j++) mma_tf32(sum[i][j], {low[i][0], high[i][0], low[i][1], high[i][1]}, right[j]);
    }
  }

  __device__ void store(const Product& p, const Split& split, const Place& at, int row0, int col0) const {
    store_fragments(p, split, at, row0, col0, sum);
  }

 private:
  template <class Layout>
  __device__ static void load(uint32_t (&half)[2], const float* tile, int row, int k) {
    const float2 x = neighbours<Layout>(tile, row, k);
    half[0] = round_tf32(x.x);
    half[1] = round_tf32(x.y);
  }
};

}  // namespace sweetspot::cuda
