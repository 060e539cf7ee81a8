// What the methods with a bank share: one stage over the whole bank, and a check that it is alive. The bank may grow from a
// trained model: the plain small model is trained for the first `trunkShare` of the steps (stage 'trunk'), and goes on as the
// shared slice and the other shared parameters, moments included, with slices at zero: the bank starts as the trunk ends.
// Both are one run of the learning rate: a trunk that has cooled down and is warmed up again wastes tokens.
import { SweetspotError } from '../backend/errors.js';
import type { MixtureOptions } from '../data/sampler.js';
import { Sampler } from '../data/sampler.js';
import { bankParameters, coefficientSpread } from '../models/bank.js';
import type { BankConfig } from '../models/config.js';
import { bankParameterCount, bankStepFlops } from '../models/cost.js';
import { transformerParameters } from '../models/transformer.js';
import { groupSlots } from '../train/step.js';
import {
  corpusSampler,
  type MethodResult,
  type PretrainContext,
  stageWeights,
  stepsFlops,
  stepsFor,
  trainStage,
} from './context.js';

export interface BankTraining {
  /** Rows of a batch come from random histograms; default: every row from one cluster, as the corpus comes. */
  readonly mixtures?: MixtureOptions;
  /** Embedding that the weights of a cluster are generated from. */
  readonly embedding?: (cluster: number) => Float32Array;
  /** Vectors in place of E_i for single clusters (K, m), from trained values. */
  readonly vectors: (values: ReadonlyMap<string, Float32Array>) => Float32Array;
}

/** Throws SWEETSPOT_USAGE when `bank` cannot grow from a trunk of this share of the tokens. */
export function requireTrunk({ shared }: BankConfig, share: number): void {
  if (share > 0 && !shared) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'a bank without a shared slice cannot grow from a trunk',
      expected: 'trunkShare 0, or a shared slice',
      found: `trunkShare ${share}`,
      fix: 'leave out --trunk-share or --no-shared',
    });
  }
  if (share >= 1) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'trunkShare of a bank',
      expected: 'from 0 to below 1: the bank needs tokens too',
      found: String(share),
    });
  }
}

export async function pretrainBank(context: PretrainContext, training: BankTraining): Promise<MethodResult> {
  const { config } = context.run;
  const { ids } = context.clusters!;
  const bank = config.bank!;
  const specs = bankParameters(config.model, bank);
  const groups = training.mixtures?.count ?? groupSlots(bank, config.batch);
  const distribution = Sampler.tokensByCluster(context.windows, ids, bank.experts);
  const batchTokens = config.batch * config.model.contextLength;
  const steps = stepsFor(context, config.tokens);
  const trunkSteps = Math.min(steps - 1, Math.round(steps * config.trunkShare));
  const trunk = trunkSteps === 0 ? undefined : { stage: 'trunk', specs: transformerParameters(config.model) };
  const grown =
    trunk &&
    (await trainStage(context, {
      ...trunk,
      sampler: corpusSampler(context, {}, trunk.stage),
      tokens: trunkSteps * batchTokens,
      span: { offset: 0, total: steps },
    }));
  const { loss, seconds } = await trainStage(context, {
    stage: 'main',
    specs,
    bank,
    groups,
    embedding: training.embedding,
    sampler: corpusSampler(context, { clusters: ids, distribution, mixtures: training.mixtures }, 'main'),
    tokens: (steps - trunkSteps) * batchTokens,
    parent: trunk,
    span: trunk && { offset: trunkSteps, total: steps },
  });
  const tokens = steps * batchTokens;
  const values = stageWeights(context.run, 'main', specs);
  return {
    loss,
    seconds: seconds + (grown?.seconds ?? 0),
    tokens,
    flops: stepsFlops(config, tokens) + (steps - trunkSteps) * bankStepFlops(config.model, bank, groups),
    pretrainParameters: bankParameterCount(config.model, bank),
    // A bank whose coefficients are all alike is a dense model in disguise.
    facts: { coefficientSpread: coefficientSpread(bank, values, training.vectors(values)) },
  };
}
