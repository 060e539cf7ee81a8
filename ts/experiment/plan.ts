// From an experiment to cells: pieces of work that are done once, whoever asks for them, and rows that say which cells they
// are made of. The name of a cell ends in a hash of all that determines its result, text included.
//   run      a pretraining
//   generic  perplexity of a run on generic text
//   start    where a domain starts: the chosen model, and its perplexity before fine-tuning
//   tune     fine-tuning from a start, and the perplexity after it
import { defined } from '../backend/options.js';
import { compactCount } from '../io/numbers.js';
import { EXPERT_CHOICES, type ExpertChoice } from '../methods/choose.js';
import type { PretrainOptions } from '../methods/pretrain.js';
import type { BankConfig } from '../models/config.js';
import { VOCABULARY } from './check.js';
import { forwardCost, type Sizes, startCost, trainingCost, tuneCost } from './estimate.js';
import { type Variant, variantsOf } from './grid.js';
import { fingerprint, shortHash, slug } from './hash.js';
import { SYSTEM_METHODS } from './methods.js';
import type { Choice, Experiment, Finetune, ModelSizes, Settings } from './schema.js';

/** Raise it when the same key would mean another result. */
const KEY_VERSION = 1;

export interface Text {
  readonly name: string;
  readonly paths: readonly string[];
}

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
      readonly choice: ExpertChoice | number;
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
  const { slices, expertVector, projectedLayers, shared } = settings;
  return defined({ slices, expertVector, projectedLayers, shared });
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
  } = basis.settings;
  return {
    tokens: tokens!,
    model: defined({ ...basis.sizes, contextLength: basis.context }),
    bank: bankOptions(basis.settings),
    adamw: defined({ weightDecay, clip }),
    ...defined({ batchTokens, learningRate, precision, clusters, domainTokens, shrink, trunkShare }),
    seed: basis.seed,
  };
}

/**
 * @param corpus.folder where the corpus is or will be
 * @param corpus.identity equal for equal corpora
 * @throws SweetspotError SWEETSPOT_INPUT, SWEETSPOT_IO when a text cannot be read
 */
export function planExperiment(
  experiment: Experiment,
  corpus: { folder: string; identity: string; vocabSize?: number },
): Plan {
  const { sizes, testTokens } = experiment;
  const { context, test: genericTest } = experiment.corpus;
  const variants = variantsOf(experiment);
  const cells = new Map<string, Cell>();
  const rows: PlannedRow[] = [];
  const generic: { variant: number; seed: number; run: string; cell: string }[] = [];
  const prints = new Map<string, string>();
  const print = (text: Text): string => {
    const key = text.paths.join('\n');
    if (!prints.has(key)) prints.set(key, fingerprint(text.paths));
    return prints.get(key)!;
  };
  const add = (
    kind: Work['kind'],
    name: string,
    title: string,
    key: unknown,
    rest: Omit<Cell, 'id' | 'title'>,
  ): string => {
    const id = `${kind}-${slug(name)}-${shortHash([KEY_VERSION, corpus.identity, kind, key])}`;
    if (!cells.has(id)) cells.set(id, { id, title, ...rest });
    return id;
  };

  for (const seed of experiment.seeds) {
    for (const [index, variant] of variants.entries()) {
      const method = SYSTEM_METHODS[variant.method]!;
      const settings =
        method.pretraining === 'domain'
          ? { domainTokens: Math.min(...sizes.map(({ tokens }) => tokens)), ...variant.settings }
          : variant.settings;
      const modelSizes = experiment.models[settings.model]!;
      const basis: Basis = { method: variant.method, settings, sizes: modelSizes, context, seed };
      const { model: _name, ...training } = settings;
      const basisKey = { method: variant.method, settings: training, sizes: modelSizes, context, seed };
      const cost: Sizes = {
        basis,
        vocabSize: corpus.vocabSize ?? experiment.corpus.vocabulary ?? VOCABULARY,
        testTokens: testTokens ?? 50_000,
      };
      const tail = experiment.seeds.length > 1 ? `, seed ${seed}` : '';
      // Names are made of what the key is made of, so that one key has one name.
      const { tokens: budget, clusters } = settings as Settings;
      const about = [
        variant.method,
        ...(clusters === undefined ? [] : [`k${clusters}`]),
        ...(budget === undefined ? [] : [compactCount(budget)]),
        `seed${seed}`,
      ].join(' ');
      const runFor = (domain: Text | null): string =>
        add(
          'run',
          `${about}${domain === null ? '' : ` ${domain.name}`}`,
          `pretrain ${variant.label}${domain === null ? '' : ` for ${domain.name}`}${tail}`,
          { ...basisKey, domain: domain === null ? null : print(domain) },
          { needs: [], flops: trainingCost(cost), work: { kind: 'run', basis, domain } },
        );
      const shared = method.pretraining === 'shared' ? runFor(null) : null;
      if (shared !== null && genericTest !== undefined && method.generic !== null) {
        const text = { name: 'generic', paths: genericTest };
        const cell = add(
          'generic',
          about,
          `generic perplexity of ${variant.label}${tail}`,
          { run: shared, text: print(text), testTokens },
          {
            needs: [shared],
            flops: forwardCost(cost, cost.testTokens),
            work: { kind: 'generic', run: shared, method: variant.method, text },
          },
        );
        generic.push({ variant: index, seed, run: shared, cell });
      }
      // The expensive choice comes last, so that whole rows are there early.
      const choices: (Choice | null)[] = method.experts
        ? [...variant.entry.expert].sort((a, b) => Number(a === 'all') - Number(b === 'all'))
        : [null];
      for (const choice of choices) {
        for (const size of sizes) {
          for (const domain of experiment.domains) {
            const train = { name: domain.name, paths: domain.train };
            const test = { name: domain.name, paths: domain.test };
            const run = method.pretraining === 'domain' ? runFor(train) : shared;
            const finetune: Finetune = { ...(experiment.finetune || {}), ...size.finetune };
            const heldout = finetune.heldout ?? 0.1;
            const candidates: (ExpertChoice | number)[] =
              choice === 'all'
                ? Array.from({ length: settings.clusters! }, (_, c) => c)
                : [choice ?? EXPERT_CHOICES[0]!];
            const named = (candidate: ExpertChoice | number, sized: boolean): string =>
              [
                about,
                domain.name,
                ...(sized ? [compactCount(size.tokens)] : []),
                ...(method.experts ? [candidate] : []),
              ].join(' ');
            const starts = candidates.map((candidate) => {
              // What does not look at the text of the domain is the same for every size.
              const looks = method.experts || method.pretraining === 'domain';
              return add(
                'start',
                named(candidate, looks),
                `${domain.name} before fine-tuning, ${variant.label}${tail}`,
                {
                  run: run ?? basisKey,
                  domain: domain.name,
                  train: looks ? [print(train), size.tokens, heldout] : null,
                  choice: method.experts ? candidate : null,
                  test: print(test),
                  testTokens,
                },
                {
                  needs: run === null ? [] : [run],
                  flops: startCost(cost, candidate, size.tokens),
                  work: { kind: 'start', basis, run, train, size: size.tokens, heldout, choice: candidate, test },
                },
              );
            });
            const tuned = experiment.finetune !== false && variant.entry.finetune;
            const tunes = !tuned
              ? []
              : starts.map((start, i) =>
                  add(
                    'tune',
                    named(candidates[i]!, true),
                    `fine-tune ${variant.label} to ${domain.name} (${compactCount(size.tokens)})${tail}`,
                    { start, train: print(train), size: size.tokens, finetune, test: print(test), testTokens },
                    {
                      needs: run === null ? [start] : [run, start],
                      flops: tuneCost(cost, size.tokens, finetune),
                      work: { kind: 'tune', basis, run, start, train, size: size.tokens, finetune, test },
                    },
                  ),
                );
            rows.push({ variant: index, seed, domain: domain.name, size: size.tokens, choice, run, starts, tunes });
          }
        }
      }
    }
  }
  return { corpus: corpus.folder, testTokens: testTokens ?? null, variants, cells: [...cells.values()], rows, generic };
}
