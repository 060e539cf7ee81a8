// What an experiment is, once its file has been read: text, sizes, models and systems. schema.ts checks files against it.
import { ENSEMBLE, EXPERT_CHOICES, type ExpertChoice } from '../methods/choices.js';
import type { PresetName } from '../methods/presets.js';
import type { LoraSettings } from '../nn/lora.js';
import type { SliceType } from '../nn/parameters.js';
import type { Precision } from '../train/precision.js';

/** `all` fine-tunes the expert of every cluster and keeps the best; `ensemble` averages predictions and is not fine-tuned. */
export type Choice = ExpertChoice | typeof ENSEMBLE | 'all';
export const CHOICES: readonly Choice[] = [...EXPERT_CHOICES, ENSEMBLE, 'all'];

/** Default vocabulary of a corpus that is still to be built. */
export const VOCABULARY = 4096;

/**
 * Every setting of pretraining there is, as one system of the grid has it; those not given have the defaults of `pretrain`.
 * What each means: `PretrainOptions` and docs/experiments.md.
 */
export interface Settings {
  readonly model?: string;
  readonly preset?: PresetName;
  readonly tokens?: number;
  readonly batchTokens?: number;
  readonly packing?: 'stream' | 'best-fit';
  readonly learningRate?: number;
  readonly warmup?: number;
  readonly weightDecay?: number;
  readonly optimizer?: 'adamw' | 'muon';
  readonly schedule?: 'cosine' | 'linear' | 'constant' | 'wsd';
  readonly zeroOutputs?: boolean;
  readonly clip?: number;
  readonly precision?: Precision;
  readonly clusters?: number;
  readonly domainTokens?: number;
  readonly domainShare?: number;
  readonly shrink?: number;
  readonly repeatCap?: number;
  readonly singleCluster?: boolean;
  readonly trunkShare?: number;
  readonly slices?: number;
  readonly expertVector?: number;
  readonly projectedLayers?: number[];
  readonly shared?: boolean;
  readonly bankScale?: number;
  readonly sliceType?: SliceType;
  readonly sliceRank?: number;
  readonly mlpWidth?: number;
  readonly mixtures?: number;
  readonly support?: number[];
  readonly experts?: number;
  readonly topK?: number;
  readonly normalize?: boolean;
  readonly width?: number;
  readonly sharedWidth?: number;
  readonly routedLayers?: number[];
  readonly balance?: 'loss' | 'bias' | 'none';
  readonly teacher?: string;
  readonly weight?: number;
  readonly temperature?: number;
}
export type SettingName = keyof Settings;

/** Settings as a file has them: a list stands for the whole grid. */
export type SettingGrid = { readonly [K in SettingName]?: readonly unknown[] };

export interface Finetune {
  readonly epochs?: number | undefined;
  readonly steps?: number | undefined;
  readonly tokens?: number | undefined;
  readonly batchTokens?: number | undefined;
  /** Of several, the one that is best on held-out text. */
  readonly learningRate?: number[] | undefined;
  readonly patience?: number | undefined;
  readonly heldout?: number | undefined;
  readonly weightDecay?: number | undefined;
  /** Low-rank adapters, with their defaults filled; `false`: all parameters, where a broader level says adapters. */
  readonly lora?: LoraSettings | false | undefined;
  /** Probability of a row of generic text. */
  readonly replay?: number | undefined;
}

export interface ModelSizes {
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads?: number | undefined;
  readonly headDim?: number | undefined;
  readonly intermediateSize?: number | undefined;
  readonly qkNorm?: boolean | undefined;
  readonly logitCap?: number | undefined;
  readonly tieEmbeddings?: boolean | undefined;
}

/** A system as the file says it, before its lists are expanded. */
export interface SystemEntry {
  readonly name: string;
  readonly method: string;
  readonly expert: readonly Choice[];
  /** Experts of an ensemble at most. */
  readonly ensembleExperts?: number | undefined;
  /** Settings of its own, over those of the experiment and of the size; `false`: it is not fine-tuned. */
  readonly finetune: Finetune | false;
  readonly grid: SettingGrid;
}

/** A whole experiment, with absolute paths. */
export interface Experiment {
  /** Title of the report. */
  readonly name: string;
  /** Generic text: a corpus folder, or text to build one from. */
  readonly corpus: {
    /** A corpus that exists, instead of `input`. */
    readonly folder?: string | undefined;
    readonly input?: string[] | undefined;
    readonly vocabulary?: number | undefined;
    readonly trainBytes?: number | undefined;
    readonly context: number;
    /** Held-out generic text. */
    readonly test?: string[] | undefined;
  };
  /** Text of each domain: to fine-tune on, and to test on. */
  readonly domains: { readonly name: string; readonly train: string[]; readonly test: string[] }[];
  /** In-domain tokens; each may have fine-tuning settings of its own. */
  readonly sizes: { readonly tokens: number; readonly finetune: Finetune }[];
  /** Test tokens at most, of each domain and of generic text. */
  readonly testTokens?: number | undefined;
  /** Every cell is done once for each. */
  readonly seeds: readonly number[];
  /** Sizes of models by name; systems name one. */
  readonly models: Record<string, ModelSizes>;
  /** Settings of pretraining that all systems start from. */
  readonly pretrain: SettingGrid;
  /** `false`: nothing is fine-tuned. */
  readonly finetune: Finetune | false;
  /** Methods with their settings, before lists are expanded. */
  readonly systems: readonly SystemEntry[];
}
