// Distillation loss with its gradient, a team of threads a row. The teacher's tokens are taken out of the exponentials
// that are kept in dlogits while the rest is summed, because one minus their sum would lose all digits of a small rest.
#include "cuda/kernels/exp_sum.cuh"

namespace sweetspot::cuda {
namespace {

struct Distill {
  const float *logits, *p, *scale;
  const int32_t *targets, *ids;
  float *loss, *dlogits;
  size_t rows, vocab, k;
  float weight, temperature;
};

template <int T>
__device__ void meet() {
  if constexpr (T == 32)
    __syncwarp();
  else
    __syncthreads();
}

template <int T>
__global__ void __launch_bounds__(kThreads) distill_kernel(Fault fault, Distill d) {
  if (fault.stopped()) return;
  const size_t r = Team<T>::row();
  if (r >= d.rows) return;
  const uint32_t lane = Team<T>::lane();
  const float* x = d.logits + r * d.vocab;
  float* dx = d.dlogits + r * d.vocab;
  const int32_t* ids = d.ids + r * d.k;
  const float* p = d.p + r * d.k;
  const int32_t target = d.targets[r];
  bool fits = target < static_cast<int64_t>(d.vocab);
  if (!fits && lane == 0) fault.raise(kTargetOutside, target, static_cast<uint32_t>(d.vocab));
  const bool taught = target >= 0 && d.k > 0 && ids[0] >= 0;
  for (size_t j = 0; taught && fits && j < d.k; j++) {
    if (ids[j] >= 0 && ids[j] < static_cast<int64_t>(d.vocab)) continue;
    if (lane == 0) fault.raise(kTargetOutside, ids[j], static_cast<uint32_t>(d.vocab));
    fits = false;
  }
  if (target < 0 || !fits) {
    if (lane == 0) d.loss[r] = 0;
    for (size_t i = lane; i < d.vocab; i += T) dx[i] = 0;
    return;
  }
  const float share = 1.0f - d.weight, scale = *d.scale, inverse = 1.0f / d.temperature;
  const ExpSum hard = exp_sum<T>(x, d.vocab);
  const float cross = logf(hard.sum) + (hard.maximum - x[target]), first = share * scale / hard.sum;
  const auto soft = [&](size_t i) { return expf((x[i] - hard.maximum) * inverse); };
  float second = 0, known = 0, mass = 0, rest = 0, total = 0, pt = 0;
  if (taught) {
    for (size_t i = lane; i < d.vocab; i += T) dx[i] = soft(i);
    meet<T>();
    for (size_t j = lane; j < d.k; j += T) known += dx[ids[j]], mass += p[j], dx[ids[j]] = 0;
    known = Team<T>::sum(known), mass = Team<T>::sum(mass);
    meet<T>();
    for (size_t i = lane; i < d.vocab; i += T) rest += dx[i];
    rest = Team<T>::sum(rest);
    total = known + rest;
    pt = rest > 0 && mass < 1 ? 1 - mass : 0;
    second = rest > 0 ? d.weight * d.temperature * scale * ((mass + pt) / total - pt / rest) : 0;
  }
  for (size_t i = lane; i < d.vocab; i += T) {
    const float gradient = first * expf(x[i] - hard.maximum) + (taught ? second * dx[i] : 0.0f);
    dx[i] = i == static_cast<size_t>(target) ? gradient - share * scale : gradient;
  }
  float divergence = 0;
  if (taught) {
    meet<T>();
    for (size_t j = lane; j < d.k; j += T) {
      const float q = soft(ids[j]) / total;
      dx[ids[j]] += d.weight * d.temperature * scale * ((mass + pt) * q - p[j]);
      if (p[j] > 0) divergence += p[j] * (logf(p[j]) - ((x[ids[j]] - hard.maximum) * inverse - logf(total)));
    }
    divergence = Team<T>::sum(divergence) + (pt > 0 ? pt * logf(pt * total / rest) : 0.0f);
  }
  if (lane == 0) d.loss[r] = share * cross + d.weight * d.temperature * d.temperature * divergence;
}

}  // namespace

void distill_cross_entropy(Launch& l, const DistillCrossEntropyRow& row) {
  const Distill d{l.f32(row.logits), l.f32(row.p),    l.f32(row.scale),   l.i32(row.targets),
                  l.i32(row.ids),    l.f32(row.loss), l.f32(row.dlogits), row.rows,
                  row.vocab,         row.k,           row.weight,         row.temperature};
  by_width(row.vocab, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, distill_kernel<T>, Team<T>::grid(row.rows), kThreads, 0, l.fault(), d);
  });
}

}  // namespace sweetspot::cuda
