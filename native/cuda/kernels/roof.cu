// What this GPU can do at best, for tables that compare kernels with it.
#include "cuda/kernel.cuh"
#include "cuda/ptx.cuh"

namespace sweetspot::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kChains = 8;  // independent multiply-adds hide their latency
constexpr int kStepsPerIteration = 128;
constexpr int kReadBlocks = 4096;

__global__ void __launch_bounds__(kThreads) fma_kernel(Fault fault, float* y, uint32_t iterations, float factor) {
  if (fault.failed()) return;
  float x[kChains];
#pragma unroll
  for (int i = 0; i < kChains; i++) x[i] = static_cast<float>(threadIdx.x + i);
  for (uint32_t i = 0; i < iterations; i++) {
#pragma unroll
    for (int j = 0; j < kStepsPerIteration; j++) x[j % kChains] = fmaf(x[j % kChains], factor, factor);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kChains; i++) total += x[i];
  // True for no result; keeps the work alive.
  if (total == -1) y[0] = total;
  const double flops = 2.0 * kStepsPerIteration * iterations * kThreads * gridDim.x;
  if (blockIdx.x == 0 && threadIdx.x == 0) y[0] = static_cast<float>(flops / 1e9);
}

// Both products below take factors between 1 and 2 or their negatives, with random fractions: numbers that change few
// bits need less power, and a GPU that needs less runs faster. Sums stay far from what float32 cannot hold.
__device__ uint32_t random_pair(uint32_t i) {
  uint32_t x = i * 0x9e3779b9u;
  x = (x ^ x >> 16) * 0x85ebca6bu;
  return ((x ^ x >> 13) & 0x807f807fu) | 0x3f803f80u;
}

__device__ void report_products(float* y, float total, double flops) {
  if (total == -1) y[0] = total;
  if (blockIdx.x == 0 && threadIdx.x == 0) y[0] = static_cast<float>(flops / 1e9);
}

// Two warpgroups, as many sums as their registers hold; both factors in shared memory, where A has 64 rows for each.
constexpr int kRoofGroups = 2, kRoofColumns = 256, kRoofSteps = 8;
constexpr int kRoofShared = (64 * kRoofGroups + kRoofColumns) * 128;

__global__ void __launch_bounds__(128 * kRoofGroups, 1) wgmma_roof_kernel(Fault fault, float* y, uint32_t iterations) {
  if (fault.failed()) return;
  auto* shared = reinterpret_cast<uint32_t*>(dynamic_shared());
  for (uint32_t i = threadIdx.x; i < kRoofShared / 4; i += 128 * kRoofGroups) shared[i] = random_pair(i);
  fence_async();
  __syncthreads();
  const uint32_t a = shared_address(shared) + threadIdx.x / 128 * 64 * 128;
  const uint32_t b = shared_address(shared) + kRoofGroups * 64 * 128;
  float sum[kRoofColumns / 2];
#pragma unroll 1
  for (uint32_t i = 0; i < iterations; i++) {
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < kRoofSteps; k++) {
      const uint32_t step = k % 4 * 32;
      wgmma<kRoofColumns, 0, 0>(sum, matrix_descriptor(a + step, 16), matrix_descriptor(b + step, 16), i + k > 0);
    }
    wgmma_commit();
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  wgmma_finish(sum);
  float total = 0;
#pragma unroll
  for (int i = 0; i < kRoofColumns / 2; i++) total += sum[i];
  report_products(
      y, total, 2.0 * 64 * kRoofColumns * 16 * kRoofSteps * kRoofGroups * static_cast<double>(iterations) * gridDim.x);
}

// Eight warps with eight independent products each, factors in registers.
constexpr int kMmaChains = 8, kMmaRounds = 4;

__global__ void __launch_bounds__(kThreads) mma_roof_kernel(Fault fault, float* y, uint32_t iterations) {
  if (fault.failed()) return;
  uint32_t a[4], b[kMmaChains][2];
#pragma unroll
  for (int i = 0; i < 4; i++) a[i] = random_pair(threadIdx.x * 4 + i);
#pragma unroll
  for (int i = 0; i < kMmaChains; i++)
#pragma unroll
    for (int j = 0; j < 2; j++) b[i][j] = random_pair(threadIdx.x * 16 + 2 * i + j);
  float sum[kMmaChains][4] = {};
#pragma unroll 1
  for (uint32_t i = 0; i < iterations; i++) {
#pragma unroll
    for (int round = 0; round < kMmaRounds; round++)
#pragma unroll
      for (int chain = 0; chain < kMmaChains; chain++) mma_bf16(sum[chain], a, b[chain]);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kMmaChains; i++) total += (sum[i][0] + sum[i][1]) + (sum[i][2] + sum[i][3]);
  report_products(
      y, total,
      2.0 * 16 * 8 * 16 * kMmaChains * kMmaRounds * (kThreads / 32) * static_cast<double>(iterations) * gridDim.x);
}

__global__ void __launch_bounds__(kThreads) read_kernel(Fault fault, const float* x, float* partial, size_t n) {
  if (fault.failed()) return;
  const auto* x4 = reinterpret_cast<const float4*>(x);
  const size_t stride = static_cast<size_t>(gridDim.x) * kThreads;
  float4 sum = {0, 0, 0, 0};
#pragma unroll 4
  for (size_t i = blockIdx.x * kThreads + threadIdx.x; i < n / 4; i += stride) {
    const float4 v = x4[i];
    sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
  }
  float own = (sum.x + sum.y) + (sum.z + sum.w);
  if (blockIdx.x == 0 && threadIdx.x < n % 4) own += x[n / 4 * 4 + threadIdx.x];
  own = block_sum<kThreads>(own);
  if (threadIdx.x == 0) partial[blockIdx.x] = own;
}

__global__ void __launch_bounds__(kThreads) finish_kernel(Fault fault, const float* partial, float* y) {
  if (fault.failed()) return;
  float own = 0;
  for (int i = threadIdx.x; i < kReadBlocks; i += kThreads) own += partial[i];
  own = block_sum<kThreads>(own);
  if (threadIdx.x == 0) y[0] = own;
}

__global__ void clock_kernel(Fault fault, uint64_t* y) {
  if (fault.failed()) return;
  *y = global_timer();
}

}  // namespace

void clock(Launch& l, const ClockRow& row) {
  launch(l, clock_kernel, 1, 1, 0, l.fault(), reinterpret_cast<uint64_t*>(l.raw(row.y)));
}

void roof_fma(Launch& l, const RoofFmaRow& row) {
  launch(l, fma_kernel, static_cast<uint32_t>(l.sms) * 8, kThreads, 0, l.fault(), l.f32(row.y), row.iterations, 0.5f);
}

void roof_bf16(Launch& l, const RoofBf16Row& row) {
  const auto sms = static_cast<uint32_t>(l.sms);
  if (l.sm90a)
    launch(l, wgmma_roof_kernel, sms, 128 * kRoofGroups, kRoofShared, l.fault(), l.f32(row.y), row.iterations);
  else
    launch(l, mma_roof_kernel, sms * 2, kThreads, 0, l.fault(), l.f32(row.y), row.iterations);
}

void roof_read(Launch& l, const RoofReadRow& row) {
  auto* partial = static_cast<float*>(l.scratch(kReadBlocks * sizeof(float)));
  launch(l, read_kernel, kReadBlocks, kThreads, 0, l.fault(), l.f32(row.x), partial, row.n);
  launch(l, finish_kernel, 1, kThreads, 0, l.fault(), partial, l.f32(row.y));
}

}  // namespace sweetspot::cuda
