// What a model costs, by formula, so that runs on different machines compare. One multiply and one add are 2 FLOPs.
//   forward, a token:  2 x (weights that multiply it) + 2 x 2 x (T / 2) x H D a layer for causal attention (scores, values)
//   training, a token: 3 x forward (backward is twice the forward)
//   bank, a step:      generating the weights of G clusters is 2 G R size a matrix (times r, of slices of rank r); its two
//                      gradients the same each
// Embedding look-ups, norms and AdamW are left out: under 2% at these sizes. Muon counts (ts/optim/muon.ts).

import { adapted } from '../nn/lora.js';
import { sizeOf } from '../tensor/tensor.js';
import { bankParameters } from './bank.js';
import type { BankConfig, MoeConfig, TransformerConfig } from './config.js';
import { transformerParameters } from './transformer.js';

/** Values in the model that is served, all experts of routed layers included. */
export const denseParameterCount = (config: TransformerConfig): number =>
  transformerParameters(config).reduce((sum, spec) => sum + sizeOf(spec.shape), 0);

/** Values in the bank model, everything included: what is pretrained. */
export const bankParameterCount = (config: TransformerConfig, bank: BankConfig): number =>
  bankParameters(config, bank).reduce((sum, spec) => sum + sizeOf(spec.shape), 0);

/** FLOPs of one token in a window of `time` tokens. */
export function forwardFlops(config: TransformerConfig, time = config.contextLength): number {
  const { vocabSize: V, hiddenSize: C, intermediateSize: F, heads: H, kvHeads, headDim: D, layers, moe } = config;
  const routed = moe === null ? 0 : moe.layers.length;
  const blocks = (layers - routed) * 3 * C * F + (moe === null ? 0 : routed * activeRouted(config, moe));
  const attention = (H + 2 * kvHeads) * D * C + C * H * D;
  return 2 * (layers * attention + blocks + V * C) + layers * 2 * time * H * D;
}

/** Weights of a routed layer that multiply a token: the router, the experts chosen, the shared one. */
const activeRouted = ({ hiddenSize: C }: TransformerConfig, { experts, topK, width, sharedWidth }: MoeConfig): number =>
  experts * C + 3 * C * (topK * width + sharedWidth);

/** Values that take part in a token: those of the model without the experts that are not chosen. */
export function activeParameterCount(config: TransformerConfig): number {
  const { moe, hiddenSize: C } = config;
  const all = denseParameterCount(config);
  return moe === null ? all : all - moe.layers.length * (moe.experts - moe.topK) * 3 * C * moe.width;
}

export const trainingFlops = (config: TransformerConfig, tokens: number, time = config.contextLength): number =>
  3 * forwardFlops(config, time) * tokens;

/** Training low-rank adapters: forward, the gradient of activations, and the adapters' own products; no weight gradients. */
export function loraTrainingFlops(config: TransformerConfig, rank: number, tokens: number): number {
  const sides = transformerParameters(config)
    .filter(adapted)
    .reduce((sum, { shape }) => sum + shape[0]! + shape[1]!, 0);
  return (2 * forwardFlops(config) + 6 * rank * sides) * tokens;
}

/** FLOPs a training step spends on the bank itself, with weights for `groups` clusters. */
export function bankStepFlops(config: TransformerConfig, bank: BankConfig, groups: number): number {
  const size = 3 * config.hiddenSize * config.intermediateSize * bank.projectedLayers.length;
  return 3 * 2 * groups * bank.slices * Math.max(1, bank.sliceRank) * size;
}
