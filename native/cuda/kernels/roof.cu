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

__global__ void no_roof_kernel(Fault fault, float* y) {
  if (!fault.failed()) y[0] = 0;
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

// Not measured here yet: 0 says so. Products in bf16 run on tensor cores, whose roof is a matrix product's.
void roof_bf16(Launch& l, const RoofBf16Row& row) {
  launch(l, no_roof_kernel, 1, 1, 0, l.fault(), l.f32(row.y));
}

void roof_read(Launch& l, const RoofReadRow& row) {
  auto* partial = static_cast<float*>(l.scratch(kReadBlocks * sizeof(float)));
  launch(l, read_kernel, kReadBlocks, kThreads, 0, l.fault(), l.f32(row.x), partial, row.n);
  launch(l, finish_kernel, 1, kThreads, 0, l.fault(), partial, l.f32(row.y));
}

}  // namespace sweetspot::cuda
