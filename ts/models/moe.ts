// Softmax-routed mixture layers: in place of one feed-forward block E experts, of which a router picks k for every token.
//   s = W_r x                                          logits, one an expert
//   y = sum over the k largest s_e + b_e of p_e FF_e(x)  (+ FF_shared(x), which every token passes)
// with p = softmax over the chosen s (Mixtral, Jiang et al. 2024) or softmax(s) at them, which for k = 1 is Switch
// (Fedus et al. 2021). b, where there is one, steers the choice alone (DeepSeek-V3, Liu et al. 2024). Nothing is dropped:
// N k rows pass the experts whatever the choices are (MegaBlocks, Gale et al. 2022). W_r is multiplied in fp32 in every
// precision: rounded logits would make other choices in training than in use.
import type { ParameterSpec } from '../nn/parameters.js';
import { add } from '../ops/elementwise.js';
import { groupedLinear, linear } from '../ops/matmul.js';
import { combineRows, gatherRows, routeSort, topkSoftmax } from '../ops/routing.js';
import { swiglu } from '../ops/swiglu.js';
import { reshape, rowsOf, type Tensor } from '../tensor/tensor.js';
import type { MoeConfig, TransformerConfig } from './config.js';
import type { FeedForward, Linear, Weights } from './transformer.js';

/** Parameters of routed layer i, by name. Gate and up are one matrix, and all experts one tensor. */
export const routedNames = (i: number) => ({
  router: `layers.${i}.moe.router`,
  bias: `layers.${i}.moe.bias`,
  gateUp: `layers.${i}.moe.gate_up`,
  down: `layers.${i}.moe.down`,
  sharedGateUp: `layers.${i}.moe.shared.gate_up`,
  sharedDown: `layers.${i}.moe.shared.down`,
});

/** What routed layer i has in place of the two feed-forward matrices. */
export function routedParameters(
  { hiddenSize: C }: TransformerConfig,
  { experts: E, width: F, sharedWidth: S, biased }: MoeConfig,
  i: number,
  std: { readonly inner: number; readonly residual: number },
): ParameterSpec[] {
  const names = routedNames(i);
  const normal = (s: number) => ({ kind: 'normal', std: s }) as const;
  const specs: ParameterSpec[] = [
    { name: names.router, shape: [E, C], kind: 'matrix', init: normal(std.inner) },
    { name: names.gateUp, shape: [E, 2 * F, C], kind: 'hidden', parts: [F, F], init: normal(std.inner) },
    { name: names.down, shape: [E, C, F], kind: 'hidden', init: normal(std.residual) },
  ];
  if (biased) specs.push({ name: names.bias, shape: [E], kind: 'state', init: { kind: 'constant', value: 0 } });
  if (S > 0) {
    specs.push(
      { name: names.sharedGateUp, shape: [2 * S, C], kind: 'hidden', parts: [S, S], init: normal(std.inner) },
      { name: names.sharedDown, shape: [C, S], kind: 'hidden', init: normal(std.residual) },
    );
  }
  return specs;
}

/** What a router decided: for losses and figures. */
export interface Routing {
  /** (N, E) */
  readonly logits: Tensor;
  /** (N): log of the denominator of their softmax. */
  readonly lse: Tensor;
  /** i32 (E + 1): expert e has the choices offsets[e] .. offsets[e + 1]. */
  readonly offsets: Tensor;
}

/** The feed-forward block of every layer: routed where `moe` says so, `dense` in the others. `watch` sees every router. */
export function routedFeedForward(
  moe: MoeConfig,
  parameters: Weights,
  project: Linear,
  dense: FeedForward,
  watch?: (routing: Routing, layer: number) => void,
): FeedForward {
  const w = (name: string) => parameters.tensor(name);
  return (x, layer, residual) => {
    if (!moe.layers.includes(layer)) return dense(x, layer, residual);
    const names = routedNames(layer);
    const logits = linear(reshape(x, [rowsOf(x), x.shape.at(-1)!]), w(names.router), { precision: 'fp32' }); // (N, E)
    const bias = moe.biased ? w(names.bias) : undefined;
    const { normalize, topK } = moe;
    const { p, ids, lse } = topkSoftmax(logits, topK, { normalize, ...(bias && { bias }), lse: watch !== undefined });
    const routes = routeSort(ids, moe.experts);
    watch?.({ logits, lse: lse!, offsets: routes.offsets }, layer);
    const inner = swiglu(groupedLinear(gatherRows(x, routes), w(names.gateUp), routes.offsets)); // (N k, F)
    const y = combineRows(groupedLinear(inner, w(names.down), routes.offsets), p, routes); // (N, C)
    const sum = add(residual, reshape(y, x.shape));
    if (moe.sharedWidth === 0) return sum;
    return project(swiglu(project(x, names.sharedGateUp)), names.sharedDown, sum);
  };
}
