// FLOPs of cells before they are done: what the time left is estimated from. What cells cost in the end is counted when they
// are done, from the steps they took.

import { defined } from '../backend/options.js';
import { bankConfig, transformerConfig } from '../models/config.js';
import { bankStepFlops, forwardFlops, trainingFlops } from '../models/cost.js';
import { groupSlots } from '../train/step.js';
import { hasBank } from './methods.js';
import type { Basis, Candidate } from './plan.js';
import { bankOptions } from './plan.js';
import type { Finetune } from './schema.js';

export interface Sizes {
  readonly basis: Basis;
  readonly vocabSize: number;
  readonly testTokens: number;
}

const modelOf = ({ basis, vocabSize }: Sizes) =>
  transformerConfig(defined({ ...basis.sizes, vocabSize, contextLength: basis.context }));

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

export function tuneCost(sizes: Sizes, size: number, finetune: Finetune): number {
  const passes = (finetune.epochs ?? 10) * size;
  const most = finetune.steps === undefined ? passes : finetune.steps * (finetune.batchTokens ?? 2048);
  const tokens = Math.min(most, finetune.tokens ?? Number.POSITIVE_INFINITY);
  return trainingFlops(modelOf(sizes), tokens) + forwardCost(sizes, sizes.testTokens);
}
