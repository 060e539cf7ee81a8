// Tiles of bf16 factors: from global memory by copies of 16 bytes into a ring of stages in shared memory, from there by
// ldmatrix into fragments, which mma.sync multiplies. Fragments of one step of k are loaded while the step before is
// multiplied, across stages too.
//
// A tile is K-contiguous (line: a row of the result) or row-contiguous (line: one k), as in global memory; ldmatrix
// transposes the latter. Rows are aligned to 16 bytes; what lies outside the factors is 0.
#pragma once
#include "cuda/gemm/place.cuh"

namespace sweetspot::cuda {

constexpr int kHalfDepth = 32;  // k of a stage
constexpr int kHalfStep = 16;   // k of an instruction

// Shape of a tile, how its warps share it, and how many such blocks are meant to be on a multiprocessor at once.
template <int M_, int N_, int WarpsM_, int WarpsN_, int Stages_, int Blocks_>
struct HalfShape {
  static constexpr int kM = M_, kN = N_, kWarpsN = WarpsN_, kStages = Stages_, kBlocks = Blocks_;
  static constexpr int kThreads = 32 * WarpsM_ * WarpsN_;
  static constexpr int kWarpM = M_ / WarpsM_, kWarpN = N_ / WarpsN_;
  static constexpr int kRows = kWarpM / 16, kCols = kWarpN / 8;  // fragments of a warp
};

template <bool KMajor_, int Rows>
struct HalfLayout {
  static constexpr bool kKMajor = KMajor_;
  static constexpr int kInner = kKMajor ? kHalfDepth : Rows;
  static constexpr int kLines = kKMajor ? Rows : kHalfDepth;
  static constexpr int kPieces = kInner / 8;  // of 16 bytes in a line
  static constexpr int kHalves = kInner * kLines;
  // Eight pieces of lines that follow each other, which ldmatrix reads at once, lie in different banks. Two
  // K-contiguous lines fill all banks, of row-contiguous ones each does.
  __device__ static constexpr int at(int line, int piece) {
    return line * kInner + (piece ^ (kKMajor ? line / 2 % 4 : line % 8)) * 8;
  }
};

// What one thread copies of a factor's tiles: the same piece of every kPass-th line.
template <class Layout, int Threads>
struct HalfFeed {
  static constexpr int kPass = Threads / Layout::kPieces;
  static_assert(Threads % Layout::kPieces == 0 && Layout::kLines % kPass == 0 && kPass % 8 == 0);

  const bf16* from;
  size_t pass;     // from a line to the next one
  int to;          // within the tile
  int rows, left;  // how many rows and k there are from the thread's own on

  __device__ HalfFeed(const bf16* factor, size_t ld, uint32_t all_rows, uint32_t depth) {
    const int line = threadIdx.x / Layout::kPieces, piece = threadIdx.x % Layout::kPieces;
    from = factor + line * ld + 8 * piece;
    pass = kPass * ld;
    to = Layout::at(line, piece);
    rows = static_cast<int>(all_rows) - (Layout::kKMajor ? line : 8 * piece);
    left = static_cast<int>(depth) - (Layout::kKMajor ? 8 * piece : line);
  }

  // Begins to copy the next tile. Where nothing is there, zeros are written and the address is not used.
  __device__ void fetch(bf16* tile) {
    const int lines = Layout::kKMajor ? rows : left;
    const int bytes = 2 * min(max(Layout::kKMajor ? left : rows, 0), 8);
    const bf16* line = from;
#pragma unroll
    for (int i = 0; i < Layout::kLines; i += kPass) {
      copy_async_16(tile + to + i * Layout::kInner, line, i < lines ? bytes : 0);
      line += pass;
    }
    left -= kHalfDepth;
    from = Layout::kKMajor ? from + kHalfDepth : line;
  }
};

// Factors of one step of a warp.
template <int Rows, int Cols>
struct HalfFragments {
  uint32_t a[Rows][4], b[Cols][2];

  // 16 x 16 of a tile from (row, k) on; ldmatrix brings four 8 x 8, the lower rows first where RowsFirst, else the
  // lower k.
  template <class Layout, bool RowsFirst>
  __device__ static void load_square(uint32_t (&r)[4], const bf16* tile, int row, int k) {
    const int lane = threadIdx.x % 32, line = lane % 8;
    const int eight_rows = RowsFirst ? lane / 8 % 2 : lane / 16, eight_k = RowsFirst ? lane / 16 : lane / 8 % 2;
    if constexpr (Layout::kKMajor)
      load_matrices(r, tile + Layout::at(row + 8 * eight_rows + line, k / 8 + eight_k));
    else
      load_matrices_transposed(r, tile + Layout::at(k + 8 * eight_k + line, row / 8 + eight_rows));
  }

  template <class A, class B>
  __device__ void load(const bf16* stage, int row0, int col0, int k) {
#pragma unroll
    for (int i = 0; i < Rows; i++) load_square<A, true>(a[i], stage, row0 + 16 * i, k);
#pragma unroll
    for (int j = 0; j < Cols; j += 2) {
      uint32_t r[4];
      load_square<B, false>(r, stage + A::kHalves, col0 + 8 * j, k);
      b[j][0] = r[0], b[j][1] = r[1], b[j + 1][0] = r[2], b[j + 1][1] = r[3];
    }
  }

  __device__ void multiply(float (&sum)[Rows][Cols][4]) const {
#pragma unroll
    for (int i = 0; i < Rows; i++)
#pragma unroll
      for (int j = 0; j < Cols; j++) mma_bf16(sum[i][j], a[i], b[j]);
  }
};

// sum += the tile at `at`, in ascending k.
template <class Shape, class A, class B>
__device__ inline void multiply_halves(const Product& p, const Place& at, int row0, int col0,
                                       float (&sum)[Shape::kRows][Shape::kCols][4]) {
  constexpr int kStage = A::kHalves + B::kHalves, kSteps = kHalfDepth / kHalfStep;
  auto* stages = reinterpret_cast<bf16*>(dynamic_shared());
  HalfFeed<A, Shape::kThreads> feed_a(p.a_half + at.a_offset(p), p.lda, at.rows, at.depth);
  HalfFeed<B, Shape::kThreads> feed_b(p.b_half + at.b_offset(p), p.ldb, at.cols(p), at.depth);
  const uint32_t tiles = ceil_div(at.depth, kHalfDepth);
  const auto stage = [&](uint32_t tile) { return stages + tile % Shape::kStages * kStage; };
  const auto fetch = [&](uint32_t tile) {
    if (tile < tiles) {
      feed_a.fetch(stage(tile));
      feed_b.fetch(stage(tile) + A::kHalves);
    }
    copy_async_commit();
  };
  // The oldest tile under way is there for all, and all have read what they need of the one before it.
  const auto arrive = [&] {
    copy_async_wait<Shape::kStages - 2>();
    __syncthreads();
  };

#pragma unroll
  for (uint32_t tile = 0; tile < Shape::kStages - 1; tile++) fetch(tile);
  HalfFragments<Shape::kRows, Shape::kCols> fragments[2];
  arrive();
  fragments[0].template load<A, B>(stage(0), row0, col0, 0);
#pragma unroll 1
  for (uint32_t tile = 0; tile < tiles; tile++) {
    fetch(tile + Shape::kStages - 1);
#pragma unroll
    for (int step = 0; step < kSteps; step++) {
      // Behind the last tile this loads what nobody multiplies.
      if (step == kSteps - 1) arrive();
      fragments[(step + 1) % 2].template load<A, B>(stage(tile + (step + 1) / kSteps), row0, col0,
                                                    (step + 1) % kSteps * kHalfStep);
      fragments[step % 2].multiply(sum);
    }
  }
}

}  // namespace sweetspot::cuda
