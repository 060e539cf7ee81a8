// Softmax over rows and its gradient. Each row is shifted by its maximum, so that exp never overflows. A team of
// threads owns a row and reads it once where it fits in their registers.
#include "cuda/kernels/exp_sum.cuh"

namespace sweetspot::cuda {
namespace {

template <class C>
__global__ void __launch_bounds__(C::Members::threads)
    softmax_kernel(Fault fault, const float* x, Out y, size_t rows, size_t cols) {
  if (fault.failed()) return;
  const size_t r = C::Members::row();
  if (r >= rows) return;
  const ExpRow<C> e(x + r * cols, cols);
  const float inverse = 1.0f / e.total.sum;
  y = y.from(r * cols);
  each_pack<C>(cols, [&](int k, size_t i) { store(y, i, each([&](float v) { return v * inverse; }, e.get(k, i))); });
}

template <class C>
__global__ void __launch_bounds__(C::Members::threads)
    softmax_backward_kernel(Fault fault, const float* dy, const float* y, Out dx, size_t rows, size_t cols) {
  if (fault.failed()) return;
  const size_t r = C::Members::row();
  if (r >= rows) return;
  const Row<C> d(dy + r * cols, cols), p(y + r * cols, cols);
  float dot = 0;
  each_pack<C>(cols, [&](int k, size_t i) {
    const Pack<C::W> a = d.get(k, i), b = p.get(k, i);
#pragma unroll
    for (int j = 0; j < C::W; j++) dot = fmaf(a.at[j], b.at[j], dot);
  });
  const float mean = C::Members::sum(dot);
  dx = dx.from(r * cols);
  each_pack<C>(cols, [&](int k, size_t i) {
    store(dx, i, each([&](float a, float b) { return b * (a - mean); }, d.get(k, i), p.get(k, i)));
  });
}

}  // namespace

void softmax(Launch& l, const SoftmaxRow& row) {
  by_row<kMostThreads>(row.cols, [&](auto cut) {
    using C = decltype(cut);
    launch(l, softmax_kernel<C>, C::Members::grid(row.rows), C::Members::threads, 0, l.fault(), l.f32(row.x),
           l.out(row.y), row.rows, row.cols);
  });
}

void softmax_backward(Launch& l, const SoftmaxBackwardRow& row) {
  by_row<kThreads>(row.cols, [&](auto cut) {
    using C = decltype(cut);
    launch(l, softmax_backward_kernel<C>, C::Members::grid(row.rows), C::Members::threads, 0, l.fault(), l.f32(row.dy),
           l.f32(row.y), l.out(row.dx), row.rows, row.cols);
  });
}

}  // namespace sweetspot::cuda
