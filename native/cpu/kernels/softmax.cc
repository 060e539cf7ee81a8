// Softmax over rows and its gradient. Each row is shifted by its maximum, so that exp never overflows; a row comes from
// memory once and from cache after that. Work is split by blocks of rows.
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {

// A row is bound by exp, so it takes fewer numbers than a plain row kernel to be worth a task.
constexpr size_t softmax_elements = 8192;

void softmax(Context& ctx, const SoftmaxRow& row) {
  const size_t cols = row.cols;
  const float* x = ctx.f32(row.x);
  float* y = ctx.f32(row.y);
  each_row(ctx, row.rows, cols, softmax_elements, [=](size_t r) {
    const float total = row_exp<true>(x + r * cols, y + r * cols, cols, row_max(x + r * cols, cols));
    row_scale(y + r * cols, cols, 1.0f / total);
  });
}

void softmax_backward(Context& ctx, const SoftmaxBackwardRow& row) {
  const size_t cols = row.cols;
  const float *dy = ctx.f32(row.dy), *y = ctx.f32(row.y);
  float* dx = ctx.f32(row.dx);
  each_row(ctx, row.rows, cols, kTaskElements, [=](size_t r) {
    const float *d = dy + r * cols, *p = y + r * cols;
    const Vec mean = Vec::set(row_dot(d, p, cols));
    each_vec(cols, [&](size_t i, auto lanes) {
      lanes.store(lanes.load(p + i) * (lanes.load(d + i) - mean), dx + r * cols + i);
    });
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
