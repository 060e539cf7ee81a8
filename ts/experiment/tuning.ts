// Fine-tuning as it holds for one system at one size: the experiment's settings, over them those of the size, over those the
// system's own.
import { defined } from '../backend/options.js';
import type { FinetuneOptions } from '../methods/specialize.js';
import type { LoraSettings } from '../nn/lora.js';
import type { Experiment, Finetune, SystemEntry } from './experiment.js';

/** What was switched off is left out, as if it had never been asked for: equal work has equal keys. */
export interface Tuning extends Omit<Finetune, 'lora' | 'learningRate'> {
  readonly learningRate?: number | undefined;
  readonly lora?: LoraSettings | undefined;
}

/** One for every learning rate that is to be tried. */
export function tuningsOf(
  experiment: Pick<Experiment, 'finetune'>,
  size: Finetune,
  system: Pick<SystemEntry, 'finetune'>,
): [Tuning, ...Tuning[]] {
  const all = { ...(experiment.finetune || {}), ...size, ...(system.finetune || {}) };
  const { lora, replay, learningRate: rates, ...rest } = all;
  const common = { ...rest, ...(lora ? { lora } : {}), ...(replay ? { replay } : {}) };
  const [first, ...others] = (rates ?? []).map((learningRate) => ({ ...common, learningRate }));
  return [first ?? common, ...others];
}

/** What does not depend on the learning rate. */
export const tuningOf = (...levels: Parameters<typeof tuningsOf>): Tuning => tuningsOf(...levels)[0];

export const isTuned = (experiment: Pick<Experiment, 'finetune'>, system: Pick<SystemEntry, 'finetune'>): boolean =>
  experiment.finetune !== false && system.finetune !== false;

/** As `finetuneSettings` (methods/specialize.ts) takes it. */
export function finetuneOptions({ heldout: _, replay: __, weightDecay, ...options }: Tuning): FinetuneOptions {
  return { ...options, adamw: defined({ weightDecay }) };
}
