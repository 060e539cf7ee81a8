// Softmax over rows and its gradient. Each row is shifted by its maximum, so that exp never overflows. A team of
// threads owns a row and reads it twice.
#include "cuda/kernels/exp_sum.cuh"

namespace sweetspot::cuda {
namespace {

template <int T>
__global__ void __launch_bounds__(kThreads)
    softmax_kernel(Fault fault, const float* x, float* y, size_t rows, size_t cols) {
  if (fault.failed()) return;
  const size_t r = Team<T>::row();
  if (r >= rows) return;
  const ExpSum total = exp_sum<T>(x + r * cols, cols);
  const float inverse = 1.0f / total.sum;
  for (size_t i = Team<T>::lane(); i < cols; i += T) y[r * cols + i] = expf(x[r * cols + i] - total.maximum) * inverse;
}

template <int T>
__global__ void __launch_bounds__(kThreads)
    softmax_backward_kernel(Fault fault, const float* dy, const float* y, float* dx, size_t rows, size_t cols) {
  if (fault.failed()) return;
  const size_t r = Team<T>::row();
  if (r >= rows) return;
  const float *d = dy + r * cols, *p = y + r * cols;
  float dot = 0;
  for (size_t i = Team<T>::lane(); i < cols; i += T) dot = fmaf(d[i], p[i], dot);
  const float mean = Team<T>::sum(dot);
  for (size_t i = Team<T>::lane(); i < cols; i += T) dx[r * cols + i] = p[i] * (d[i] - mean);
}

}  // namespace

void softmax(Launch& l, const SoftmaxRow& row) {
  by_width(row.cols, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, softmax_kernel<T>, Team<T>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.x), l.f32(row.y), row.rows,
           row.cols);
  });
}

void softmax_backward(Launch& l, const SoftmaxBackwardRow& row) {
  by_width(row.cols, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, softmax_backward_kernel<T>, Team<T>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.dy), l.f32(row.y),
           l.f32(row.dx), row.rows, row.cols);
  });
}

}  // namespace sweetspot::cuda
