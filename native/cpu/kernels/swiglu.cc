// SwiGLU: y = silu(gate) * up, where a row of x holds the gate, then up, and silu(g) = g * sigmoid(g).
// Memory bound when rows come from memory, bound by exp when they come from cache. Work is split by blocks of rows.
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {
namespace {

constexpr size_t swiglu_elements = 8192;

// sigmoid that reaches 0 where exp is clamped, so that a gate of -infinity gives NaN as the formula does.
Vec gate_sigmoid(Vec g) {
  return select_less(g, Vec::set(-88.0f), Vec::zero(), sigmoid(g));
}

}  // namespace

void swiglu(Context& ctx, const SwigluRow& row) {
  const size_t cols = row.cols;
  const float* x = ctx.f32(row.x);
  float* y = ctx.f32(row.y);
  each_row(ctx, row.rows, cols, swiglu_elements, [=](size_t r) {
    const float *gates = x + 2 * r * cols, *ups = gates + cols;
    each_vec(cols, [&](size_t i, auto lanes) {
      const Vec gate = lanes.load(gates + i);
      lanes.store(gate * gate_sigmoid(gate) * lanes.load(ups + i), y + r * cols + i);
    });
  });
}

// dx may be x: gate and up are both read before either place is written.
void swiglu_backward(Context& ctx, const SwigluBackwardRow& row) {
  const size_t cols = row.cols;
  const float *dy = ctx.f32(row.dy), *x = ctx.f32(row.x);
  float* dx = ctx.f32(row.dx);
  each_row(ctx, row.rows, cols, swiglu_elements, [=](size_t r) {
    const float *d_row = dy + r * cols, *gates = x + 2 * r * cols, *ups = gates + cols;
    float *d_gates = dx + 2 * r * cols, *d_ups = d_gates + cols;
    const Vec one = Vec::set(1.0f);
    each_vec(cols, [&](size_t i, auto lanes) {
      const Vec gate = lanes.load(gates + i), up = lanes.load(ups + i), d = lanes.load(d_row + i);
      const Vec s = gate_sigmoid(gate), ds = d * s;
      lanes.store(ds * up * fma(gate, one - s, one), d_gates + i);
      lanes.store(ds * gate, d_ups + i);
    });
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
