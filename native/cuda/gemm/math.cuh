// How a warp multiplies two tiles that lie in shared memory as float32. One struct a precision; they share the way
// tiles are stored, and each says how lanes map to elements of its piece of the result.
//
// A tile is K-contiguous (row of the result times k, `KMajor`) or row-contiguous (k times row), as in global memory,
// and padded so that the fragment loads below meet no bank conflicts.
#pragma once
#include "cuda/kernel.cuh"
#include "cuda/ptx.cuh"

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

  // body(row, col, value) for every element of this lane, relative to the warp's piece.
  template <class Body>
  __device__ void each(Body body) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kRows; i++)
#pragma unroll
      for (int j = 0; j < kCols; j++) body(owned<A, 4>(lane / 8, i), owned<B, 8>(lane % 8, j), sum[i][j]);
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

struct Tf32 {
  static constexpr int kStep = 8;
  template <class Layout>
  __device__ static void load(uint32_t (&half)[2], const float* tile, int row, int k, int t) {
    const float2 x = neighbours<Layout>(tile, row, k + 2 * t);
    half[0] = round_tf32(x.x);
    half[1] = round_tf32(x.y);
  }
  __device__ static void mma(float (&c)[4], const uint32_t (&low)[2], const uint32_t (&high)[2],
                             const uint32_t (&b)[2]) {
    mma_tf32(c, {low[0], high[0], low[1], high[1]}, b);
  }
};

struct Bf16 {
  static constexpr int kStep = 16;
  __device__ static uint32_t pack(float2 x) {
    const __nv_bfloat162 y = __float22bfloat162_rn(x);
    return *reinterpret_cast<const uint32_t*>(&y);
  }
  template <class Layout>
  __device__ static void load(uint32_t (&half)[2], const float* tile, int row, int k, int t) {
    half[0] = pack(neighbours<Layout>(tile, row, k + 2 * t));
    half[1] = pack(neighbours<Layout>(tile, row, k + 8 + 2 * t));
  }
  __device__ static void mma(float (&c)[4], const uint32_t (&low)[2], const uint32_t (&high)[2],
                             const uint32_t (&b)[2]) {
    mma_bf16(c, {low[0], high[0], low[1], high[1]}, b);
  }
};

template <class Type, class A, class B, int WarpM, int WarpN>
struct TensorCore {
  static constexpr int kRows = WarpM / 16, kCols = WarpN / 8;
  float sum[kRows][kCols][4] = {};

  __device__ void multiply(const float* a, const float* b, int row0, int col0) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < kDepth; k += Type::kStep) {
      uint32_t low[kRows][2], high[kRows][2], right[kCols][2];
#pragma unroll
      for (int i = 0; i < kRows; i++) {
        Type::template load<A>(low[i], a, row0 + 16 * i + g, k, t);
        Type::template load<A>(high[i], a, row0 + 16 * i + g + 8, k, t);
      }
#pragma unroll
      for (int j = 0; j < kCols; j++) Type::template load<B>(right[j], b, col0 + 8 * j + g, k, t);
#pragma unroll
      for (int i = 0; i < kRows; i++)
#pragma unroll
        for (int j = 0; j < kCols; j++) Type::mma(sum[i][j], low[i], high[i], right[j]);
    }
  }

  template <class Body>
  __device__ void each(Body body) const {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int i = 0; i < kRows; i++)
#pragma unroll
      for (int j = 0; j < kCols; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) body(16 * i + g + e / 2 * 8, 8 * j + 2 * t + e % 2, sum[i][j][e]);
  }
};

}  // namespace sweetspot::cuda
