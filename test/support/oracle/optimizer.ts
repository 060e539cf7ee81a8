// Oracle of gradient clipping, AdamW (Loshchilov and Hutter 2019, decoupled decay, with bias correction) and the element by
// element parts of Muon.
import type { OracleTable } from './op.js';
import { DataError } from './op.js';

export const optimizer: Pick<OracleTable, 'clip_scale' | 'adamw' | 'muon_momentum' | 'muon_update'> = {
  clip_scale: ({ squares, norm, scale }, { n }, { maxNorm }) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += squares[i]!;
    norm[0] = Math.sqrt(sum);
    if (!Number.isFinite(norm[0])) throw new DataError(`the gradient norm is ${norm[0]}`);
    scale[0] = maxNorm === 0 ? 1 : Math.min(1, maxNorm / norm[0]);
  },

  adamw: ({ g, hyper, clip, p, m, v }, { n }, scalars) => {
    for (let i = 0; i < n; i++) adamwStep(g[i]! * clip[0]!, hyper, scalars, p, m, v, i);
  },

  muon_momentum: ({ g, clip, m, x }, { batch, n, stride }, { momentum, eps }) => {
    for (let b = 0; b < batch; b++) {
      let squares = 0;
      for (let i = 0; i < n; i++) {
        const at = b * stride + i;
        const fresh = (1 - momentum) * g[at]! * clip[0]!;
        m[at] = momentum * m[at]! + fresh;
        x[b * n + i] = momentum * m[at]! + fresh;
        squares += x[b * n + i]! ** 2;
      }
      for (let i = 0; i < n; i++) x[b * n + i]! /= Math.sqrt(squares) + eps;
    }
  },

  muon_update: ({ x, hyper, p }, { batch, n, stride }, { scale, lrScale }) => {
    const [lr, decay] = [hyper[0]!, hyper[4]!];
    for (let b = 0; b < batch; b++)
      for (let i = 0; i < n; i++) {
        const at = b * stride + i;
        p[at]! -= lr * lrScale * (scale * x[b * n + i]! + decay * p[at]!);
      }
  },
};

/** One element at index `i`; hyper = lr, beta1, beta2, eps, weight decay, 1 - beta1^t, 1 - beta2^t. */
export function adamwStep(
  g: number,
  hyper: Float64Array,
  scalars: { readonly lrScale: number; readonly decayScale: number },
  p: Float64Array,
  m: Float64Array,
  v: Float64Array,
  i: number,
): void {
  const [lr, beta1, beta2, eps, decay, correction1, correction2] = hyper as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  m[i] = beta1 * m[i]! + (1 - beta1) * g;
  v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
  const update = m[i]! / correction1 / (Math.sqrt(v[i]! / correction2) + eps);
  p[i]! -= lr * scalars.lrScale * (update + decay * scalars.decayScale * p[i]!);
}
