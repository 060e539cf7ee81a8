// SLM-pn, the projected network (PAPER, "Models"): all experts at once, feed-forward weights generated for the cluster of each
// window. The batch is drawn as the corpus comes; windows are sorted by cluster, and every window is computed with the
// weights of its own cluster (PAPER, pilot: one cluster a micro-batch trains 14% worse).

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

export async function pretrainProjected(context: PretrainContext): Promise<MethodResult> {
  const { config } = context.run;
  const clusters = context.clusters!;
  const bank = config.bank!;
  const specs = bankParameters(config.model, bank);
  const { loss, seconds } = await trainStage(context, {
    stage: 'main',
    specs,
    bank,
    sampler: corpusSampler(
      context,
      { clusters: clusters.ids, distribution: Sampler.tokensByCluster(context.windows, clusters.ids, bank.experts) },
      'main',
    ),
    tokens: config.tokens,
  });
  const steps = stepsFor(context, config.tokens);
  const tokens = steps * config.batch * config.model.contextLength;
  return {
    loss,
    seconds,
    tokens,
    flops: stepsFlops(config, tokens) + steps * bankStepFlops(config.model, bank, groupSlots(bank, config.batch)),
    pretrainParameters: bankParameterCount(config.model, bank),
    // A bank whose coefficients are all alike is a dense model in disguise.
    facts: { coefficientSpread: coefficientSpread(bank, stageWeights(context.run, 'main', specs)) },
  };
}
