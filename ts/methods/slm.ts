// SLM (PAPER, "Models"): one small model pretrained on the generic corpus as it comes. Specialization fine-tunes it.
import { denseParameterCount } from '../models/cost.js';
import { transformerParameters } from '../models/transformer.js';
import { corpusSampler, type MethodResult, type PretrainContext, stepsFlops, stepsFor, trainStage } from './context.js';

export async function pretrainSlm(context: PretrainContext): Promise<MethodResult> {
  const { config } = context.run;
  const { loss, seconds } = await trainStage(context, {
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
    facts: {},
  };
}
