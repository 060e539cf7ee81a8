// SLM-mix (PAPER, "Models", hard mixture): one small model a cluster, trained on that cluster alone; a domain is served by one
// of them. Trained from the start on 1/K of the tokens each, experts stay far behind at small budgets (PAPER, pilot), so a
// common trunk is trained on all clusters for the first `trunkShare` of the tokens; 0 is the paper's own form. The rest is
// divided between the experts in proportion to their clusters.
import { Sampler } from '../data/sampler.js';
import { denseParameterCount } from '../models/cost.js';
import { transformerParameters } from '../models/transformer.js';
import {
  corpusSampler,
  type MethodResult,
  oneHot,
  type PretrainContext,
  stageWeights,
  stepsFlops,
  stepsFor,
  trainStage,
} from './context.js';

export const expertStage = (cluster: number): string => `expert-${String(cluster).padStart(4, '0')}`;

export async function pretrainMixture(context: PretrainContext): Promise<MethodResult> {
  const { run, windows } = context;
  const { config } = run;
  const clusters = context.clusters!;
  const specs = transformerParameters(config.model);
  const batchTokens = config.batch * config.model.contextLength;
  let tokens = 0;
  let seconds = 0;

  const trunkTokens = config.tokens * config.trunkShare;
  if (trunkTokens >= batchTokens) {
    const result = await trainStage(context, {
      stage: 'trunk',
      specs,
      sampler: corpusSampler(context, {}, 'trunk'),
      tokens: trunkTokens,
    });
    tokens += stepsFor(context, trunkTokens) * batchTokens;
    seconds += result.seconds;
  }
  const trunk = run.finished('trunk') ? stageWeights(run, 'trunk', specs) : undefined;

  const sizes = Sampler.tokensByCluster(windows, clusters.ids, config.clusters);
  const total = sizes.reduce((a, b) => a + b, 0);
  let loss = 0;
  for (let c = 0; c < config.clusters; c++) {
    const share = ((config.tokens - tokens) * sizes[c]!) / total;
    const only = Float64Array.from(oneHot(config.clusters, c));
    const expert = await trainStage(context, {
      stage: expertStage(c),
      specs,
      sampler: corpusSampler(context, { clusters: clusters.ids, distribution: only }, expertStage(c)),
      tokens: Math.max(batchTokens, share),
      initial: trunk,
    });
    loss += expert.loss * (sizes[c]! / total);
    seconds += expert.seconds;
  }
  const expertTokens = Array.from(
    sizes,
    (size) => stepsFor(context, Math.max(batchTokens, ((config.tokens - tokens) * size) / total)) * batchTokens,
  );
  tokens += expertTokens.reduce((a, b) => a + b, 0);
  return {
    loss,
    seconds,
    tokens,
    flops: stepsFlops(config, tokens),
    pretrainParameters: denseParameterCount(config.model) * config.clusters,
    facts: { experts: config.clusters },
  };
}
