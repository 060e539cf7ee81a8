// The two products that all attention kernels are made of, on tiles of 64 x 64 pairs held by 256 threads. A tile has
// rows of A (what the block makes output for: queries, or keys for dk and dv) and rows of B (what it walks over).
//   score       s (64, 64)       = A (64, dim) transpose(B (64, dim))     each thread gets a 4 x 4 block
//   accumulate  sum (64, 16 C)  += p (64, 64) X (64, 16 C)                X: rows that belong to B, some columns
// Any width of a head works: score walks over it, and a block makes 16 C columns of the output; wider heads have
// several blocks, which find the same scores again. Factors are float32, or bf16 of heads that the tensor core kernels
// do not know. Thread (y, x) of 16 x 16 owns the rows 4 y ..; numbers go through shared memory transposed, so that it
// reads four at a time.
#pragma once
#include "cuda/kernels/attention_layout.cuh"

namespace sweetspot::cuda {

constexpr uint32_t kPairs = 64, kStep = 32, kPitch = kPairs + 4;

__device__ inline float number(float x) {
  return x;
}
__device__ inline float number(bf16 x) {
  return __bfloat162float(x);
}
// What a product with factors of type T makes of a factor that a kernel has computed.
template <class T>
__device__ inline float as_factor(float x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else
    return __bfloat162float(__float2bfloat16_rn(x));
}

// Rows of a matrix in device memory; those from `count` on are zeros.
template <class T>
struct Rows {
  const T* data;
  size_t stride;
  uint32_t count;
};

template <int C>
struct alignas(16) Tile {
  static constexpr uint32_t width = 16 * C;
  union {
    float side[2][kStep][kPitch];  // steps of A and B, transposed
    float right[kStep][width];     // half of X
  };
  float left[kPairs][kPitch];  // p, transposed: one line a row of B
};

__device__ inline uint32_t thread_y() {
  return threadIdx.x / 16;
}
__device__ inline uint32_t thread_x() {
  return threadIdx.x % 16;
}

// Which of the 16 C columns thread x owns as its number c: runs of up to four neighbours.
template <int C>
__device__ inline uint32_t owned_column(uint32_t c) {
  if constexpr (C == 2)
    return thread_x() * 2 + c;
  else
    return c / 4 * 64 + thread_x() * 4 + c % 4;
}

// target[d][row] = rows[row][begin + d]. Eight lanes read neighbours of a row and four rows share a warp: then neither
// the reads nor the transposed writes get in each other's way.
template <class T>
__device__ inline void stage_transposed(Rows<T> rows, uint32_t begin, uint32_t dim, float (*target)[kPitch]) {
  const uint32_t lane = threadIdx.x % 8, line = threadIdx.x / 8;
#pragma unroll
  for (uint32_t k = 0; k < 8; k++) {
    const uint32_t row = line + k % 2 * 32, d = lane + k / 2 * 8;
    target[d][row] = row < rows.count && begin + d < dim ? number(rows.data[row * rows.stride + begin + d]) : 0.0f;
  }
}

// s[i][j] = A row 4 y + i times B row 4 x + j.
template <int C, class T>
__device__ inline void score(Tile<C>& tile, Rows<T> a, Rows<T> b, uint32_t dim, float (&s)[4][4]) {
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) s[i][j] = 0;
  for (uint32_t begin = 0; begin < dim; begin += kStep) {
    __syncthreads();
    stage_transposed(a, begin, dim, tile.side[0]);
    stage_transposed(b, begin, dim, tile.side[1]);
    __syncthreads();
#pragma unroll 8
    for (uint32_t d = 0; d < kStep; d++) {
      const float4 u = *reinterpret_cast<const float4*>(&tile.side[0][d][4 * thread_y()]);
      const float4 v = *reinterpret_cast<const float4*>(&tile.side[1][d][4 * thread_x()]);
      const float us[4] = {u.x, u.y, u.z, u.w}, vs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) s[i][j] = fmaf(us[i], vs[j], s[i][j]);
    }
  }
}

// Makes p, in the places of score's s, the left side of the next accumulate.
template <class T, int C>
__device__ inline void put_left(Tile<C>& tile, const float (&p)[4][4]) {
  __syncthreads();
#pragma unroll
  for (int j = 0; j < 4; j++)
    *reinterpret_cast<float4*>(&tile.left[4 * thread_x() + j][4 * thread_y()]) =
        make_float4(as_factor<T>(p[0][j]), as_factor<T>(p[1][j]), as_factor<T>(p[2][j]), as_factor<T>(p[3][j]));
}

// sums[i][c] += p times X in row 4 y + i, column owned_column(c), where column 0 of X is `begin` of `dim`. With
// `masked` only pairs for which sees(row of A, row of B) is true are multiplied: 0 times infinity would be NaN.
template <int C, class T, class Sees>
__device__ inline void accumulate(Tile<C>& tile, Rows<T> x, uint32_t begin, uint32_t dim, float (&sums)[4][C],
                                  bool masked, Sees sees) {
  constexpr uint32_t width = Tile<C>::width;
  for (uint32_t half = 0; half < kPairs; half += kStep) {
    if (half >= x.count) return;
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < kStep * width; e += kThreads) {
      const uint32_t row = half + e / width, column = begin + e % width;
      tile.right[e / width][e % width] = row < x.count && column < dim ? number(x.data[row * x.stride + column]) : 0.0f;
    }
    __syncthreads();
    const auto step = [&](uint32_t b, auto keep) {
      const float4 u = *reinterpret_cast<const float4*>(&tile.left[half + b][4 * thread_y()]);
      const float us[4] = {u.x, u.y, u.z, u.w};
      float vs[C];
#pragma unroll
      for (int c = 0; c < C; c++) vs[c] = tile.right[b][owned_column<C>(c)];
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (keep(i)) {
#pragma unroll
          for (int c = 0; c < C; c++) sums[i][c] = fmaf(us[i], vs[c], sums[i][c]);
        }
    };
    if (masked) {
      for (uint32_t b = 0; b < kStep; b++) step(b, [&](uint32_t i) { return sees(4 * thread_y() + i, half + b); });
    } else {
#pragma unroll 8
      for (uint32_t b = 0; b < kStep; b++) step(b, [](uint32_t) { return true; });
    }
  }
}

// y[at + row * stride + column] = factor * sums, for rows below `count` and columns begin .. below dim.
template <int C>
__device__ inline void store_rows(const float (&sums)[4][C], float factor, Out y, size_t at, size_t stride,
                                  uint32_t count, uint32_t begin, uint32_t dim) {
#pragma unroll
  for (uint32_t i = 0; i < 4; i++) {
    const uint32_t row = 4 * thread_y() + i;
#pragma unroll
    for (uint32_t c = 0; c < C; c++) {
      const uint32_t column = begin + owned_column<C>(c);
      if (row < count && column < dim) y.put(at + row * stride + column, sums[i][c] * factor);
    }
  }
}

// The C that suits a head of this width. Narrow heads of bf16 are left to the tensor cores.
template <class T, class F>
void by_head(uint32_t dim, F&& pick) {
  if constexpr (std::is_same_v<T, float>) {
    if (dim <= 32) return pick(std::integral_constant<int, 2>{});
    if (dim <= 64) return pick(std::integral_constant<int, 4>{});
  }
  pick(std::integral_constant<int, 8>{});
}

}  // namespace sweetspot::cuda
