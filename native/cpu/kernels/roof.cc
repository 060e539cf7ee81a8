// What this machine can do at best, for tables that compare kernels with it. The only kernels whose tasks follow the
// number of threads: they measure the threads.
#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

namespace {
// Independent chains hide the latency of a multiply-add: 4 cycles and two a cycle ask for 8, imperfect scheduling for
// some more, bf16 products for 16. Where there are 16 registers, 12 leave room.
#if defined(SWEETSPOT_ISA_AVX2) || defined(SWEETSPOT_ISA_SCALAR)
constexpr size_t kChains = 12;
#else
constexpr size_t kChains = 16;
#endif
constexpr size_t kPasses = 8;  // over all chains in one iteration
// Floats one task of roof_read sums: long enough for the prefetchers to run at full speed.
constexpr size_t kReadBlock = 1u << 18;

// iterations * kPasses * kChains times x = step(x), on every thread. One index for chains and passes together would
// make the compiler keep the chains in memory.
template <class Step>
inline void run_chains(Context& ctx, uint32_t iterations, Step&& make_step) {
  parallel(ctx, ctx.threads, [&](uint32_t, uint32_t) {
    const auto step = make_step();
    Vec x[kChains];
#pragma GCC unroll 16
    for (size_t i = 0; i < kChains; i++) x[i] = Vec::set(static_cast<float>(i));  // equal chains would become one
    for (uint64_t pass = 0; pass < uint64_t{kPasses} * iterations; pass++) {
#pragma GCC unroll 16
      for (size_t i = 0; i < kChains; i++) x[i] = step(x[i]);
    }
    Vec total = Vec::zero();
#pragma GCC unroll 16
    for (size_t i = 0; i < kChains; i++) total = total + x[i];
    volatile float sink = sum(total);  // keeps the work alive
    (void)sink;
  });
}

// 1e9 flops in all chains of all threads, for steps of `flops`.
float giga(const Context& ctx, uint32_t iterations, size_t flops) {
  const double steps = static_cast<double>(kPasses * kChains) * iterations * ctx.threads;
  return static_cast<float>(static_cast<double>(flops) * steps / 1e9);
}
}  // namespace

void roof_fma(Context& ctx, const RoofFmaRow& row) {
  run_chains(ctx, row.iterations, [] {
    volatile float half = 0.5f;  // a factor the compiler cannot know
    const Vec factor = Vec::set(half);
    return [factor](Vec x) { return fma(x, factor, factor); };
  });
  ctx.f32(row.y)[0] = giga(ctx, row.iterations, 2 * Vec::N);
}

// Only where the kernels are compiled for the instruction; the processor is asked when they are chosen.
void roof_bf16(Context& ctx, const RoofBf16Row& row) {
#if defined(__AVX512BF16__)
  run_chains(ctx, row.iterations, [] {
    volatile int32_t halves = 0x3f003f00;  // two times 0.5
    const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_epi32(halves));
    return [factor](Vec x) { return Vec{_mm512_dpbf16_ps(x.v, factor, factor)}; };
  });
  ctx.f32(row.y)[0] = giga(ctx, row.iterations, 4 * Vec::N);
#else
  ctx.f32(row.y)[0] = 0.0f;
#endif
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
