// What this machine can do at best, for tables that compare kernels with it. The only kernels whose tasks follow the
// number of threads: they measure the threads.
#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {
// Independent chains hide the latency of a multiply-add (4 cycles, two a cycle); 12 leave registers on every ISA.
constexpr size_t kChains = 12;
constexpr size_t kVecsPerIteration = 128;
// Floats one task of roof_read sums: long enough for the prefetchers to run at full speed.
constexpr size_t kReadBlock = 1u << 18;
}  // namespace

void roof_fma(Context& ctx, const RoofFmaRow& row) {
  parallel(ctx, ctx.threads, [&](uint32_t, uint32_t) {
    volatile float half = 0.5f;  // a factor the compiler cannot know
    const Vec factor = Vec::set(half);
    Vec x[kChains];
#pragma GCC unroll 12
    for (size_t i = 0; i < kChains; i++) x[i] = Vec::set(static_cast<float>(i));  // equal chains would become one
    for (uint32_t i = 0; i < row.iterations; i++) {
#pragma GCC unroll 128
      for (size_t j = 0; j < kVecsPerIteration; j++) x[j % kChains] = fma(x[j % kChains], factor, factor);
    }
    Vec total = Vec::zero();
#pragma GCC unroll 12
    for (size_t i = 0; i < kChains; i++) total = total + x[i];
    volatile float sink = sum(total);  // keeps the work alive
    (void)sink;
  });
  const double flops = 2.0 * Vec::N * kVecsPerIteration * static_cast<double>(row.iterations) * ctx.threads;
  ctx.f32(row.y)[0] = static_cast<float>(flops / 1e9);
}

void roof_read(Context& ctx, const RoofReadRow& row) {
  const size_t n = row.n, blocks = ceil_div(n, kReadBlock);
  auto* partial = static_cast<float*>(ctx.scratch((blocks + 1) * sizeof(float)));
  if (partial == nullptr) return;
  const float* x = ctx.f32(row.x);
  parallel(ctx, static_cast<uint32_t>(blocks), [&](uint32_t task, uint32_t) {
    const size_t end = min_size(n, (task + size_t{1}) * kReadBlock);
    size_t i = task * kReadBlock;
    Vec acc[8];
    for (size_t v = 0; v < 8; v++) acc[v] = Vec::zero();
    for (; i + 8 * Vec::N <= end; i += 8 * Vec::N) {
#pragma GCC unroll 8
      for (size_t v = 0; v < 8; v++) acc[v] = acc[v] + Vec::load(x + i + v * Vec::N);
    }
    for (; i < end; i += Vec::N) acc[0] = acc[0] + Vec::load(x + i, end - i);
    partial[task] = sum(((acc[0] + acc[1]) + (acc[2] + acc[3])) + ((acc[4] + acc[5]) + (acc[6] + acc[7])));
  });
  float total = 0.0f;
  for (size_t i = 0; i < blocks; i++) total += partial[i];
  ctx.f32(row.y)[0] = total;
}

}  // namespace sweetspot::SWEETSPOT_ISA
