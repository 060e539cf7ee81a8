// SLM (PAPER, "Models"): one small model pretrained on the generic corpus as it comes. Specialization fine-tunes it. With a
// domain share, a few rows of the domain's text are among it from the start.
import { Blend } from '../data/blend.js';
import { cutWindows } from '../data/windows.js';
import { denseParameterCount } from '../models/cost.js';
import { transformerParameters } from '../models/transformer.js';
import { corpusSampler, type MethodResult, type PretrainContext, stepsFlops, stepsFor, trainStage } from './context.js';

export async function pretrainSlm(context: PretrainContext): Promise<MethodResult> {
  const { config } = context.run;
  const { loss, seconds } = await trainStage(context, {
    stage: 'main',
    specs: transformerParameters(config.model),
    sampler: config.domainShare > 0 ? blend(context, config.domainShare) : corpusSampler(context, {}, 'main'),
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

function blend({ run, corpus, windows, domain }: PretrainContext, share: number): Blend {
  const { model, batch, packing, seed } = run.config;
  const generic = { corpus, windows, packing, batch, contextLength: model.contextLength, seed: `${seed}/main` };
  return new Blend(generic, { corpus: domain!, windows: cutWindows(domain!, model.contextLength) }, share);
}
