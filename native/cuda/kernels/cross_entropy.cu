// Cross entropy with its gradient, which may take the place of the logits: maximum and sum of exponentials, then the
// gradient. A row that fits in a block's registers is read once. Nothing of the size of the logits is stored elsewhere.
#include "cuda/kernels/exp_sum.cuh"

namespace sweetspot::cuda {
namespace {

template <class C>
__global__ void __launch_bounds__(C::Members::threads)
    cross_entropy_kernel(Fault fault, In logits, const int32_t* targets, const float* scale, float* loss, Out dlogits,
                         bool gradient, size_t rows, size_t vocab) {
  if (fault.stopped()) return;
  const size_t r = C::Members::row();
  if (r >= rows) return;
  const bool first = C::Members::lane() == 0;
  const In x = logits.from(r * vocab);
  const Out dx = dlogits.from(r * vocab);
  const int32_t target = targets[r];
  if (target < 0 || target >= static_cast<int64_t>(vocab)) {
    if (target >= 0 && first) fault.raise(kTargetOutside, target, static_cast<uint32_t>(vocab));
    if (first) loss[r] = 0;
    if (gradient) each_pack<C>(vocab, [&](int, size_t i) { store(dx, i, Pack<C::W>{}); });
    return;
  }
  // Read before any thread of the team writes over it: they meet before they have the sum.
  const float chosen = x.get(target);
  const ExpRow<C> e(x, vocab);
  const ExpSum total = e.total;
  if (first) loss[r] = logf(total.sum) + (total.maximum - chosen);
  if (!gradient) return;
  const float s = scale == nullptr ? 1.0f : *scale, factor = s / total.sum;
  each_pack<C>(vocab, [&](int k, size_t i) {
    const Pack<C::W> some = e.get(k, i);
    Pack<C::W> y = each([&](float v) { return v * factor; }, some);
#pragma unroll
    for (int j = 0; j < C::W; j++)
      if (i + j == static_cast<uint32_t>(target)) y.at[j] = (some.at[j] / total.sum - 1.0f) * s;
    store(dx, i, y);
  });
}

}  // namespace

void cross_entropy(Launch& l, const CrossEntropyRow& row) {
  const bool gradient = row.dlogits.present();
  by_row<kMostThreads>(row.vocab, [&](auto cut) {
    using C = decltype(cut);
    launch(l, cross_entropy_kernel<C>, C::Members::grid(row.rows), C::Members::threads, 0, l.fault(), l.in(row.logits),
           l.i32(row.targets), l.optional(row.scale), l.f32(row.loss), gradient ? l.out(row.dlogits) : Out{}, gradient,
           row.rows, row.vocab);
  });
}

}  // namespace sweetspot::cuda
