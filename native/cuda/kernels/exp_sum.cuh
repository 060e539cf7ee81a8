// The first sweep over a row of softmax and cross entropy: its maximum and the sum of exp(x - maximum), read once.
#pragma once
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {

struct ExpSum {
  float maximum, sum;
};

// Of x[0 .. n - 1], for all threads of a team. Each thread keeps a maximum of its own and rescales its sum when a
// larger number comes, four numbers at a time. A NaN is lost in the maximum but not in the sum.
template <int T>
__device__ ExpSum exp_sum(const float* x, size_t n) {
  float maximum = -INFINITY, sum = 0;
  for (size_t i = Team<T>::lane(); i < n; i += 4 * T) {
    float four[4], most = maximum;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      four[k] = i + k * T < n ? x[i + k * T] : -INFINITY;
      most = fmaxf(most, four[k]);
    }
    const float shift = safe_shift(most);
    sum *= expf(maximum - shift);
    maximum = most;
#pragma unroll
    for (int k = 0; k < 4; k++)
      if (i + k * T < n) sum += expf(four[k] - shift);
  }
  const float most = Team<T>::max(maximum), shift = safe_shift(most);
  return {most, Team<T>::sum(sum * expf(maximum - shift))};
}

}  // namespace sweetspot::cuda
