// SwiGLU: y = silu(gate) * up, where a row of x holds the gate, then up, and silu(g) = g * sigmoid(g). Memory bound.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

constexpr int kMany = 4;  // packs of each operand that a thread reads at once

// The exponential is never above 1: no overflow, and full precision for very negative gates.
__device__ float sigmoid(float g) {
  const float e = expf(-fabsf(g));
  return __fdividef(g < 0 ? e : 1.0f, 1.0f + e);
}

template <class C>
__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(Fault fault, const float* x, Out y, size_t rows, size_t cols) {
  if (fault.failed()) return;
  const size_t r = C::Members::row();
  if (r >= rows) return;
  const float *gates = x + 2 * r * cols, *ups = gates + cols;
  y = y.from(r * cols);
  for (size_t first = C::Members::lane() * C::W; first < cols; first += kMany * C::step) {
    Pack<C::W> gate[kMany], up[kMany];
    each_of<kMany>(first, C::step, cols, [&](int k, size_t i) {
      gate[k] = load<C::W>(gates, i);
      up[k] = load<C::W>(ups, i);
    });
    each_of<kMany>(first, C::step, cols, [&](int k, size_t i) {
      store(y, i, each([](float g, float u) { return g * sigmoid(g) * u; }, gate[k], up[k]));
    });
  }
}

// dx may be x: a thread reads gate and up before it writes either place.
template <class C>
__global__ void __launch_bounds__(kThreads)
    swiglu_backward_kernel(Fault fault, const float* dy, const float* x, Out dx, size_t rows, size_t cols) {
  if (fault.failed()) return;
  const size_t r = C::Members::row();
  if (r >= rows) return;
  const float *slopes = dy + r * cols, *gates = x + 2 * r * cols, *ups = gates + cols;
  const Out dgate = dx.from(2 * r * cols), dup = dgate.from(cols);
  for (size_t first = C::Members::lane() * C::W; first < cols; first += kMany * C::step) {
    Pack<C::W> slope[kMany], gate[kMany], up[kMany];
    each_of<kMany>(first, C::step, cols, [&](int k, size_t i) {
      slope[k] = load<C::W>(slopes, i);
      gate[k] = load<C::W>(gates, i);
      up[k] = load<C::W>(ups, i);
    });
    each_of<kMany>(first, C::step, cols, [&](int k, size_t i) {
      const Pack<C::W> s = each(sigmoid, gate[k]);
      const Pack<C::W> ds = each([](float d, float v) { return d * v; }, slope[k], s);
      store(dgate, i,
            each([](float d, float u, float g, float v) { return d * u * fmaf(g, 1.0f - v, 1.0f); }, ds, up[k], gate[k],
                 s));
      store(dup, i, each([](float d, float g) { return d * g; }, ds, gate[k]));
    });
  }
}

}  // namespace

void swiglu(Launch& l, const SwigluRow& row) {
  by_width(row.cols, [&](auto cut) {
    using C = decltype(cut);
    launch(l, swiglu_kernel<C>, C::Members::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.x), l.out(row.y),
           row.rows, row.cols);
  });
}

void swiglu_backward(Launch& l, const SwigluBackwardRow& row) {
  by_width(row.cols, [&](auto cut) {
    using C = decltype(cut);
    launch(l, swiglu_backward_kernel<C>, C::Members::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.dy),
           l.f32(row.x), l.out(row.dx), row.rows, row.cols);
  });
}

}  // namespace sweetspot::cuda
