// One step of Adam with decoupled weight decay on one vector, shared by adamw and bank_adamw.
//   m = beta1 m + (1 - beta1) g    v = beta2 v + (1 - beta2) g^2
//   p -= lr (m / bias1 / (sqrt(v / bias2) + eps) + decay p)         (Loshchilov and Hutter 2019, algorithm 2)
#pragma once
#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

struct AdamwStep {
  Vec clip, beta1, rest1, beta2, rest2, bias1, bias2, eps, decay, minus_lr;

  // hyper: lr, beta1, beta2, eps, weight decay, 1 - beta1^t, 1 - beta2^t
  AdamwStep(const float* hyper, float clip_scale, float lr_scale, float decay_scale)
      : clip(Vec::set(clip_scale)),
        beta1(Vec::set(hyper[1])),
        rest1(Vec::set(1.0f - hyper[1])),
        beta2(Vec::set(hyper[2])),
        rest2(Vec::set(1.0f - hyper[2])),
        bias1(Vec::set(1.0f / hyper[5])),
        bias2(Vec::set(1.0f / std::sqrt(hyper[6]))),
        eps(Vec::set(hyper[3])),
        decay(Vec::set(hyper[4] * decay_scale)),
        minus_lr(Vec::set(-(hyper[0] * lr_scale))) {}

  void operator()(Vec gradient, Vec& p, Vec& m, Vec& v) const {
    const Vec g = gradient * clip;
    m = fma(beta1, m, rest1 * g);
    v = fma(beta2, v, rest2 * (g * g));
    // Decay is added to the step, not multiplied into p: 1 - lr * decay rounded to float would lose part of it.
    const Vec step = fma(decay, p, m * bias1 / fma(sqrt(v), bias2, eps));
    p = fma(minus_lr, step, p);
  }
};

}  // namespace sweetspot::SWEETSPOT_ISA
