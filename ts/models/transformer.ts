// The transformer, Llama layout, in the order of its computation; feed-forward blocks may be routed (moe.ts). What differs
// between models is passed in: where weights come from (dense or a bank), how attention sees the past (a window or a cache).

import type { ParameterSpec } from '../nn/parameters.js';
import { attention, type HeadShape, rope } from '../ops/attention.js';
import { embedding } from '../ops/embedding.js';
import { linear } from '../ops/matmul.js';
import { qkNorm, rmsNorm } from '../ops/norm.js';
import { swiglu } from '../ops/swiglu.js';
import type { Tensor } from '../tensor/tensor.js';
import type { TransformerConfig } from './config.js';
import { type Routing, routedFeedForward, routedParameters } from './moe.js';

/** Parameters of layer i, by name. The three attention inputs are one matrix, and so are gate and up. */
export const layerNames = (i: number) => ({
  inputNorm: `layers.${i}.input_norm`,
  qkv: `layers.${i}.attention.qkv`,
  qNorm: `layers.${i}.attention.q_norm`,
  kNorm: `layers.${i}.attention.k_norm`,
  attentionOut: `layers.${i}.attention.out`,
  postNorm: `layers.${i}.post_norm`,
  gateUp: `layers.${i}.ffn.gate_up`,
  down: `layers.${i}.ffn.down`,
});

export const headShape = ({ heads, kvHeads, headDim }: TransformerConfig): HeadShape => ({ heads, kvHeads, headDim });

/** Standard deviation 0.02 scaled for narrow models as 1/sqrt(C); projections into the residual stream are divided by sqrt(2 L). */
export function initialStd(config: TransformerConfig): { inner: number; residual: number } {
  const inner = Math.min(0.08, 1 / Math.sqrt(config.hiddenSize));
  return { inner, residual: inner / Math.sqrt(2 * config.layers) };
}

/** Every parameter of the model that is served. */
export function transformerParameters(config: TransformerConfig): ParameterSpec[] {
  const { vocabSize: V, hiddenSize: C, intermediateSize: F, heads: H, kvHeads, headDim: D } = config;
  const std = initialStd(config);
  const matrix = (name: string, shape: number[], s: number): ParameterSpec => ({
    name,
    shape,
    kind: 'matrix',
    init: { kind: 'normal', std: s },
  });
  const ones = (name: string, n: number): ParameterSpec => ({
    name,
    shape: [n],
    kind: 'vector',
    init: { kind: 'constant', value: 1 },
  });
  const hidden = (name: string, shape: number[], s: number, parts?: number[]): ParameterSpec => ({
    ...matrix(name, shape, s),
    kind: 'hidden',
    ...(parts === undefined ? {} : { parts }),
  });
  const specs: ParameterSpec[] = [matrix('embedding', [V, C], std.inner)];
  for (let i = 0; i < config.layers; i++) {
    const names = layerNames(i);
    specs.push(ones(names.inputNorm, C));
    specs.push(hidden(names.qkv, [(H + 2 * kvHeads) * D, C], std.inner, [H * D, kvHeads * D, kvHeads * D]));
    if (config.qkNorm) specs.push(ones(names.qNorm, D), ones(names.kNorm, D));
    specs.push(hidden(names.attentionOut, [C, H * D], std.residual));
    specs.push(ones(names.postNorm, C));
    if (config.moe?.layers.includes(i)) specs.push(...routedParameters(config, config.moe, i, std));
    else {
      specs.push(hidden(names.gateUp, [2 * F, C], std.inner, [F, F]));
      specs.push(hidden(names.down, [C, F], std.residual));
    }
  }
  specs.push(ones('final_norm', C));
  if (!config.tieEmbeddings) specs.push(matrix('output', [V, C], std.inner));
  return specs;
}

/** The same, with both projections into the residual stream at zero: every layer starts as the identity. */
export const zeroOutputs = (specs: readonly ParameterSpec[]): ParameterSpec[] =>
  specs.map((spec) =>
    /\.(attention\.out|(ffn|moe|shared)\.down)$/.test(spec.name)
      ? { ...spec, init: { kind: 'constant', value: 0 } }
      : spec,
  );

/** Where a forward pass looks its parameters up: a ParameterSet, or what stands for one. */
export interface Weights {
  tensor(name: string): Tensor;
}

/** A linear layer by the name of its matrix: x (..., in) (+ residual, (..., out)) -> (..., out). */
export type Linear = (x: Tensor, name: string, residual?: Tensor) => Tensor;

/** A feed-forward block: x (B, T, C), normed, plus the residual stream -> (B, T, C). */
export type FeedForward = (x: Tensor, layer: number, residual: Tensor) => Tensor;

export interface ForwardParts {
  /** Default: x times the matrix of that name. */
  readonly linear?: Linear;
  /** How rows of a layer see earlier ones. Default: causal attention inside each of the B windows. */
  readonly attend?: (qkv: Tensor, layer: number) => Tensor;
  /** The feed-forward block of a layer. Default: gate_up and down of `parameters`, or its experts. */
  readonly feedForward?: FeedForward;
  /** Sees what the routers of that default decide. */
  readonly watch?: (routing: Routing, layer: number) => void;
}

export const denseLinear =
  (parameters: Weights): Linear =>
  (x, name, residual) =>
    linear(x, parameters.tensor(name), { residual });

/** gate, up, silu, down. */
export function denseFeedForward(project: Linear): FeedForward {
  return (x, layer, residual) => {
    const names = layerNames(layer);
    return project(swiglu(project(x, names.gateUp)), names.down, residual);
  };
}

/** tokens i32 (B, T), positions i32 (B T) -> final hidden states (B, T, C), normed. */
export function transformer(
  config: TransformerConfig,
  parameters: Weights,
  tokens: Tensor,
  positions: Tensor,
  parts: ForwardParts = {},
): Tensor {
  const heads = headShape(config);
  const attend = parts.attend ?? ((qkv) => attention(qkv, heads));
  const project = parts.linear ?? denseLinear(parameters);
  const dense = denseFeedForward(project);
  const feedForward =
    parts.feedForward ??
    (config.moe === null ? dense : routedFeedForward(config.moe, parameters, project, dense, parts.watch));
  const w = (name: string) => parameters.tensor(name);

  let x = embedding(w('embedding'), tokens); // (B, T, C)
  for (let i = 0; i < config.layers; i++) {
    const names = layerNames(i);
    let qkv = project(rmsNorm(x, w(names.inputNorm), config.normEps), names.qkv); // (B, T, (H + 2 Hkv) D)
    if (config.qkNorm) qkv = qkNorm(qkv, w(names.qNorm), w(names.kNorm), heads, config.normEps);
    const y = attend(rope(qkv, positions, heads, config.ropeTheta), i); // (B, T, H D)
    x = project(y, names.attentionOut, x);
    x = feedForward(rmsNorm(x, w(names.postNorm), config.normEps), i, x);
  }
  return rmsNorm(x, w('final_norm'), config.normEps);
}

/** The matrix of the output layer, (V, C). */
export const outputMatrix = (config: TransformerConfig, parameters: Weights): Tensor =>
  parameters.tensor(config.tieEmbeddings ? 'embedding' : 'output');
