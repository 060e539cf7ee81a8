// A plan: cells, which are pieces of work that are done once, whoever asks for them, and rows that say which cells they are
// made of. planner.ts makes it.
//   run      a pretraining
//   generic  perplexity of a run on generic text
//   start    where a domain starts: the chosen model, and its perplexity before fine-tuning
//   tune     fine-tuning from a start, and the perplexity after it
import { defined } from '../backend/options.js';
import type { ENSEMBLE, ExpertChoice } from '../methods/choices.js';
import { muonOf, type Preset, withPreset } from '../methods/presets.js';
import type { PretrainOptions } from '../methods/pretrain.js';
import type { RoutedOptions } from '../methods/routed.js';
import type { BankConfig } from '../models/config.js';
import type { TeacherSettings } from '../train/teacher.js';
import type { Choice, ModelSizes, Settings } from './experiment.js';
import type { Variant } from './grid.js';
import type { Tuning } from './tuning.js';

export interface Text {
  readonly name: string;
  readonly paths: readonly string[];
}

/** What a choice tries; a number is the expert of that cluster. */
export type Candidate = ExpertChoice | typeof ENSEMBLE | number;

/** A model before it has weights: what determines its shape and training. */
export interface Basis {
  /** As `pretrain` calls it: systems that differ only later share a pretraining. */
  readonly method: string;
  readonly settings: Settings;
  /** What the preset among the settings holds: its name alone would not determine a result. */
  readonly preset?: Preset | undefined;
  readonly sizes: ModelSizes;
  readonly context: number;
  readonly seed: number;
  /** Share of the domain's documents that pretraining must not see, because they choose the step of fine-tuning. */
  readonly domainHeldout?: number | undefined;
}

export type Work =
  | { readonly kind: 'run'; readonly basis: Basis; readonly domain: Text | null }
  | { readonly kind: 'generic'; readonly run: string; readonly method: string; readonly text: Text }
  | {
      readonly kind: 'start';
      readonly basis: Basis;
      readonly run: string | null;
      /** Text to choose by. */
      readonly train: Text;
      readonly size: number;
      readonly heldout: number;
      readonly choice: Candidate;
      /** Of an ensemble: experts at most. */
      readonly members?: number | undefined;
      readonly test: Text;
    }
  | {
      readonly kind: 'tune';
      readonly basis: Basis;
      readonly run: string | null;
      readonly start: string;
      readonly train: Text;
      readonly size: number;
      readonly finetune: Tuning;
      readonly test: Text;
      readonly teacher?: Teacher;
      /** The weights are kept, for students. */
      readonly keep?: true;
    };

/** Whom a fine-tuning learns from. */
export interface Teacher {
  readonly tune: string;
  readonly basis: Basis;
  readonly run: string | null;
  readonly settings: TeacherSettings;
}

export interface Cell {
  /** Name of its file and folder. */
  readonly id: string;
  /** For people. */
  readonly title: string;
  /** Cells that must be done before. */
  readonly needs: readonly string[];
  /** FLOPs it will take, about. */
  readonly flops: number;
  readonly work: Work;
}

export interface PlannedRow {
  /** Index in `variants`. */
  readonly variant: number;
  readonly seed: number;
  readonly domain: string;
  readonly size: number;
  readonly choice: Choice | null;
  readonly run: string | null;
  /** One a candidate: `all` has one a cluster, and every candidate is there once for every learning rate of fine-tuning. */
  readonly starts: readonly string[];
  /** As many, or none without fine-tuning. */
  readonly tunes: readonly string[];
  /** Of the system it learns from: the same domain, size and seed. */
  readonly teacher?: PlannedRow;
}

export interface Plan {
  readonly corpus: string;
  readonly testTokens: number | null;
  readonly variants: readonly Variant[];
  /** In the order they should be done. */
  readonly cells: readonly Cell[];
  readonly rows: readonly PlannedRow[];
  readonly generic: readonly {
    readonly variant: number;
    readonly seed: number;
    readonly run: string;
    readonly cell: string;
  }[];
}

export const bankOptions = (settings: Settings): Partial<Omit<BankConfig, 'experts'>> => {
  const { slices, expertVector, projectedLayers, shared, sliceType, sliceRank, mlpWidth } = settings;
  return defined({ slices, expertVector, projectedLayers, shared, sliceType, sliceRank, mlpWidth });
};

export const routedOptions = ({ balance, routedLayers, ...settings }: Settings): RoutedOptions => {
  const { experts, topK, normalize, width, sharedWidth } = settings;
  return {
    moe: defined({ experts, topK, normalize, width, sharedWidth, layers: routedLayers }),
    ...(balance === undefined ? {} : { balance: { kind: balance } }),
  };
};

/** What `pretrain` is called with, but for folders. */
export function pretrainOptions(basis: Basis): Omit<PretrainOptions, 'backend' | 'method' | 'corpus' | 'out'> {
  const {
    tokens,
    batchTokens,
    packing,
    learningRate,
    warmup,
    weightDecay,
    clip,
    precision,
    clusters,
    domainTokens,
    domainShare,
    shrink,
    trunkShare,
    bankScale,
    optimizer,
    schedule,
    zeroOutputs,
    repeatCap,
    singleCluster,
    mixtures,
    support,
  } = basis.settings;
  return withPreset(basis.preset ?? {}, {
    tokens: tokens!,
    model: defined({ ...basis.sizes, contextLength: basis.context }),
    bank: bankOptions(basis.settings),
    ...routedOptions(basis.settings),
    adamw: defined({ weightDecay, clip, bankScale }),
    mixtures: defined({ count: mixtures, support }),
    muon: muonOf(optimizer),
    ...defined({ batchTokens, packing, learningRate, warmup, precision, schedule, zeroOutputs }),
    ...defined({ clusters, domainTokens, domainShare, shrink, repeatCap, singleCluster, trunkShare }),
    ...defined({ domainHeldout: basis.domainHeldout }),
    seed: basis.seed,
  });
}
