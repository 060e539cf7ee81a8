// Cross entropy with its gradient in two sweeps over a row: maximum and sum of exponentials, then the gradient, which
// may take the place of the logits. Nothing of the size of the logits is stored elsewhere.
#include "cuda/kernels/exp_sum.cuh"

namespace sweetspot::cuda {
namespace {

template <int T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(Fault fault, const float* logits, const int32_t* targets, const float* scale, float* loss,
                         float* dlogits, size_t rows, size_t vocab) {
  if (fault.stopped()) return;
  const size_t r = Team<T>::row();
  if (r >= rows) return;
  const uint32_t lane = Team<T>::lane();
  const float* x = logits + r * vocab;
  float* dx = dlogits == nullptr ? nullptr : dlogits + r * vocab;
  const int32_t target = targets[r];
  if (target < 0 || target >= static_cast<int64_t>(vocab)) {
    if (target >= 0 && lane == 0) fault.raise(kTargetOutside, target, static_cast<uint32_t>(vocab));
    if (lane == 0) loss[r] = 0;
    for (size_t i = lane; dx != nullptr && i < vocab; i += T) dx[i] = 0;
    return;
  }
  // Read before any thread of the team writes over it: exp_sum ends with all of them meeting.
  const float chosen = x[target];
  const ExpSum total = exp_sum<T>(x, vocab);
  if (lane == 0) loss[r] = logf(total.sum) + (total.maximum - chosen);
  if (dx == nullptr) return;
  const float s = scale == nullptr ? 1.0f : *scale, factor = s / total.sum;
  for (size_t i = lane; i < vocab; i += T) {
    const float e = expf(x[i] - total.maximum);
    dx[i] = i == static_cast<size_t>(target) ? (e / total.sum - 1.0f) * s : e * factor;
  }
}

}  // namespace

void cross_entropy(Launch& l, const CrossEntropyRow& row) {
  by_width(row.vocab, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, cross_entropy_kernel<T>, Team<T>::grid(row.rows), kThreads, 0, l.fault(), l.f32(row.logits),
           l.i32(row.targets), l.optional(row.scale), l.f32(row.loss), l.optional(row.dlogits), row.rows, row.vocab);
  });
}

}  // namespace sweetspot::cuda
