// FLOPs of cells before they are done: what the time left is estimated from. What cells cost in the end is counted when they
// are done, from the steps they took.

import { defined } from '../backend/options.js';
import { routedModel } from '../methods/routed.js';
import { bankConfig, transformerConfig } from '../models/config.js';
import { bankStepFlops, forwardFlops, loraTrainingFlops, trainingFlops } from '../models/cost.js';
import { groupSlots } from '../train/step.js';
import { hasBank, hasRouters } from './methods.js';
import { type Basis, bankOptions, type Candidate, routedOptions } from './plan.js';
import type { Tuning } from './tuning.js';

export interface Sizes {
  readonly basis: Basis;
  readonly vocabSize: number;
  readonly testTokens: number;
}

/** The model that is served. Throws SWEETSPOT_USAGE for sizes that cannot be. */
export function modelOf({ basis, vocabSize }: Pick<Sizes, 'vocabSize'> & { readonly basis: Omit<Basis, 'seed'> }) {
  const dense = transformerConfig(defined({ ...basis.sizes, vocabSize, contextLength: basis.context }));
  return hasRouters(basis.method) ? routedModel(dense, routedOptions(basis.settings)).model : dense;
}

export function trainingCost(sizes: Sizes): number {
  const { method, settings, context } = sizes.basis;
  const model = modelOf(sizes);
  const dense = trainingFlops(model, settings.tokens!);
  if (!hasBank(method)) return dense;
  const batch = Math.max(1, Math.round((settings.batchTokens ?? 4096) / context));
  const bank = bankConfig(model, { ...bankOptions(settings), experts: settings.clusters! });
  const tokens = settings.tokens! * (1 - (settings.trunkShare ?? 0));
  return dense + (tokens / (batch * context)) * bankStepFlops(model, bank, groupSlots(bank, batch));
}

export const forwardCost = (sizes: Sizes, tokens: number): number => forwardFlops(modelOf(sizes)) * tokens;

/** Evaluation on the test text; choosing by loss evaluates every expert on the domain's text too. */
export const startCost = (sizes: Sizes, choice: Candidate, size: number): number =>
  forwardCost(sizes, sizes.testTokens) +
  (choice === 'lowest-loss' && sizes.basis.settings.clusters !== undefined
    ? forwardCost(sizes, size * sizes.basis.settings.clusters)
    : 0);

export function tuneCost(sizes: Sizes, size: number, finetune: Tuning): number {
  const passes = (finetune.epochs ?? 10) * size;
  const most = finetune.steps === undefined ? passes : finetune.steps * (finetune.batchTokens ?? 2048);
  const tokens = Math.min(most, finetune.tokens ?? Number.POSITIVE_INFINITY);
  const model = modelOf(sizes);
  const training =
    finetune.lora === undefined ? trainingFlops(model, tokens) : loraTrainingFlops(model, finetune.lora.rank, tokens);
  return training + forwardCost(sizes, sizes.testTokens);
}
