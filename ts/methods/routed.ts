// Routed mixture layers (Shazeer et al. 2017): one model on the corpus as it comes, in which every token passes a few of many
// experts (models/moe.ts). No clusters: the routers find their own. All experts are served, so it gives the quality of a larger
// model at the computation of a small one, with the memory of the larger.
import { activeParameterCount, denseParameterCount } from '../models/cost.js';
import { transformerParameters } from '../models/transformer.js';
import { corpusSampler, type MethodResult, type PretrainContext, stepsFlops, stepsFor, trainStage } from './context.js';

export async function pretrainRouted(context: PretrainContext): Promise<MethodResult> {
  const { config } = context.run;
  const { loss, seconds, loads } = await trainStage(context, {
    stage: 'main',
    specs: transformerParameters(config.model),
    sampler: corpusSampler(context, {}, 'main'),
    tokens: config.tokens,
  });
  const tokens = stepsFor(context, config.tokens) * config.batch * config.model.contextLength;
  return {
    loss,
    seconds,
    tokens,
    flops: stepsFlops(config, tokens),
    pretrainParameters: denseParameterCount(config.model),
    facts: {
      experts: config.model.moe!.experts,
      activeParameters: activeParameterCount(config.model),
      ...loads,
    },
  };
}
