// The gradient of a bank's coefficients, dc[g, r] = <dw[g], t_r>, and of its shared slice, ds = sum of dw[g]. A warp
// takes 32 columns at a time and up to 32 groups and 32 slices, so dw and t are read once; the products of a step go
// to sums of their own, which are added to the others rounded to nearest, as tensor cores do not.
#include "cuda/kernels/bank_product.cuh"
#include "cuda/kernels/bank_rows.cuh"

namespace sweetspot::cuda {
namespace {

// Blocks hold many numbers in registers, so they are small. Ranges of columns, of which each leaves its sums: a block
// each, three for every multiprocessor of an H100. Columns of a step.
constexpr uint32_t kDotThreads = 128, kDotWarps = kDotThreads / 32, kRanges = 396, kColumns = 32;

// Parts of two pairs of numbers: what a lane has of a row for 16 columns.
__device__ void split_row(float4 x, uint32_t (&parts)[3][2]) {
  uint32_t first[3], second[3];
  split(x.x, x.y, first);
  split(x.z, x.w, second);
#pragma unroll
  for (int p = 0; p < 3; p++) parts[p][0] = first[p], parts[p][1] = second[p];
}
__device__ void split_row(uint2 x, uint32_t (&parts)[1][2]) {
  parts[0][0] = x.x, parts[0][1] = x.y;
}

// 16 M groups by 8 N slices: chunk after chunk within a range, so that the next finds the numbers in the L2 cache.
template <int M, int N, class D, class T>
__global__ void __launch_bounds__(kDotThreads, 3)
    dot_kernel(Fault fault, const D* dw, const T* t, const int32_t* count, float* partial, const float* adds, float* ds,
               uint32_t room, uint32_t slices, size_t size) {
  uint32_t groups;
  if (fault.stopped() || !present(fault, count, room, groups)) return;
  constexpr int kLeft = sizeof(D) == 4 ? 3 : 1, kRight = sizeof(T) == 4 ? 3 : 1;  // parts
  const uint32_t across = ceil_div(slices, 8 * N), chunks = ceil_div(room, 16 * M) * across;
  const uint32_t range = blockIdx.x / chunks, ranges = gridDim.x / chunks;
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t group = blockIdx.x % chunks / across * 16 * M + lane / 4;
  const uint32_t slice = blockIdx.x % chunks % across * 8 * N;
  float dots[M][N][4] = {};
  for (size_t strip = range * kDotWarps + warp; strip < size / kColumns; strip += ranges * kDotWarps) {
    const size_t column = strip * kColumns, own = column + lane % 4 * 4;
    const T* tile = t + column / kTile * slices * kTile + own % kTile;
    Quad<D> left[M][2][2];  // [., rows 8 apart, columns 16 apart]
    Quad<T> right[N][2];
#pragma unroll
    for (uint32_t step = 0; step < 2; step++) {
#pragma unroll
      for (uint32_t i = 0; i < 2 * M; i++) {
        const uint32_t g = group + 8 * i;
        left[i / 2][i % 2][step] = {};
        if (g < groups) left[i / 2][i % 2][step] = *reinterpret_cast<const Quad<D>*>(dw + g * size + own + 16 * step);
      }
#pragma unroll
      for (uint32_t n = 0; n < N; n++) {
        const uint32_t r = slice + 8 * n + lane / 4;
        right[n][step] = {};
        if (r < slices) right[n][step] = *reinterpret_cast<const Quad<T>*>(tile + r * kTile + 16 * step);
      }
    }
    if (ds != nullptr && slice == 0) {
      float4 sum[2];
#pragma unroll
      for (uint32_t step = 0; step < 2; step++) {
        sum[step] = make_float4(0, 0, 0, 0);
#pragma unroll
        for (uint32_t i = 0; i < 2 * M; i++) add(sum[step], widen(left[i / 2][i % 2][step]));
#pragma unroll
        for (int apart = 4; apart < 32; apart *= 2) {
          const float4 mine = sum[step];
          add(sum[step],
              make_float4(__shfl_xor_sync(0xffffffffu, mine.x, apart), __shfl_xor_sync(0xffffffffu, mine.y, apart),
                          __shfl_xor_sync(0xffffffffu, mine.z, apart), __shfl_xor_sync(0xffffffffu, mine.w, apart)));
        }
      }
      if (lane < 8) {
        const size_t at = own + lane / 4 * 16;
        float4 total = lane < 4 ? sum[0] : sum[1];
        if (adds != nullptr) add(total, *reinterpret_cast<const float4*>(adds + at));
        *reinterpret_cast<float4*>(ds + at) = total;
      }
    }
#pragma unroll
    for (uint32_t m = 0; m < M; m++) {
      uint32_t a[2][kLeft][4];
#pragma unroll
      for (uint32_t step = 0; step < 2; step++)
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) {
          uint32_t parts[kLeft][2];
          split_row(left[m][half][step], parts);
#pragma unroll
          for (int p = 0; p < kLeft; p++) a[step][p][half] = parts[p][0], a[step][p][half + 2] = parts[p][1];
        }
#pragma unroll
      for (uint32_t n = 0; n < N; n++) {
        float sums[4] = {};
        uint32_t b[2][kRight][2];
        for (uint32_t step = 0; step < 2; step++) split_row(right[n][step], b[step]);
        each_product<kLeft, kRight>([&](int left_part, int right_part) {
#pragma unroll
          for (uint32_t step = 0; step < 2; step++) mma_bf16(sums, a[step][left_part], b[step][right_part]);
        });
        if (!is_finite(sums)) {
#pragma unroll
          for (uint32_t e = 0; e < 4; e++) {
            const uint32_t g = group + 16 * m + e / 2 * 8, r = slice + 8 * n + lane % 4 * 2 + e % 2;
            sums[e] = 0;
            if (g >= groups || r >= slices) continue;
            const T* from = t + (column / kTile * slices + r) * kTile + column % kTile;
#pragma unroll 1
            for (uint32_t i = 0; i < kColumns; i++)
              sums[e] = fmaf(widen(dw[g * size + column + i]), widen(from[i]), sums[e]);
          }
        }
        __syncwarp();
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) dots[m][n][e] += sums[e];
      }
    }
  }
  // The sums of a block's warps, in their order.
  __shared__ float part[kDotWarps][M * N * 4][32];
#pragma unroll
  for (uint32_t i = 0; i < M * N * 4; i++) part[warp][i][lane] = dots[i / (4 * N)][i / 4 % N][i % 4];
  __syncthreads();
  for (uint32_t i = warp; i < M * N * 4; i += kDotWarps) {
    float total = 0;
#pragma unroll
    for (uint32_t w = 0; w < kDotWarps; w++) total += part[w][i][lane];
    const uint32_t g = group + i / (4 * N) * 16 + i % 4 / 2 * 8, r = slice + i / 4 % N * 8 + lane % 4 * 2 + i % 2;
    // Groups that take no part count as zeros.
    if (g < room && r < slices)
      partial[(static_cast<size_t>(range) * room + g) * slices + r] = g < groups ? total : 0.0f;
  }
}

// ds where more groups take part than one warp has.
template <class D>
__global__ void __launch_bounds__(kThreads)
    sum_groups_kernel(Fault fault, const D* dw, const int32_t* count, const float* adds, float* ds, uint32_t room,
                      size_t size) {
  uint32_t groups;
  if (fault.stopped() || !present(fault, count, room, groups)) return;
  for (size_t i = flat_index() * 4; i < size; i += flat_stride() * 4) {
    float4 sum = adds == nullptr ? make_float4(0, 0, 0, 0) : *reinterpret_cast<const float4*>(adds + i);
#pragma unroll 4
    for (uint32_t g = 0; g < groups; g++) add(sum, widen(*reinterpret_cast<const Quad<D>*>(dw + g * size + i)));
    *reinterpret_cast<float4*>(ds + i) = sum;
  }
}

__global__ void refuse_kernel(Fault fault, uint32_t dtype) {
  if (!fault.stopped()) fault.raise(kSliceDtype, static_cast<int32_t>(dtype));
}

}  // namespace

void refuse_slices(Launch& l, uint32_t dtype) {
  launch(l, refuse_kernel, 1, 1, 0, l.fault(), dtype);
}

void bank_mix_backward(Launch& l, const BankMixBackwardRow& row) {
  with_gradients(l, row.dw, [&](auto* dw) {
    using D = std::remove_const_t<std::remove_pointer_t<decltype(dw)>>;
    const int32_t* count = count_of(l, row);
    const size_t pairs = static_cast<size_t>(row.groups) * row.slices;
    float *adds = l.optional(row.adds), *ds = l.optional(row.ds);
    if (ds != nullptr && (row.groups > 32 || pairs == 0)) {
      launch(l, sum_groups_kernel<D>, flat_grid(l, row.size / 4), kThreads, 0, l.fault(), dw, count, adds, ds,
             row.groups, row.size);
      ds = nullptr;
    }
    if (pairs == 0) return;
    const auto run = [&](auto groups, auto slices, auto* t) {
      constexpr int M = decltype(groups)::value, N = decltype(slices)::value;
      const uint32_t chunks = ceil_div(row.groups, 16 * M) * ceil_div(row.slices, 8 * N);
      const uint32_t needed = ceil_div(row.size / kColumns, kDotWarps);
      const uint32_t ranges = needed == 0 ? 1 : needed < kRanges ? needed : kRanges;
      auto* partial = static_cast<float*>(l.scratch(ranges * pairs * sizeof(float)));
      launch(l, dot_kernel<M, N, D, std::remove_pointer_t<decltype(t)>>, ranges * chunks, kDotThreads, 0, l.fault(), dw,
             t, count, partial, adds, ds, row.groups, row.slices, row.size);
      sum_axis(l, partial, 1, ranges, pairs, 1.0f, l.optional(row.add), l.f32(row.dc));
    };
    using One = std::integral_constant<int, 1>;
    using Two = std::integral_constant<int, 2>;
    using Four = std::integral_constant<int, 4>;
    with_slices(l, row, [&](auto* t) {
      if (row.groups > 16)
        row.slices > 16 ? run(Two{}, Four{}, t) : run(Two{}, Two{}, t);
      else
        row.slices > 16 ? run(One{}, Four{}, t) : run(One{}, Two{}, t);
    });
  });
}

}  // namespace sweetspot::cuda
