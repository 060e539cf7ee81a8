// Products of a bank on tensor cores, as exact as multiply-adds in float32. A float32 number is the sum of three
// numbers in bf16, whose products are exact; of two such numbers the six largest products are kept, the rest is below
// 2^-23 of them at most. Sums are float32, small products first. With 32 groups of 32 slices there are so many products
// to a byte that float32 units would be as busy as memory. Each number of a bank is read once for all groups or slices:
// the small factor comes from shared memory, the large one stays in registers.
//
// An infinity would meet its own small parts, or zeros, and become NaN: sums that are not finite are made again by
// multiply-adds.
#pragma once
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {

constexpr uint32_t kTile = 256;
// Terms of a product that a warp has in registers: rows of the large factor.
constexpr uint32_t kTerms = 32;

// Two numbers as pairs of bf16: the sum of the three is the number.
__device__ inline void split(float a, float b, uint32_t (&parts)[3]) {
#pragma unroll
  for (int p = 0; p < 3; p++) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
    parts[p] = *reinterpret_cast<const uint32_t*>(&pair);
    a -= __uint_as_float(parts[p] << 16);
    b -= __uint_as_float(parts[p] & 0xffff0000u);
  }
}

// The products of parts that are kept, from small to large. A factor kept in bf16 is one part.
template <int LeftParts, int RightParts, class F>
__device__ inline void each_product(F&& product) {
#pragma unroll
  for (int order = 2; order >= 0; order--)
#pragma unroll
    for (int left = LeftParts - 1; left >= 0; left--)
      if (order >= left && order - left < RightParts) product(left, order - left);
}

__device__ inline bool is_finite(const float (&x)[4]) {
  return isfinite(x[0]) && isfinite(x[1]) && isfinite(x[2]) && isfinite(x[3]);
}

// The small factor of a product, rows by terms, and its parts in the order in which a warp multiplies them: a block of
// 16 x 16 is three parts of 32 lanes.
struct Coefficients {
  const float* c;
  size_t across, along;  // between rows and between terms
  uint32_t rows, terms;

  static constexpr size_t kBlockBytes = 3 * 32 * sizeof(uint4);
  // More, or more terms than a strip holds, stay in memory and are split on the way.
  static constexpr size_t kStaged = 48 << 10;
  static size_t bytes(size_t rows, size_t terms) {
    return size_t{ceil_div(rows, 16)} * ceil_div(terms, 16) * kBlockBytes;
  }

#ifdef __CUDACC__
  __device__ float at(uint32_t row, uint32_t term) const {
    return row < rows && term < terms ? c[row * across + term * along] : 0.0f;
  }
  __device__ void block(uint32_t row, uint32_t term, uint32_t (&a)[3][4]) const {
    row += threadIdx.x % 32 / 4, term += threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const uint32_t r = row + i % 2 * 8, k = term + i / 2 * 8;
      uint32_t parts[3];
      split(at(r, k), at(r, k + 1), parts);
#pragma unroll
      for (int p = 0; p < 3; p++) a[p][i] = parts[p];
    }
  }
  // By all threads of a block.
  __device__ void stage(uint4* staged) const {
    const uint32_t across_terms = ceil_div(terms, 16), blocks = ceil_div(rows, 16) * across_terms;
    for (uint32_t b = threadIdx.x / 32; b < blocks; b += blockDim.x / 32) {
      uint32_t a[3][4];
      block(b / across_terms * 16, b % across_terms * 16, a);
#pragma unroll
      for (int p = 0; p < 3; p++)
        staged[(b * 3 + p) * 32 + threadIdx.x % 32] = make_uint4(a[p][0], a[p][1], a[p][2], a[p][3]);
    }
    __syncthreads();
  }
  __device__ void fetch(const uint4* staged, uint32_t row, uint32_t term, int part, uint32_t (&a)[4]) const {
    const uint32_t b = row / 16 * ceil_div(terms, 16) + term / 16;
    const uint4 found = staged[(b * 3 + part) * 32 + threadIdx.x % 32];
    a[0] = found.x, a[1] = found.y, a[2] = found.z, a[3] = found.w;
  }
#endif
};

#ifdef __CUDACC__
__device__ inline float widen(uint16_t half) {
  return __uint_as_float(static_cast<uint32_t>(half) << 16);
}
__device__ inline float widen(float x) {
  return x;
}

// The large factor: kColumns columns of up to kTerms rows in a warp's registers. T: float, or uint16_t that holds bf16.
// A lane loads kWide columns, by default 16 bytes, of every row it has; eight lanes read a row. Of a product a lane
// gets rows lane / 4 and 8 more, and two runs of kWide columns, run(0) and run(1): sums[j][2 i + h] is row i, column j
// of run h. Lanes take their columns in an order that puts the same run of neighbouring lanes side by side.
template <class T, uint32_t Wide = 16 / sizeof(T)>
struct Strip {
  static constexpr uint32_t kWide = Wide, kColumns = 8 * kWide;
  static constexpr int kParts = sizeof(T) == 4 ? 3 : 1;
  using Sums = float[kWide][4];
  // What a lane loads at once.
  struct alignas(kWide * sizeof(T)) Words {
    uint32_t at[kWide * sizeof(T) / 4];
  };

  uint32_t b[2][kWide][kParts][2];

  __device__ static uint32_t run(uint32_t h) { return (threadIdx.x % 4 + 4 * h) * kWide; }

  // Rows first .. of x, which begins at the strip; those from `terms` on are zeros.
  __device__ void load(const T* x, size_t stride, uint32_t first, uint32_t terms) {
    const uint32_t group = threadIdx.x % 32 / 4;
    x += (group / 2 + group % 2 * 4) * kWide;
    Words raw[2][4];
#pragma unroll
    for (uint32_t step = 0; step < 2; step++)
#pragma unroll
      for (uint32_t i = 0; i < 4; i++) {
        const uint32_t row = first + 16 * step + threadIdx.x % 4 * 2 + i % 2 + i / 2 * 8;
        raw[step][i] = {};
        if (row < terms) raw[step][i] = *reinterpret_cast<const Words*>(x + row * stride);
      }
#pragma unroll
    for (uint32_t step = 0; step < 2; step++)
#pragma unroll
      for (uint32_t half = 0; half < 2; half++) {
        const auto &u = raw[step][2 * half].at, &l = raw[step][2 * half + 1].at;
#pragma unroll
        for (uint32_t j = 0; j < kWide; j++) {
          if constexpr (kParts == 3) {
            uint32_t parts[3];
            split(__uint_as_float(u[j]), __uint_as_float(l[j]), parts);
            for (int p = 0; p < 3; p++) b[step][j][p][half] = parts[p];
          } else {
            b[step][j][0][half] = __byte_perm(u[j / 2], l[j / 2], j % 2 == 0 ? 0x5410 : 0x7632);
          }
        }
      }
  }

  // sums += rows row .. row + 15 of c times the rows that were loaded. All small products come before the large ones:
  // tensor cores cut off what a sum cannot hold, and a small sum holds more.
  template <bool Staged>
  __device__ void multiply(Sums& sums, const Coefficients& c, const uint4* staged, uint32_t row, uint32_t first) const {
    uint32_t a[2][3][4];
    if constexpr (!Staged)
      for (uint32_t step = 0; step < 2; step++) c.block(row, first + 16 * step, a[step]);
    each_product<3, kParts>([&](int left, int right) {
#pragma unroll
      for (uint32_t step = 0; step < 2; step++) {
        if (first + 16 * step >= c.terms) break;
        if constexpr (Staged) c.fetch(staged, row, first + 16 * step, left, a[0][0]);
#pragma unroll
        for (uint32_t j = 0; j < kWide; j++) mma_bf16(sums[j], Staged ? a[0][0] : a[step][left], b[step][j][right]);
      }
    });
  }

  // Makes sums again where they are not finite. x begins at the strip.
  __device__ static void repair(Sums& sums, const Coefficients& c, const T* x, size_t stride, uint32_t row) {
    bool finite = true;
#pragma unroll
    for (uint32_t j = 0; j < kWide; j++) finite = finite && is_finite(sums[j]);
    if (!finite) {
      row += threadIdx.x % 32 / 4;
      clear(sums);
#pragma unroll 1
      for (uint32_t k = 0; k < c.terms; k++) {
        const float upper = c.at(row, k), lower = c.at(row + 8, k);
#pragma unroll
        for (uint32_t j = 0; j < kWide; j++)
#pragma unroll
          for (uint32_t i = 0; i < 4; i++)
            sums[j][i] = fmaf(i < 2 ? upper : lower, widen(x[k * stride + run(i % 2) + j]), sums[j][i]);
      }
    }
    __syncwarp();
  }

  // sums = rows row .. row + 15 of c times x. Up to kTerms rows of x are loaded for row 0 and stay. Of more than that,
  // each kTerms have sums of their own, added up rounded to nearest.
  template <bool Staged>
  __device__ void product(Sums& sums, const Coefficients& c, const uint4* staged, const T* x, size_t stride,
                          uint32_t row) {
    clear(sums);
    if constexpr (Staged) {
      if (row == 0) load(x, stride, 0, c.terms);
      multiply<true>(sums, c, staged, row, 0);
    } else {
      for (uint32_t first = 0; first < c.terms; first += kTerms) {
        Sums some;
        clear(some);
        load(x, stride, first, c.terms);
        multiply<false>(some, c, staged, row, first);
#pragma unroll
        for (uint32_t j = 0; j < kWide; j++)
#pragma unroll
          for (uint32_t i = 0; i < 4; i++) sums[j][i] += some[j][i];
      }
    }
    repair(sums, c, x, stride, row);
  }

  __device__ static void clear(Sums& sums) {
#pragma unroll
    for (uint32_t j = 0; j < kWide; j++)
#pragma unroll
      for (uint32_t i = 0; i < 4; i++) sums[j][i] = 0;
  }
};
#endif

}  // namespace sweetspot::cuda
