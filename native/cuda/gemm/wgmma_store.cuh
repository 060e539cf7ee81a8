// How the sums that a warp holds after its products become 16 rows of the result.
#pragma once
#include "cuda/gemm/product.cuh"
#include "cuda/ptx.cuh"

namespace sweetspot::cuda {

// Maps of the result, in boxes of 16 rows; `boxes` is false where the result does not lie as a map wants it.
struct WgmmaOutput {
  CUtensorMap f32, half;
  bool boxes = false;
};

// Where a tile goes: the result, or the partial products of its part. `layer` is its place in a map, `at` that of row 0
// and column 0 in memory.
struct WgmmaTarget {
  Out c;
  size_t at, ld;
  uint32_t layer;
  const float* bias;
  const float* add;
  float alpha;
};

// Shared memory of a warp: two boxes of 128 bytes by 16 rows, one filled while the other is stored. Pieces of 16 bytes
// lie swizzled, as the copy engine reads them.
constexpr int kBoxBytes = 16 * 128, kTurnBytes = 2 * kBoxBytes;

// Adds what `from` has for the columns of a lane, `col` and the next of each eight. Columns outside are not stored:
// they take numbers from inside, so that no load waits for a branch.
template <int Columns>
__device__ inline void add_row(float (&sum)[Columns / 2], int first, int last, const float* from, uint32_t col,
                               uint32_t n, bool pairs) {
#pragma unroll
  for (int j = 0; j < Columns / 8; j++) {
    // At most this many loads are under way, or registers run out.
    if (j % (pairs ? 16 : 8) == 0) __syncwarp();
    const uint32_t at = col + 8 * j;
    const float2 x = pairs ? *reinterpret_cast<const float2*>(from + min(at, n - 2))
                           : make_float2(from[min(at, n - 1)], from[min(at + 1, n - 1)]);
#pragma unroll
    for (int r = first; r <= last; r++) sum[4 * j + 2 * r] += x.x, sum[4 * j + 2 * r + 1] += x.y;
  }
}

// Lanes hold rows `row` and 8 more.
template <int Columns>
__device__ inline void finish_sums(float (&sum)[Columns / 2], const WgmmaTarget& to, uint32_t row, uint32_t end,
                                   uint32_t col, uint32_t n) {
  if (to.alpha != 1) {
#pragma unroll
    for (int i = 0; i < Columns / 2; i++) sum[i] *= to.alpha;
  }
  const bool even = n % 2 == 0, pairs = even && to.ld % 2 == 0 && to.at % 2 == 0;
  const auto both = [&](int first, int last, const float* from, bool pairs) {
    if (pairs)
      add_row<Columns>(sum, first, last, from, col, n, true);
    else
      add_row<Columns>(sum, first, last, from, col, n, false);
  };
  if (to.bias != nullptr) both(0, 1, to.bias, even);
  if (to.add != nullptr) {
    both(0, 0, to.add + to.at + min(row, end - 1) * to.ld, pairs);
    both(1, 1, to.add + to.at + min(row + 8, end - 1) * to.ld, pairs);
  }
}

// 32 columns, the `piece`-th of the tile, into a box. Lanes of odd rows take their eights in another order: else two of
// 16 lanes would meet in each bank.
template <int Columns>
__device__ inline void fill_box_f32(uint8_t* box, const float (&sum)[Columns / 2], int piece) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const bool odd = g % 2 != 0;
#pragma unroll
  for (int j = 0; j < 4; j++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int even_rows = 4 * (4 * piece + j) + 2 * r, odd_rows = 4 * (4 * piece + (j ^ 2)) + 2 * r;
      const int place = 2 * j ^ t / 2 ^ (odd ? 4 : 0) ^ g;
      *reinterpret_cast<float2*>(box + (g + 8 * r) * 128 + place * 16 + t % 2 * 8) = {
          odd ? sum[odd_rows] : sum[even_rows], odd ? sum[odd_rows + 1] : sum[even_rows + 1]};
    }
}

// 64 columns.
template <int Columns>
__device__ inline void fill_box_half(uint8_t* box, const float (&sum)[Columns / 2], int piece) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int j = 0; j < 8; j++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int e = 4 * (8 * piece + j) + 2 * r;
      *reinterpret_cast<__nv_bfloat162*>(box + (g + 8 * r) * 128 + (j ^ g) * 16 + t * 4) =
          __floats2bfloat162_rn(sum[e], sum[e + 1]);
    }
}

// Boxes of `Width` columns, each filled by fill(box, piece) and stored by the copy engine.
template <int Columns, int Width, class Fill>
__device__ inline void store_boxes(uint8_t* turn, const CUtensorMap* map, uint32_t col, uint32_t row, uint32_t layer,
                                   uint32_t n, Fill fill) {
  static_assert(Columns / Width % 2 == 0, "the first box follows a second one");
  const bool first = threadIdx.x % 32 == 0;
#pragma unroll
  for (int piece = 0; piece < Columns / Width; piece++) {
    uint8_t* box = turn + piece % 2 * kBoxBytes;
    if (first) store_box_wait<1>();
    __syncwarp();
    fill(box, piece);
    fence_async();
    __syncwarp();
    if (!first) continue;
    if (col + Width * piece < n)
      store_box(map, static_cast<int>(col) + Width * piece, static_cast<int>(row), static_cast<int>(layer), box);
    store_box_commit();
  }
}

// The same by the lanes, wherever the result lies.
template <int Columns>
__device__ inline void store_lines(uint8_t* turn, const float (&sum)[Columns / 2], const WgmmaTarget& to, uint32_t row,
                                   uint32_t end, uint32_t col, uint32_t n) {
  const int lane = threadIdx.x % 32;
  const bool aligned = to.ld % 4 == 0 && to.at % 4 == 0;
  if (lane == 0) store_box_wait<0>();
#pragma unroll
  for (int piece = 0; piece < Columns / 32; piece++) {
    __syncwarp();
    fill_box_f32<Columns>(turn, sum, piece);
    __syncwarp();
    const uint32_t at_col = col + 32 * piece + lane % 8 * 4;
#pragma unroll 1
    for (int r = lane / 8; r < 16; r += 4) {
      if (row + r >= end || at_col >= n) continue;
      const float4 x = *reinterpret_cast<const float4*>(turn + r * 128 + (lane % 8 ^ r % 8) * 16);
      const size_t at = to.at + (row + r) * to.ld + at_col;
      if (aligned && at_col + 4 <= n) {
        to.c.put4(at, x);
      } else {
        const float four[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int i = 0; i < 4; i++)
          if (at_col + i < n) to.c.put(at + i, four[i]);
      }
    }
  }
}

// Rows `row` to row + 15 as far as they lie before `end`, of m; columns `col` on, of n.
template <int Columns>
__device__ inline void store_sums(uint8_t* turn, float (&sum)[Columns / 2], const WgmmaOutput& output,
                                  const WgmmaTarget& to, uint32_t row, uint32_t end, uint32_t m, uint32_t col,
                                  uint32_t n) {
  if (row >= end) return;
  const int lane = threadIdx.x % 32;
  finish_sums<Columns>(sum, to, row + lane / 4, end, col + lane % 4 * 2, n);
  // A map cuts off what lies outside of the matrix, but knows nothing of groups.
  if (!output.boxes || (row + 16 > end && end < m)) return store_lines<Columns>(turn, sum, to, row, end, col, n);
  if (to.c.f32 != nullptr)
    store_boxes<Columns, 32>(turn, &output.f32, col, row, to.layer, n,
                             [&](uint8_t* box, int piece) { fill_box_f32<Columns>(box, sum, piece); });
  if (to.c.half != nullptr)
    store_boxes<Columns, 64>(turn, &output.half, col, row, to.layer, n,
                             [&](uint8_t* box, int piece) { fill_box_half<Columns>(box, sum, piece); });
}

}  // namespace sweetspot::cuda
