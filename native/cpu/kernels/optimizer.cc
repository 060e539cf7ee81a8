// Gradient clipping by global norm; AdamW over one flat range that holds many tensors, one pass over g, p, m, v; and
// the element by element parts of Muon, whose orthogonalization is matrix products of their own (ts/optim/muon.ts).
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

namespace {

// Elements of one partial sum of squares.
constexpr size_t kNormBlock = 4096;

// body(matrix, begin, count, index of the block) over blocks of every matrix, in parallel.
template <class F>
inline void each_matrix_block(Context& ctx, size_t batch, size_t n, F&& body) {
  const size_t blocks = ceil_div(n, kNormBlock);
  parallel(ctx, static_cast<uint32_t>(batch * blocks), [&](uint32_t task, uint32_t) {
    const size_t begin = task % blocks * kNormBlock;
    body(task / blocks, begin, min_size(kNormBlock, n - begin), task);
  });
}

}  // namespace

void muon_momentum(Context& ctx, const MuonMomentumRow& row) {
  const size_t batch = row.batch, n = row.n, stride = row.stride, blocks = ceil_div(n, kNormBlock);
  if (batch * n == 0) return;
  auto* partial = static_cast<float*>(ctx.scratch(batch * blocks * sizeof(float)));
  if (partial == nullptr) return;
  const float* g = ctx.f32(row.g);
  float *m = ctx.f32(row.m), *x = ctx.f32(row.x);
  const Vec momentum = Vec::set(row.momentum), fresh = Vec::set((1.0f - row.momentum) * *ctx.f32(row.clip));
  each_matrix_block(ctx, batch, n, [&](size_t matrix, size_t begin, size_t count, size_t block) {
    const float* gb = g + matrix * stride + begin;
    float *mb = m + matrix * stride + begin, *xb = x + matrix * n + begin;
    Vec squares = Vec::zero();
    each_vec(count, [&](size_t i, auto lanes) {
      const Vec gi = fresh * lanes.load(gb + i), mi = fma(momentum, lanes.load(mb + i), gi);
      const Vec u = fma(momentum, mi, gi);
      lanes.store(mi, mb + i);
      lanes.store(u, xb + i);
      squares = fma(u, u, squares);
    });
    partial[block] = sum(squares);
  });
  each_matrix_block(ctx, batch, n, [&](size_t matrix, size_t begin, size_t count, size_t) {
    double total = 0;
    for (size_t b = 0; b < blocks; b++) total += partial[matrix * blocks + b];
    const Vec scale = Vec::set(static_cast<float>(1.0 / (std::sqrt(total) + row.eps)));
    float* xb = x + matrix * n + begin;
    each_vec(count, [&](size_t i, auto lanes) { lanes.store(lanes.load(xb + i) * scale, xb + i); });
  });
}

void muon_update(Context& ctx, const MuonUpdateRow& row) {
  const size_t n = row.n, stride = row.stride;
  const float *x = ctx.f32(row.x), *hyper = ctx.f32(row.hyper);
  float* p = ctx.f32(row.p);
  const Vec scale = Vec::set(row.scale), decay = Vec::set(hyper[4]), minus_lr = Vec::set(-(hyper[0] * row.lrScale));
  each_matrix_block(ctx, row.batch, n, [&](size_t matrix, size_t begin, size_t count, size_t) {
    const float* xb = x + matrix * n + begin;
    float* pb = p + matrix * stride + begin;
    each_vec(count, [&](size_t i, auto lanes) {
      const Vec pi = lanes.load(pb + i);
      lanes.store(fma(minus_lr, fma(decay, pi, scale * lanes.load(xb + i)), pi), pb + i);
    });
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
