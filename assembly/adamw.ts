// One step of Adam with decoupled weight decay on four floats, shared by adamw and bank_adamw.
//   m = beta1 m + (1 - beta1) g    v = beta2 v + (1 - beta2) g^2
//   p -= lr (m / bias1 / (sqrt(v / bias2) + eps) + decay p)         (Loshchilov and Hutter 2019, algorithm 2)
import { fma, loadFirst, set, storeFirst } from './vec';

/** What does not change within a row, each in all four lanes. Lies in locals(), 160 bytes. */
@unmanaged
export class AdamwStep {
  clip: v128;
  beta1: v128;
  rest1: v128;
  beta2: v128;
  rest2: v128;
  bias1: v128;
  bias2: v128;
  eps: v128;
  decay: v128;
  minusLr: v128;

  /** hyper: lr, beta1, beta2, eps, weight decay, 1 - beta1^t, 1 - beta2^t */
  prepare(hyper: usize, clip: usize, lrScale: f32, decayScale: f32): void {
    const beta1 = load<f32>(hyper, 4), beta2 = load<f32>(hyper, 8);
    this.clip = set(load<f32>(clip));
    this.beta1 = set(beta1);
    this.rest1 = set(1 - beta1);
    this.beta2 = set(beta2);
    this.rest2 = set(1 - beta2);
    this.bias1 = set(1 / load<f32>(hyper, 20));
    this.bias2 = set(1 / sqrt<f32>(load<f32>(hyper, 24)));
    this.eps = set(load<f32>(hyper, 12));
    this.decay = set(load<f32>(hyper, 16) * decayScale);
    this.minusLr = set(-(load<f32>(hyper) * lrScale));
  }

  /** p after the step; m and v at their addresses move too. Only the first n (at most 4) of these are there. */
  // @ts-ignore: decorator
  @inline
  step(gradient: v128, p: v128, m: usize, v: usize, n: usize): v128 {
    const g = f32x4.mul(gradient, this.clip);
    const mean = fma(this.beta1, n == 4 ? v128.load(m) : loadFirst(m, n), f32x4.mul(this.rest1, g));
    const square = f32x4.mul(this.rest2, f32x4.mul(g, g));
    const variance = fma(this.beta2, n == 4 ? v128.load(v) : loadFirst(v, n), square);
    if (n == 4) {
      v128.store(m, mean);
      v128.store(v, variance);
    } else {
      storeFirst(m, mean, n);
      storeFirst(v, variance, n);
    }
    const size = fma(f32x4.sqrt(variance), this.bias2, this.eps);
    // Decay is added to the step, not multiplied into p: 1 - lr * decay rounded to float would lose part of it.
    const move = fma(this.decay, p, f32x4.div(f32x4.mul(mean, this.bias1), size));
    return fma(this.minusLr, move, p);
  }
}
