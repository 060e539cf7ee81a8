// Distillation loss with its gradient, a team of threads a row. The sum of what the teacher's tokens leave is taken
// over the others alone, because one minus the teacher's tokens would lose all digits of a small rest.
#include "cuda/kernels/exp_sum.cuh"

namespace sweetspot::cuda {
namespace {

struct Distill {
  const float *logits, *p, *scale;
  const int32_t *targets, *ids;
  float* loss;
  Out dlogits;
  size_t rows, vocab, k;
  float weight, temperature;
};

// Which tokens the teacher knows: a bit each, which tokens of a row that is not kept in registers may have to share.
template <class C>
class Known {
 public:
  __device__ Known(const int32_t* ids, size_t k) : ids_(ids), k_(k) {
    __shared__ uint32_t all[C::Members::count][kWords];
    marks_ = all[C::Members::number()];
    for (uint32_t i = C::Members::lane(); i < kWords; i += C::T) marks_[i] = 0;
    C::Members::meet();
    for (size_t j = C::Members::lane(); j < k; j += C::T) atomicOr(&marks_[ids[j] / 32 % kWords], 1u << ids[j] % 32);
    C::Members::meet();
  }
  // Bit j: token i + j of a pack.
  __device__ uint32_t of(size_t i) const {
    constexpr uint32_t pack = (1u << C::W) - 1;
    const uint32_t marked = marks_[i / 32 % kWords] >> i % 32 & pack;
    if (C::V > 0 || marked == 0) return marked;
    uint32_t known = 0;
    for (size_t j = 0; j < k_; j++)
      if (ids_[j] - i < C::W) known |= 1u << (ids_[j] - i);
    return known;
  }

 private:
  static constexpr uint32_t kWords = C::T == 32 ? 32 : 1024;  // bits for all tokens where V > 0
  const int32_t* ids_;
  size_t k_;
  uint32_t* marks_;
};

template <class C>
__global__ void __launch_bounds__(C::Members::threads) distill_kernel(Fault fault, Distill d) {
  if (fault.stopped()) return;
  const size_t r = C::Members::row();
  if (r >= d.rows) return;
  const uint32_t lane = C::Members::lane();
  const float* logits = d.logits + r * d.vocab;
  const Out dx = d.dlogits.from(r * d.vocab);
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
    each_pack<C>(d.vocab, [&](int, size_t i) { store(dx, i, Pack<C::W>{}); });
    return;
  }
  const float share = 1.0f - d.weight, scale = *d.scale, inverse = 1.0f / d.temperature;
  const Row<C> x(logits, d.vocab);
  const ExpSum hard = exp_sum(x, d.vocab);
  const auto soft = [&](float v) { return expf((v - hard.maximum) * inverse); };
  const float first = share * scale / hard.sum, strength = d.weight * d.temperature * scale;
  float second = 0, total = 0, whole = 0, divergence = 0;
  if (taught) {
    const Known<C> known(ids, d.k);
    float of_known = 0, mass = 0, rest = 0;
    for (size_t j = lane; j < d.k; j += C::T) of_known += soft(logits[ids[j]]), mass += p[j];
    each_pack<C>(d.vocab, [&](int k, size_t i) {
      const Pack<C::W> some = x.get(k, i);
      const uint32_t bits = known.of(i);
#pragma unroll
      for (int j = 0; j < C::W; j++) rest += (bits >> j & 1) != 0 ? 0.0f : soft(some.at[j]);
    });
    of_known = C::Members::sum(of_known), mass = C::Members::sum(mass), rest = C::Members::sum(rest);
    total = of_known + rest;
    const float pt = rest > 0 && mass < 1 ? 1 - mass : 0;
    whole = mass + pt;
    second = rest > 0 ? strength * (whole / total - pt / rest) : 0;
    for (size_t j = lane; j < d.k; j += C::T)
      if (p[j] > 0) divergence += p[j] * (logf(p[j]) - ((logits[ids[j]] - hard.maximum) * inverse - logf(total)));
    divergence = C::Members::sum(divergence) + (pt > 0 ? pt * logf(pt * total / rest) : 0.0f);
  }
  if (lane == 0) {
    const float cross = logf(hard.sum) + (hard.maximum - logits[target]);
    d.loss[r] = share * cross + d.weight * d.temperature * d.temperature * divergence;
  }
  // Of token i without the teacher's part.
  const auto plain = [&](float v, size_t i) {
    return first * expf(v - hard.maximum) - (i == static_cast<uint32_t>(target) ? share * scale : 0.0f);
  };
  each_pack<C>(d.vocab, [&](int k, size_t i) {
    const Pack<C::W> some = x.get(k, i);
    Pack<C::W> y;
#pragma unroll
    for (int j = 0; j < C::W; j++) {
      y.at[j] = plain(some.at[j], i + j);
      if (taught) y.at[j] = fmaf(second, soft(some.at[j]), y.at[j]);
    }
    store(dx, i, y);
  });
  if (taught) {
    // The teacher's tokens are written again.
    C::Members::meet();
    for (size_t j = lane; j < d.k; j += C::T) {
      const float v = logits[ids[j]];
      dx.put(ids[j], plain(v, ids[j]) + strength * (whole * (soft(v) / total) - p[j]));
    }
  }
}

}  // namespace

void distill_cross_entropy(Launch& l, const DistillCrossEntropyRow& row) {
  const Distill d{l.f32(row.logits), l.f32(row.p),    l.f32(row.scale),   l.i32(row.targets),
                  l.i32(row.ids),    l.f32(row.loss), l.out(row.dlogits), row.rows,
                  row.vocab,         row.k,           row.weight,         row.temperature};
  by_row<kMostThreads>(row.vocab, [&](auto cut) {
    using C = decltype(cut);
    launch(l, distill_kernel<C>, C::Members::grid(row.rows), C::Members::threads, 0, l.fault(), d);
  });
}

}  // namespace sweetspot::cuda
