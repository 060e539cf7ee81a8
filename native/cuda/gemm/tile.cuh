// One block computes one tile of a product of float32 factors. Tiles of both pass through shared memory in a ring of
// stages filled by asynchronous copies; gemm/math.cuh multiplies them. Which tile, and where its factors lie, is up to
// the caller (gemm/launch.cuh).
#pragma once
#include "cuda/gemm/math.cuh"

namespace sweetspot::cuda {

// Shape of a tile: Warps = WarpsM x WarpsN.
template <int BlockM_, int BlockN_, int WarpsM_, int WarpsN_, int Stages_>
struct TileShape {
  static constexpr int kM = BlockM_, kN = BlockN_, kWarpsM = WarpsM_, kWarpsN = WarpsN_, kStages = Stages_;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kBlocks = 512 / kThreads;  // at once on a multiprocessor: 16 warps of at most 128 registers
};

// The tile's part of the factors: pointers to its first row, column and k.
struct Factors {
  const float* a;
  const float* b;
  size_t lda, ldb;
  uint32_t rows, cols, depth;  // what is left inside the matrices, may exceed the tile
};

__device__ inline void copy_async(float* shared, const float* global, int bytes, bool wide) {
  if (wide)
    copy_async_16(shared, global, bytes);
  else
    copy_async_4(shared, global, bytes);
}

// Copies Outer x Inner floats, `outer` x `inner` of which exist; the others become 0. Wide: 16 bytes a copy.
template <int Outer, int Inner, int Stride, int Threads, int Width>
__device__ inline void load_tile(float* shared, const float* global, size_t ld, int outer, int inner) {
  constexpr int kPieces = Outer * Inner / Width;
  static_assert(kPieces % Threads == 0);
#pragma unroll 2
  for (int p = 0; p < kPieces / Threads; p++) {
    const int piece = threadIdx.x + p * Threads;
    const int row = piece / (Inner / Width), column = piece % (Inner / Width) * Width;
    const int left = row < outer ? min(max(inner - column, 0), Width) : 0;
    // Nothing is read through the pointer when nothing is left, but it must be one.
    const float* source = left > 0 ? global + row * ld + column : global;
    copy_async(shared + row * Stride + column, source, left * 4, Width == 4);
  }
}

template <class Layout, int Threads>
__device__ inline void load_factor(float* shared, const float* global, size_t ld, uint32_t rows, uint32_t depth,
                                   bool wide) {
  const int outer = static_cast<int>(min(Layout::kKMajor ? rows : depth, static_cast<uint32_t>(Layout::kOuter)));
  const int inner = static_cast<int>(min(Layout::kKMajor ? depth : rows, static_cast<uint32_t>(Layout::kInner)));
  if (wide) {
    load_tile<Layout::kOuter, Layout::kInner, Layout::kStride, Threads, 4>(shared, global, ld, outer, inner);
  } else {
    load_tile<Layout::kOuter, Layout::kInner, Layout::kStride, Threads, 1>(shared, global, ld, outer, inner);
  }
}

__device__ inline bool wide(const float* pointer, size_t ld) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0 && ld % 4 == 0;
}

// Sums in ascending k; (row0, col0) is the warp's part of the tile.
template <class Shape, class LayoutA, class LayoutB, class Math>
__device__ inline void multiply_tile(const Factors& f, Math& math, int row0, int col0) {
  auto* stages = reinterpret_cast<float*>(dynamic_shared());
  constexpr int kStage = LayoutA::kFloats + LayoutB::kFloats;
  const bool wide_a = wide(f.a, f.lda), wide_b = wide(f.b, f.ldb);
  const int tiles = static_cast<int>(ceil_div(f.depth, kDepth));
  auto fetch = [&](int tile) {
    if (tile < tiles) {
      float* stage = stages + tile % Shape::kStages * kStage;
      const size_t k = static_cast<size_t>(tile) * kDepth;
      const uint32_t depth = f.depth - static_cast<uint32_t>(k);
      const float* a = f.a + (LayoutA::kKMajor ? k : k * f.lda);
      const float* b = f.b + (LayoutB::kKMajor ? k : k * f.ldb);
      load_factor<LayoutA, Shape::kThreads>(stage, a, f.lda, f.rows, depth, wide_a);
      load_factor<LayoutB, Shape::kThreads>(stage + LayoutA::kFloats, b, f.ldb, f.cols, depth, wide_b);
    }
    copy_async_commit();
  };

#pragma unroll
  for (int tile = 0; tile < Shape::kStages - 1; tile++) fetch(tile);
#pragma unroll 1
  for (int tile = 0; tile < tiles; tile++) {
    copy_async_wait<Shape::kStages - 2>();
    __syncthreads();  // this tile is there for all, and all are done with the one before, which is overwritten next
    fetch(tile + Shape::kStages - 1);
    const float* stage = stages + tile % Shape::kStages * kStage;
    math.multiply(stage, stage + LayoutA::kFloats, row0, col0);
  }
}

}  // namespace sweetspot::cuda
