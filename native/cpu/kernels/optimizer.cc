// Gradient clipping by global norm, and AdamW over one flat range that holds many tensors: one pass over g, p, m, v.
#include "cpu/kernel.h"
#include "cpu/kernels/adamw.h"
#include "cpu/kernels/lanes.h"

namespace sweetspot::SWEETSPOT_ISA {

void clip_scale(Context& ctx, const ClipScaleRow& row) {
  const float* squares = ctx.f32(row.squares);
  double total = 0;
  for (size_t i = 0; i < row.n; i++) total += squares[i];
  const double norm = std::sqrt(total);
  if (!std::isfinite(norm)) return ctx.fail("the gradient norm is %g", norm);
  *ctx.f32(row.norm) = static_cast<float>(norm);
  const bool clips = row.maxNorm != 0 && norm > row.maxNorm;
  *ctx.f32(row.scale) = clips ? static_cast<float>(row.maxNorm / norm) : 1.0f;
}

void adamw(Context& ctx, const AdamwRow& row) {
  const AdamwStep step(ctx.f32(row.hyper), *ctx.f32(row.clip), row.lrScale, row.decayScale);
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    const float* g = ctx.f32(row.g) + begin;
    float *p = ctx.f32(row.p) + begin, *m = ctx.f32(row.m) + begin, *v = ctx.f32(row.v) + begin;
    each_vec(count, [&](size_t i, auto lanes) {
      Vec pi = lanes.load(p + i), mi = lanes.load(m + i), vi = lanes.load(v + i);
      step(lanes.load(g + i), pi, mi, vi);
      lanes.store(pi, p + i);
      lanes.store(mi, m + i);
      lanes.store(vi, v + i);
    });
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
