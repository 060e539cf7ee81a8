// A bank: weights generated as shared slice plus coefficients times slices (PAPER, projected network: W = S + sum_r c_r T_r).
// The gradient of the slices has rank G and is never stored: the tape remembers dW and c for the optimizer.
import { tape } from '../autograd/tape.js';
import { sizeOf, type Tensor } from '../tensor/tensor.js';

/**
 * Weights of G groups: coefficients (G, R), slices (R, ...shape) in tile order, optional shared slice (...shape)
 * -> (G, ...shape). The size of `shape` is a multiple of 256. `count`, i32 (1): only the first count groups are made, and
 * cost anything; the weights of the others are undefined and their gradients must be left unwritten (groupedLinear).
 */
export function bankMix(
  slices: Tensor,
  coefficients: Tensor,
  shared: Tensor | undefined,
  count?: Tensor | undefined,
): Tensor {
  const t = tape();
  const shape = slices.shape.slice(1);
  const size = sizeOf(shape);
  const [groups, number] = [coefficients.shape[0]!, coefficients.shape[1]!];
  const dims = { groups, slices: number, size };
  const requiresGrad = slices.requiresGrad || coefficients.requiresGrad || (shared?.requiresGrad ?? false);
  const w = t.temporary([groups, ...shape], { requiresGrad, name: 'generated' });
  t.emit('bank_mix', { t: slices, c: coefficients, count, s: shared, w }, dims, {});
  t.node([w], () => {
    const dw = t.incoming(w);
    const ds = shared?.requiresGrad === true ? t.grad(shared) : undefined;
    if (coefficients.requiresGrad || ds !== undefined) {
      const dc = coefficients.requiresGrad
        ? t.grad(coefficients)
        : { out: t.temporary(coefficients.shape), add: undefined };
      const operands = { dw, t: slices, count, add: dc.add, adds: ds?.add, dc: dc.out, ds: ds?.out };
      t.emit('bank_mix_backward', operands, dims, {});
    }
    if (slices.requiresGrad) t.bankGradients.push({ slices, dw, coefficients, count });
  });
  return w;
}
