// Recipes by name: settings of pretraining that stand beneath those given, so that a preset can be tried and departed from one
// setting at a time. A run's config says what came out, not the name. What pieces are worth: bench/results/recipe.md.
import { SweetspotError } from '../backend/errors.js';
import { defined } from '../backend/options.js';
import type { TransformerConfig } from '../models/config.js';
import type { AdamWSettings } from '../optim/adamw.js';
import type { PretrainOptions } from './pretrain.js';

/** What a preset may settle. `sweetspot pretrain --help` shows each setting as its flag. */
export interface Preset
  extends Pick<PretrainOptions, 'muon' | 'rateScale' | 'warmup' | 'schedule' | 'zeroOutputs' | 'packing'> {
  /** Settings of the optimizer that differ from the defaults. */
  readonly adamw?: Partial<Pick<AdamWSettings, 'weightDecay' | 'clip'>>;
  /** Sizes of the model that differ from the defaults. */
  readonly model?: Partial<Pick<TransformerConfig, 'qkNorm' | 'logitCap' | 'tieEmbeddings'>>;
}

/** What Llama and Qwen3 runtimes load. */
const exportable: Preset = { muon: {}, rateScale: 2 };

/** Recipes of training by name: settings that stand beneath those given. */
export const PRESETS = {
  /** PAPER, "Models": Adam, clipping at 5, 1,000 steps of warm-up. What follows them is not stated: the default. */
  paper: { adamw: { weightDecay: 0, clip: 5 }, warmup: 1000 },
  /** The pieces that paid, whatever runtimes there are for the result. So far none that is measured and needs one of its own did. */
  modern: exportable,
  exportable,
} as const satisfies Readonly<Record<string, Preset>>;
/** Name of a recipe. */
export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];

/** `options`, and where they say nothing, what the preset does. `muon: null` and `false` say something. */
export function withPreset<T extends Partial<Omit<PretrainOptions, 'preset'>>>(preset: Preset, options: T): T {
  return {
    ...preset,
    ...defined(options),
    adamw: { ...preset.adamw, ...defined(options.adamw) },
    model: { ...preset.model, ...defined(options.model) },
  };
}

/** The `muon` of an optimizer by name; AdamW by name is a choice that no preset undoes. */
export const muonOf = (optimizer: 'adamw' | 'muon' | undefined): PretrainOptions['muon'] =>
  optimizer === undefined ? undefined : optimizer === 'muon' ? {} : null;

/** The preset of a name, none for undefined. Throws SWEETSPOT_USAGE for a name that is none. */
export function presetOf(name: PresetName | undefined): Preset {
  if (name === undefined) return {};
  if (Object.hasOwn(PRESETS, name)) return PRESETS[name];
  throw new SweetspotError('SWEETSPOT_USAGE', {
    what: 'no such preset',
    expected: PRESET_NAMES.join(', '),
    found: String(name),
  });
}
