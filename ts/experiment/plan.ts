// A plan: cells, which are pieces of work that are done once, whoever asks for them, and rows that say which cells they are
// made of. planner.ts makes it.
//   run      a pretraining
//   generic  perplexity of a run on generic text
//   start    where a domain starts: the chosen model, and its perplexity before fine-tuning
//   tune     fine-tuning from a start, and the perplexity after it
import { defined } from '../backend/options.js';
import type { ENSEMBLE, ExpertChoice } from '../methods/choose.js';
import type { PretrainOptions } from '../methods/pretrain.js';
import type { BankConfig } from '../models/config.js';
import type { Variant } from './grid.js';
import type { Choice, Finetune, ModelSizes, Settings } from './schema.js';

export interface Text {
  readonly name: string;
  readonly paths: readonly string[];
}

/** What a choice tries; a number is the expert of that cluster. */
export type Candidate = ExpertChoice | typeof ENSEMBLE | number;

/** A model before it has weights: what determines its shape and training. */
export interface Basis {
  readonly method: string;
  readonly settings: Settings;
  readonly sizes: ModelSizes;
  readonly context: number;
  readonly seed: number;
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
      readonly finetune: Finetune;
      readonly test: Text;
    };

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
  /** One a candidate: `all` has one a cluster. */
  readonly starts: readonly string[];
  /** As many, or none without fine-tuning. */
  readonly tunes: readonly string[];
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

/** What `pretrain` is called with, but for folders. */
export function pretrainOptions(basis: Basis): Omit<PretrainOptions, 'backend' | 'method' | 'corpus' | 'out'> {
  const {
    tokens,
    batchTokens,
    learningRate,
    weightDecay,
    clip,
    precision,
    clusters,
    domainTokens,
    shrink,
    trunkShare,
    optimizer,
    schedule,
    zeroOutputs,
    repeatCap,
    singleCluster,
    mixtures,
    support,
  } = basis.settings;
  return {
    tokens: tokens!,
    model: defined({ ...basis.sizes, contextLength: basis.context }),
    bank: bankOptions(basis.settings),
    adamw: defined({ weightDecay, clip }),
    mixtures: defined({ count: mixtures, support }),
    muon: optimizer === 'muon' ? {} : undefined,
    ...defined({ batchTokens, learningRate, precision, schedule, zeroOutputs }),
    ...defined({ clusters, domainTokens, shrink, repeatCap, singleCluster, trunkShare }),
    seed: basis.seed,
  };
}
