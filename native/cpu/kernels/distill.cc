// Distillation loss with its gradient. The exponentials at the teacher's temperature are kept in dlogits; the teacher's
// tokens are taken out of it while the rest is summed, because one minus their sum would lose all digits of a small
// rest.
#include "cpu/kernels/rows.h"

namespace sweetspot::SWEETSPOT_ISA {
namespace {

constexpr size_t kElements = 8192;

struct Student {
  const float* x;
  size_t vocab, target;
  float scale, weight, temperature;
};
struct Teacher {
  const int32_t* ids;
  const float* p;
  size_t k;
};

// x -> y = exp((x - shift) * factor); returns the sum.
float exponentials(const float* x, float* y, size_t n, float shift, float factor) {
  const Vec s = Vec::set(shift), f = Vec::set(factor);
  Vec total = Vec::zero();
  each_vec(n, [&](size_t i, auto lanes) {
    const Vec e = exp((lanes.load(x + i) - s) * f);
    lanes.store(e, y + i);
    total = total + keep(lanes, e, Vec::zero());
  });
  return sum(total);
}

// The first term alone: (1 - weight) cross entropy.
float without_teacher(const Student& s, float* dx) {
  const float share = 1.0f - s.weight, maximum = row_max(s.x, s.vocab), chosen = s.x[s.target];
  const float total = row_exp<true>(s.x, dx, s.vocab, maximum), probability = dx[s.target] / total;
  row_scale(dx, s.vocab, share * s.scale / total);
  dx[s.target] = (probability - 1.0f) * share * s.scale;
  return share * (std::log(total) + (maximum - chosen));
}

float with_teacher(const Student& s, const Teacher& t, float* dx) {
  const float maximum = row_max(s.x, s.vocab), inverse = 1.0f / s.temperature, share = 1.0f - s.weight;
  const float hard = row_exp<false>(s.x, nullptr, s.vocab, maximum);
  exponentials(s.x, dx, s.vocab, maximum, inverse);
  double known = 0, mass = 0;
  for (size_t j = 0; j < t.k; j++) {
    known += dx[t.ids[j]];
    mass += t.p[j];
    dx[t.ids[j]] = 0.0f;
  }
  Vec rest_sum = Vec::zero();
  each_vec(s.vocab, [&](size_t i, auto lanes) { rest_sum = rest_sum + lanes.load(dx + i); });
  const double rest = sum(rest_sum), total = known + rest;
  const double pt = rest > 0 && mass < 1 ? 1 - mass : 0, all = mass + pt;  // 1, but where nothing is left

  double divergence = pt > 0 ? pt * std::log(pt * total / rest) : 0;
  for (size_t j = 0; j < t.k; j++) {
    const double p = t.p[j], log_q = (s.x[t.ids[j]] - maximum) * static_cast<double>(inverse) - std::log(total);
    if (p > 0) divergence += p * (std::log(p) - log_q);
  }
  // Tokens of the rest: (1 - weight) softmax + weight temperature q (all - pt / qt), where qt = rest / total.
  const float soft = s.weight * s.temperature;
  const float first = share * s.scale / hard;
  const float second = rest > 0 ? static_cast<float>(soft * s.scale * (all / total - pt / rest)) : 0.0f;
  const Vec f = Vec::set(first), g = Vec::set(second), shift = Vec::set(maximum);
  each_vec(s.vocab, [&](size_t i, auto lanes) {
    const Vec e = exp(lanes.load(s.x + i) - shift);
    lanes.store(fma(f, e, g * lanes.load(dx + i)), dx + i);
  });
  for (size_t j = 0; j < t.k; j++) {
    const double q = std::exp((s.x[t.ids[j]] - maximum) * static_cast<double>(inverse)) / total;
    dx[t.ids[j]] += static_cast<float>(soft * s.scale * (all * q - t.p[j]));
  }
  dx[s.target] -= share * s.scale;
  const double cross = std::log(hard) + (maximum - s.x[s.target]);
  return static_cast<float>(share * cross + soft * s.temperature * divergence);
}

}  // namespace

void distill_cross_entropy(Context& ctx, const DistillCrossEntropyRow& row) {
  const size_t vocab = row.vocab, k = row.k;
  const float *logits = ctx.f32(row.logits), *p = ctx.f32(row.p);
  const int32_t *targets = ctx.i32(row.targets), *ids = ctx.i32(row.ids);
  const float scale = *ctx.f32(row.scale), weight = row.weight, temperature = row.temperature;
  float *loss = ctx.f32(row.loss), *dlogits = ctx.f32(row.dlogits);
  each_row(ctx, row.rows, vocab, kElements, [=, &ctx](size_t r) {
    const int32_t target = targets[r];
    float* dx = dlogits + r * vocab;
    if (target < 0) {
      loss[r] = 0.0f;
      std::memset(dx, 0, vocab * sizeof(float));
      return;
    }
    if (static_cast<size_t>(target) >= vocab) {
      ctx.fail("target %d in row %zu is outside the vocabulary of %zu", target, r, vocab);
      return;
    }
    const Student student{logits + r * vocab, vocab, static_cast<size_t>(target), scale, weight, temperature};
    const Teacher teacher{ids + r * k, p + r * k, k};
    if (k == 0 || teacher.ids[0] < 0) {
      loss[r] = without_teacher(student, dx);
      return;
    }
    for (size_t j = 0; j < k; j++) {
      if (teacher.ids[j] >= 0 && static_cast<size_t>(teacher.ids[j]) < vocab) continue;
      ctx.fail("token %d of the teacher in row %zu is outside the vocabulary of %zu", teacher.ids[j], r, vocab);
      return;
    }
    loss[r] = with_teacher(student, teacher, dx);
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
