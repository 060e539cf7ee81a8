// A bank: weights generated as shared slice plus coefficients times slices (PAPER, projected network: W = S + sum_r c_r T_r).
// The gradient of the slices has rank G and is never stored: the tape remembers dW and c for the optimizer.
import { tape } from '../autograd/tape.js';
import { reshape, sizeOf, type Tensor } from '../tensor/tensor.js';
import { mul } from './elementwise.js';
import { matmul } from './matmul.js';
import { repeat } from './reduce.js';

/** The dim `dtype` of rows that work on slices: 0 f32, 1 bf16, as in cast. */
export const sliceDtype = (slices: Tensor): number => (slices.dtype === 'bf16' ? 1 : 0);

/**
 * Weights of G groups: coefficients (G, R), slices (R, ...shape) in tile order, f32 or bf16, optional shared slice (...shape)
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
  const dims = { groups, slices: number, size, dtype: sliceDtype(slices) };
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

/**
 * The same with slices of low rank, T_j = A_j B_j of rank r: a (out, R r) and b (R r, in) hold all A_j and B_j side by side,
 *   w[g] = s + (a, its columns times the coefficients of their slices) b
 * coefficients (G, R), shared (out, in) -> (G, out, in). One product for all groups, in the tape's precision; scaling and adding are passes over what
 * is R r / in of the result, and over the result. There is no `count`: groups without rows are made too.
 */
export function lowRankMix(a: Tensor, b: Tensor, coefficients: Tensor, shared: Tensor): Tensor {
  const [out, inner] = [a.shape[0]!, a.shape[1]!];
  const [groups, slices] = [coefficients.shape[0]!, coefficients.shape[1]!];
  const columns = reshape(repeat(coefficients, 2, inner / slices), [groups, inner]);
  const scaled = mul(repeat(a, 0, groups), repeat(columns, 1, out)); // (G, out, R r)
  return repeat(shared, 0, groups, matmul(reshape(scaled, [groups * out, inner]), b));
}
