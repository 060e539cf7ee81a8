// A row's exponentials with its maximum and their sum, for softmax and cross entropy.
#pragma once
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {

struct ExpSum {
  float maximum, sum;  // sum of exp(x - maximum)
};

__device__ inline ExpSum warp_exp_sum(ExpSum mine) {
  const float most = warp_max(mine.maximum);
  return {most, warp_sum(mine.sum * expf(mine.maximum - safe_shift(most)))};
}

// Of the parts that the threads of a team bring; every thread gets it. Begins with all of them meeting.
template <int T>
__device__ ExpSum team_exp_sum(ExpSum mine) {
  static_assert(T >= 32);
  Team<T>::meet();
  mine = warp_exp_sum(mine);
  if constexpr (T > 32) {
    __shared__ ExpSum part[T / 32];
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = mine;
    __syncthreads();
    mine = warp_exp_sum(threadIdx.x % 32 < T / 32 ? part[threadIdx.x % 32] : ExpSum{-INFINITY, 0});
  }
  return mine;
}

// Of x[0 .. n - 1], for all threads of a team. Each thread keeps a maximum of its own and rescales its sum when a
// larger number comes, a few packs at a time. A NaN is lost in the maximum but not in the sum.
template <class C>
__device__ ExpSum exp_sum(const Row<C>& x, size_t n) {
  constexpr int many = C::V > 0 ? C::V : 4;
  float maximum = -INFINITY, sum = 0;
  for (size_t first = C::Members::lane() * C::W; first < n; first += many * C::step) {
    Pack<C::W> some[many];
    float most = maximum;
    each_of<many>(first, C::step, n, [&](int k, size_t i) { some[k] = x.get(k, i); });
    each_of<many>(first, C::step, n, [&](int k, size_t) {
#pragma unroll
      for (int j = 0; j < C::W; j++) most = fmaxf(most, some[k].at[j]);
    });
    const float shift = safe_shift(most);
    sum *= expf(maximum - shift);
    maximum = most;
    each_of<many>(first, C::step, n, [&](int k, size_t) {
#pragma unroll
      for (int j = 0; j < C::W; j++) sum += expf(some[k].at[j] - shift);
    });
    if constexpr (C::V > 0) break;
  }
  return team_exp_sum<C::T>({maximum, sum});
}

// exp(x - maximum) of a row. Kept in registers it is computed once, against the maximum of a thread's own numbers, and
// rescaled at the end.
template <class C>
class ExpRow {
 public:
  ExpSum total;

  __device__ ExpRow(const In& x, size_t n) : row_(x, n) {
    if constexpr (C::V > 0) {
      float most = -INFINITY, sum = 0;
      each_pack<C>(n, [&](int k, size_t i) {
#pragma unroll
        for (int j = 0; j < C::W; j++) most = fmaxf(most, row_.get(k, i).at[j]);
      });
      const float shift = safe_shift(most);
      each_pack<C>(n, [&](int k, size_t i) {
        row_.set(k, each([&](float v) { return expf(v - shift); }, row_.get(k, i)));
#pragma unroll
        for (int j = 0; j < C::W; j++) sum += row_.get(k, i).at[j];
      });
      total = team_exp_sum<C::T>({most, sum});
      rescale_ = expf(most - safe_shift(total.maximum));
    } else {
      total = exp_sum(row_, n);
    }
  }
  __device__ Pack<C::W> get(int k, size_t i) const {
    return each([&](float v) { return C::V > 0 ? v * rescale_ : expf(v - total.maximum); }, row_.get(k, i));
  }

 private:
  Row<C> row_;
  float rescale_ = 1;
};

}  // namespace sweetspot::cuda
