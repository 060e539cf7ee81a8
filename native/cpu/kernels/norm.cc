// RMS norm over rows, and over the query and key heads of fused attention rows, with their gradients.
//   y = x rstd w     dx = rstd (dy w - x rstd^2 mean(dy w x))     dw = sum over rows of dy x rstd
// A row is read twice, the second time from cache. Work is split by blocks of rows. The weight gradients of a block are
// a partial sum in scratch; the partial sums are added in the order of the blocks, so that results do not depend on
// the number of threads.
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {
namespace {

// At least 16 rows, so that partial sums of the weight gradient stay small beside the rows themselves.
size_t block_rows(size_t cols) {
  return max_size(16, kTaskElements / max_size(cols, 1));
}

float normalize(const float* x, const float* w, float* y, size_t n, float eps) {
  const float rstd = 1.0f / std::sqrt(row_dot(x, x, n) / static_cast<float>(n) + eps);
  const Vec scale = Vec::set(rstd);
  each_vec(n, [&](size_t i, auto lanes) { lanes.store(lanes.load(x + i) * scale * lanes.load(w + i), y + i); });
  return rstd;
}

// dx of one row (+ add with Add; dx may be add or dy); dw += its part.
template <bool Add>
void normalize_backward(const float* dy, const float* x, const float* w, float rstd, const float* add, float* dx,
                        float* dw, size_t n) {
  Vec total = Vec::zero();
  each_vec(
      n, [&](size_t i, auto lanes) { total = fma(lanes.load(dy + i) * lanes.load(w + i), lanes.load(x + i), total); });
  const Vec scale = Vec::set(rstd), mean = Vec::set(-sum(total) / static_cast<float>(n) * rstd * rstd);
  each_vec(n, [&](size_t i, auto lanes) {
    const Vec d = lanes.load(dy + i), v = lanes.load(x + i);
    lanes.store(fma(d, v * scale, lanes.load(dw + i)), dw + i);
    Vec g = fma(v, mean, d * lanes.load(w + i)) * scale;
    if constexpr (Add) g = g + lanes.load(add + i);
    lanes.store(g, dx + i);
  });
}

// y = the sum of `count` partial rows, `stride` apart, in order (+ add, unless nullptr).
void sum_partials(const float* partials, size_t count, size_t stride, const float* add, float* y, size_t n) {
  each_vec(n, [&](size_t i, auto lanes) {
    Vec total = Vec::zero();
    for (size_t p = 0; p < count; p++) total = total + lanes.load(partials + p * stride + i);
    if (add != nullptr) total = total + lanes.load(add + i);
    lanes.store(total, y + i);
  });
}

}  // namespace

void rms_norm(Context& ctx, const RmsNormRow& row) {
  const size_t cols = row.cols;
  const float *x = ctx.f32(row.x), *w = ctx.f32(row.w), eps = row.eps;
  float *y = ctx.f32(row.y), *rstd = ctx.f32(row.rstd);
  each_row(ctx, row.rows, cols, kTaskElements,
           [=](size_t r) { rstd[r] = normalize(x + r * cols, w, y + r * cols, cols, eps); });
}

void rms_norm_backward(Context& ctx, const RmsNormBackwardRow& row) {
  const size_t rows = row.rows, cols = row.cols, block = block_rows(cols), blocks = ceil_div(rows, block);
  const size_t stride = round_up(cols, 16);
  const float *dy = ctx.f32(row.dy), *x = ctx.f32(row.x), *w = ctx.f32(row.w), *rstd = ctx.f32(row.rstd);
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  const float* addw = row.addw.present() ? ctx.f32(row.addw) : nullptr;
  float *dx = ctx.f32(row.dx), *dw = ctx.f32(row.dw);
  auto* partials = static_cast<float*>(ctx.scratch(max_size(1, blocks * stride * sizeof(float))));
  if (partials == nullptr) return;
  parallel(ctx, static_cast<uint32_t>(blocks), [&](uint32_t task, uint32_t) {
    float* part = partials + task * stride;
    std::memset(part, 0, cols * sizeof(float));
    for (size_t r = task * block; r < min_size(rows, (task + 1) * block); r++) {
      const size_t at = r * cols;
      if (add == nullptr) {
        normalize_backward<false>(dy + at, x + at, w, rstd[r], nullptr, dx + at, part, cols);
      } else {
        normalize_backward<true>(dy + at, x + at, w, rstd[r], add + at, dx + at, part, cols);
      }
    }
  });
  const size_t slice = 1024;
  parallel(ctx, ceil_div(cols, slice), [&](uint32_t task, uint32_t) {
    const size_t i = task * slice;
    sum_partials(partials + i, blocks, stride, addw == nullptr ? nullptr : addw + i, dw + i, min_size(slice, cols - i));
  });
}

void qk_norm(Context& ctx, const QkNormRow& row) {
  const size_t heads = row.heads, normed = heads + row.kvHeads, dim = row.headDim, values = row.kvHeads * dim;
  const size_t width = normed * dim + values;
  const float *x = ctx.f32(row.x), *wq = ctx.f32(row.wq), *wk = ctx.f32(row.wk), eps = row.eps;
  float *y = ctx.f32(row.y), *rstd = ctx.f32(row.rstd);
  each_row(ctx, row.rows, width, kTaskElements, [=](size_t r) {
    const float* from = x + r * width;
    float* to = y + r * width;
    for (size_t h = 0; h < normed; h++)
      rstd[r * normed + h] = normalize(from + h * dim, h < heads ? wq : wk, to + h * dim, dim, eps);
    row_copy(from + normed * dim, to + normed * dim, values);
  });
}

void qk_norm_backward(Context& ctx, const QkNormBackwardRow& row) {
  const size_t rows = row.rows, heads = row.heads, normed = heads + row.kvHeads, dim = row.headDim;
  const size_t width = (normed + row.kvHeads) * dim, block = block_rows(width), blocks = ceil_div(rows, block);
  const size_t stride = round_up(2 * dim, 16);
  const float *dy = ctx.f32(row.dy), *x = ctx.f32(row.x), *wq = ctx.f32(row.wq), *wk = ctx.f32(row.wk);
  const float* rstd = ctx.f32(row.rstd);
  float* dx = ctx.f32(row.dx);
  auto* partials = static_cast<float*>(ctx.scratch(max_size(1, blocks * stride * sizeof(float))));
  if (partials == nullptr) return;
  parallel(ctx, static_cast<uint32_t>(blocks), [&](uint32_t task, uint32_t) {
    float* part = partials + task * stride;
    std::memset(part, 0, 2 * dim * sizeof(float));
    for (size_t r = task * block; r < min_size(rows, (task + 1) * block); r++) {
      const size_t at = r * width;
      for (size_t h = 0; h < normed; h++)
        normalize_backward<false>(dy + at + h * dim, x + at + h * dim, h < heads ? wq : wk, rstd[r * normed + h],
                                  nullptr, dx + at + h * dim, h < heads ? part : part + dim, dim);
      row_copy(dy + at + normed * dim, dx + at + normed * dim, row.kvHeads * dim);
    }
  });
  sum_partials(partials, blocks, stride, row.addwq.present() ? ctx.f32(row.addwq) : nullptr, ctx.f32(row.dwq), dim);
  sum_partials(partials + dim, blocks, stride, row.addwk.present() ? ctx.f32(row.addwk) : nullptr, ctx.f32(row.dwk),
               dim);
}

}  // namespace sweetspot::SWEETSPOT_ISA
