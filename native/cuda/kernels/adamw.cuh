// One step of Adam with decoupled weight decay on one number, shared by adamw and bank_adamw.
//   m = beta1 m + (1 - beta1) g    v = beta2 v + (1 - beta2) g^2
//   p -= lr (m / bias1 / (sqrt(v / bias2) + eps) + decay p)         (Loshchilov and Hutter 2019, algorithm 2)
#pragma once
#include "cuda/kernel.cuh"

namespace sweetspot::cuda {

struct AdamwStep {
  float clip, beta1, rest1, beta2, rest2, bias1, bias2, eps, decay, minus_lr;

  // hyper: lr, beta1, beta2, eps, weight decay, 1 - beta1^t, 1 - beta2^t; on the device, as is clip.
  __device__ AdamwStep(const float* hyper, const float* clip_scale, float lr_scale, float decay_scale)
      : clip(*clip_scale),
        beta1(hyper[1]),
        rest1(1.0f - hyper[1]),
        beta2(hyper[2]),
        rest2(1.0f - hyper[2]),
        bias1(1.0f / hyper[5]),
        bias2(1.0f / sqrtf(hyper[6])),
        eps(hyper[3]),
        decay(hyper[4] * decay_scale),
        minus_lr(-(hyper[0] * lr_scale)) {}

  __device__ void operator()(float gradient, float& p, float& m, float& v) const {
    const float g = gradient * clip;
    m = fmaf(beta1, m, rest1 * g);
    v = fmaf(beta2, v, rest2 * (g * g));
    // Decay is added to the step, not multiplied into p: 1 - lr * decay rounded to float would lose part of it.
    p = fmaf(minus_lr, fmaf(decay, p, m * bias1 / fmaf(sqrtf(v), bias2, eps)), p);
  }
  __device__ void operator()(float4 g, float4& p, float4& m, float4& v) const {
    (*this)(g.x, p.x, m.x, v.x);
    (*this)(g.y, p.y, m.y, v.y);
    (*this)(g.z, p.z, m.z, v.z);
    (*this)(g.w, p.w, m.w, v.w);
  }
};

}  // namespace sweetspot::cuda
