// Fine-tuning as it holds for one system at one size: the experiment's settings, over them those of the size, over those the
// system's own.
import { defined } from '../backend/options.js';
import type { FinetuneOptions } from '../methods/specialize.js';
import type { LoraSettings } from '../nn/lora.js';
import type { Experiment, Finetune, SystemEntry } from './schema.js';

/** What was switched off is left out, as if it had never been asked for: equal work has equal keys. */
export interface Tuning extends Omit<Finetune, 'lora'> {
  readonly lora?: LoraSettings | undefined;
}

export function tuningOf(
  experiment: Pick<Experiment, 'finetune'>,
  size: Finetune,
  system: Pick<SystemEntry, 'finetune'>,
): Tuning {
  const { lora, replay, ...rest } = { ...(experiment.finetune || {}), ...size, ...(system.finetune || {}) };
  return { ...rest, ...(lora ? { lora } : {}), ...(replay ? { replay } : {}) };
}

export const isTuned = (experiment: Pick<Experiment, 'finetune'>, system: Pick<SystemEntry, 'finetune'>): boolean =>
  experiment.finetune !== false && system.finetune !== false;

/** As `finetuneSettings` (methods/specialize.ts) takes it. */
export function finetuneOptions({ heldout: _, replay: __, weightDecay, ...options }: Tuning): FinetuneOptions {
  return { ...options, adamw: defined({ weightDecay }) };
}
