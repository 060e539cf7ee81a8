// SwiGLU: y = silu(gate) * up, where a row of x holds the gate, then up, and silu(g) = g * sigmoid(g). Memory bound.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

// The exponential is never above 1: no overflow, and full precision for very negative gates.
__device__ float sigmoid(float g) {
  const float e = expf(-fabsf(g));
  return (g < 0 ? e : 1.0f) / (1.0f + e);
}

template <int T>
__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(Fault fault, const float* x, float* y, size_t rows, size_t cols) {
  if (fault.failed()) return;
  const size_t r = Team<T>::row();
  if (r >= rows) return;
  const float *gates = x + 2 * r * cols, *ups = gates + cols;
  for (size_t i = Team<T>::lane(); i < cols; i += T) y[r * cols + i] = gates[i] * sigmoid(gates[i]) * ups[i];
}

// dx may be x: a thread reads gate and up before it writes either place.
template <int T>
__global__ void __launch_bounds__(kThreads)
    swiglu_backward_kernel(Fault fault, const float* dy, const float* x, float* dx, size_t rows, size_t cols) {
  if (fault.failed()) return;
  const size_t r = Team<T>::row();
  if (r >= rows) return;
  for (size_t i = Team<T>::lane(); i < cols; i += T) {
    const size_t at = 2 * r * cols + i;
    const float gate = x[at], up = x[at + cols], s = sigmoid(gate), ds = dy[r * cols + i] * s;
    dx[at] = ds * up * fmaf(gate, 1.0f - s, 1.0f);
    dx[at + cols] = ds * gate;
  }
}

}  // namespace

void swiglu(Launch& l, const SwigluRow& row) {
  by_width(row.cols, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, swiglu_kernel<T>, Team<T>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.x), l.f32(row.y), row.rows,
           row.cols);
  });
}

void swiglu_backward(Launch& l, const SwigluBackwardRow& row) {
  by_width(row.cols, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, swiglu_backward_kernel<T>, Team<T>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.dy), l.f32(row.x),
           l.f32(row.dx), row.rows, row.cols);
  });
}

}  // namespace sweetspot::cuda
