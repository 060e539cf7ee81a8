// SLM-is (PAPER, "Models", importance sampling): pretrain on generic text drawn as the domain would draw it. Assuming
// P(x | c, domain) = P(x | c), a cluster is drawn from the histogram of the domain, then a generic window in it.
import { effectiveRepeats } from '../data/clusters.js';
import { Sampler } from '../data/sampler.js';
import { denseParameterCount } from '../models/cost.js';
import { transformerParameters } from '../models/transformer.js';
import { corpusSampler, type MethodResult, type PretrainContext, stepsFlops, stepsFor, trainStage } from './context.js';

/** Above this many passes over one cluster, its text is memorized more than it teaches. */
export const REPEATS_WARNING = 4;

export async function pretrainImportance(context: PretrainContext): Promise<MethodResult> {
  const { config } = context.run;
  const clusters = context.clusters!;
  const histogram = Float64Array.from(config.histogram!);
  const { loss, seconds } = await trainStage(context, {
    stage: 'main',
    specs: transformerParameters(config.model),
    sampler: corpusSampler(context, { clusters: clusters.ids, distribution: histogram }, 'main'),
    tokens: config.tokens,
  });
  const tokens = stepsFor(context, config.tokens) * config.batch * config.model.contextLength;
  const available = Sampler.tokensByCluster(context.windows, clusters.ids, config.clusters);
  return {
    loss,
    seconds,
    tokens,
    flops: stepsFlops(config, tokens),
    pretrainParameters: denseParameterCount(config.model),
    facts: { largestRepeat: Math.max(...effectiveRepeats(histogram, available, tokens)) },
  };
}
