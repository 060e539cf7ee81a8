// A bank: weights generated as shared slice plus coefficients times slices (PAPER, projected network: W = S + sum_r c_r T_r).
// The gradient of the slices has rank G and is never stored: the tape remembers dW and c for the optimizer.
import { tape } from '../autograd/tape.js';
import { sizeOf, type Tensor } from '../tensor/tensor.js';

/**
 * Weights of G groups: coefficients (G, R), slices (R, ...shape) in tile order, optional shared slice (...shape)
 * -> (G, ...shape). The size of `shape` is a multiple of 256.
 */
export function bankMix(slices: Tensor, coefficients: Tensor, shared: Tensor | undefined): Tensor {
  const t = tape();
  const shape = slices.shape.slice(1);
  const size = sizeOf(shape);
  const [groups, count] = [coefficients.shape[0]!, coefficients.shape[1]!];
  const dims = { groups, slices: count, size };
  const requiresGrad = slices.requiresGrad || coefficients.requiresGrad || (shared?.requiresGrad ?? false);
  const w = t.temporary([groups, ...shape], { requiresGrad, name: 'generated' });
  t.emit('bank_mix', { t: slices, c: coefficients, s: shared, w }, dims, {});
  t.node([w], () => {
    const dw = t.incoming(w);
    if (coefficients.requiresGrad) {
      const dc = t.grad(coefficients);
      t.emit('bank_mix_backward', { dw, t: slices, add: dc.add, dc: dc.out }, dims, {});
    }
    if (shared?.requiresGrad === true) {
      const ds = t.grad(shared);
      t.emit('reduce_sum', { x: dw, add: ds.add, y: ds.out }, { outer: 1, n: groups, inner: size }, { alpha: 1 });
    }
    if (slices.requiresGrad) t.bankGradients.push({ slices, dw, coefficients });
  });
  return w;
}
