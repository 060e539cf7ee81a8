// Routed mixture layers (Shazeer et al. 2017): one model on the corpus as it comes, in which every token passes a few of many
// experts (models/moe.ts). No clusters: the routers find their own. All experts are served, so it gives the quality of a larger
// model at the computation of a small one, with the memory of the larger.
import { SweetspotError } from '../backend/errors.js';
import { type MoeConfig, routedConfig, type TransformerConfig } from '../models/config.js';
import { activeParameterCount, denseParameterCount } from '../models/cost.js';
import { transformerParameters } from '../models/transformer.js';
import { type BalanceSettings, balanceSettings } from '../train/balance.js';
import { corpusSampler, type MethodResult, type PretrainContext, stepsFlops, stepsFor, trainStage } from './context.js';

export interface RoutedOptions {
  /** Experts of a layer; the bias is there when the balance needs it. Default: see routedConfig. */
  readonly moe?: Partial<Omit<MoeConfig, 'biased'>> | undefined;
  /** How the load of the experts is kept even. Default: by a loss. */
  readonly balance?: Partial<BalanceSettings> | undefined;
}

/** `dense` with routed layers. Throws SWEETSPOT_USAGE, for routers that would learn nothing too. */
export function routedModel(
  dense: TransformerConfig,
  options: RoutedOptions,
): { readonly model: TransformerConfig; readonly balance: BalanceSettings } {
  const balance = balanceSettings(options.balance ?? {});
  const model = routedConfig(dense, { ...options.moe, biased: balance.kind === 'bias' });
  if (model.moe!.normalize && model.moe!.topK === 1) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'topK 1 with normalized weights: the weight is always 1, and the router learns nothing',
      expected: 'topK of 2 or more, or weights of the softmax over all experts',
      fix: 'set normalize to false (--switch)',
    });
  }
  return { model, balance };
}

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
