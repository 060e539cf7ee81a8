// What the methods with a bank share: one stage over the whole bank, and a check that it is alive.
import type { MixtureOptions } from '../data/sampler.js';
import { Sampler } from '../data/sampler.js';
import { bankParameters, coefficientSpread } from '../models/bank.js';
import { bankParameterCount, bankStepFlops } from '../models/cost.js';
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

export async function pretrainBank(context: PretrainContext, training: BankTraining): Promise<MethodResult> {
  const { config } = context.run;
  const { ids } = context.clusters!;
  const bank = config.bank!;
  const specs = bankParameters(config.model, bank);
  const groups = training.mixtures?.count ?? groupSlots(bank, config.batch);
  const distribution = Sampler.tokensByCluster(context.windows, ids, bank.experts);
  const { loss, seconds } = await trainStage(context, {
    stage: 'main',
    specs,
    bank,
    groups,
    embedding: training.embedding,
    sampler: corpusSampler(context, { clusters: ids, distribution, mixtures: training.mixtures }, 'main'),
    tokens: config.tokens,
  });
  const steps = stepsFor(context, config.tokens);
  const tokens = steps * config.batch * config.model.contextLength;
  const values = stageWeights(context.run, 'main', specs);
  return {
    loss,
    seconds,
    tokens,
    flops: stepsFlops(config, tokens) + steps * bankStepFlops(config.model, bank, groups),
    pretrainParameters: bankParameterCount(config.model, bank),
    // A bank whose coefficients are all alike is a dense model in disguise.
    facts: { coefficientSpread: coefficientSpread(bank, values, training.vectors(values)) },
  };
}
