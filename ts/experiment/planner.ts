// From an experiment to a plan. The name of a cell ends in a hash of all that determines its result, text included, so that
// what is asked for twice is one cell, and a file that grows repeats nothing.
import { compactCount } from '../io/numbers.js';
import { ENSEMBLE, EXPERT_CHOICES } from '../methods/choose.js';
import { MEMBERS } from '../methods/ensemble.js';
import { VOCABULARY } from './check.js';
import { forwardCost, type Sizes, startCost, trainingCost, tuneCost } from './estimate.js';
import { type Variant, variantsOf } from './grid.js';
import { fingerprint, shortHash, slug } from './hash.js';
import { SYSTEM_METHODS, type SystemMethod } from './methods.js';
import type { Basis, Candidate, Cell, Plan, PlannedRow, Text, Work } from './plan.js';
import type { Choice, Experiment, Finetune, Settings } from './schema.js';

/** Raise it when the same key would mean another result. */
const KEY_VERSION = 1;

/** A variant with a seed. */
interface Subject {
  readonly variant: Variant;
  readonly method: SystemMethod;
  /** What determines its pretraining, but for text. */
  readonly basis: Basis;
  readonly cost: Sizes;
  /** For names of cells: made of what the key is made of, so that one key has one name. */
  readonly about: string;
  /** For titles. */
  readonly tail: string;
}

/** A subject on a domain with so much of its text. */
interface Task {
  readonly subject: Subject;
  readonly run: string | null;
  readonly train: Text;
  readonly test: Text;
  readonly size: number;
  readonly finetune: Finetune;
}

/**
 * @param corpus.folder where the corpus is or will be
 * @param corpus.identity equal for equal corpora
 * @throws SweetspotError SWEETSPOT_INPUT, SWEETSPOT_IO when a text cannot be read
 */
export function planExperiment(
  experiment: Experiment,
  corpus: { readonly folder: string; readonly identity: string; readonly vocabSize?: number },
): Plan {
  const { sizes, testTokens, domains } = experiment;
  const genericTest = experiment.corpus.test;
  const variants = variantsOf(experiment);
  const planner = new Planner(experiment, corpus);
  const rows: PlannedRow[] = [];
  const generic: Plan['generic'][number][] = [];
  for (const seed of experiment.seeds) {
    for (const [index, variant] of variants.entries()) {
      const subject = planner.subject(variant, seed);
      const { method } = subject;
      const shared = method.pretraining === 'shared' ? planner.run(subject, null) : null;
      if (shared !== null && genericTest !== undefined && method.generic !== null) {
        const cell = planner.generic(subject, shared, { name: 'generic', paths: genericTest });
        generic.push({ variant: index, seed, run: shared, cell });
      }
      const tuned = experiment.finetune !== false && variant.entry.finetune;
      for (const choice of choicesOf(subject)) {
        for (const { tokens: size, finetune } of sizes) {
          for (const domain of domains) {
            const train = { name: domain.name, paths: domain.train };
            const run = method.pretraining === 'domain' ? planner.run(subject, train) : shared;
            const task: Task = {
              subject,
              run,
              train,
              test: { name: domain.name, paths: domain.test },
              size,
              finetune: { ...(experiment.finetune || {}), ...finetune },
            };
            const pairs = candidatesOf(subject, choice).map((candidate) => {
              const start = planner.start(task, candidate);
              return { start, tunes: tuned && candidate !== ENSEMBLE ? [planner.tune(task, candidate, start)] : [] };
            });
            const starts = pairs.map(({ start }) => start);
            const tunes = pairs.flatMap((pair) => pair.tunes);
            rows.push({ variant: index, seed, domain: domain.name, size, choice, run, starts, tunes });
          }
        }
      }
    }
  }
  return { corpus: corpus.folder, testTokens: testTokens ?? null, variants, cells: planner.cells(), rows, generic };
}

/** The expensive choice comes last, so that whole rows are there early. */
const choicesOf = ({ method, variant }: Subject): (Choice | null)[] =>
  method.experts ? [...variant.entry.expert].sort((a, b) => Number(a === 'all') - Number(b === 'all')) : [null];

/** What a choice has to try. A method without experts has nothing to choose. */
const candidatesOf = ({ basis }: Subject, choice: Choice | null): Candidate[] =>
  choice === 'all' ? Array.from({ length: basis.settings.clusters! }, (_, c) => c) : [choice ?? EXPERT_CHOICES[0]!];

class Planner {
  readonly #experiment: Experiment;
  readonly #corpus: { readonly identity: string; readonly vocabSize?: number };
  readonly #cells = new Map<string, Cell>();
  readonly #prints = new Map<string, string>();

  constructor(experiment: Experiment, corpus: { readonly identity: string; readonly vocabSize?: number }) {
    this.#experiment = experiment;
    this.#corpus = corpus;
  }

  cells(): Cell[] {
    return [...this.#cells.values()];
  }

  subject(variant: Variant, seed: number): Subject {
    const { sizes, models, corpus, testTokens, seeds } = this.#experiment;
    const method = SYSTEM_METHODS[variant.method]!;
    const histogramTokens = Math.min(...sizes.map(({ tokens }) => tokens));
    const { model, ...own } = variant.settings;
    const settings: Settings = method.pretraining === 'domain' ? { domainTokens: histogramTokens, ...own } : own;
    const basis = { method: variant.method, settings, sizes: models[model]!, context: corpus.context, seed };
    const { clusters, tokens } = settings;
    return {
      variant,
      method,
      basis,
      cost: {
        basis,
        vocabSize: this.#corpus.vocabSize ?? corpus.vocabulary ?? VOCABULARY,
        testTokens: testTokens ?? 50_000,
      },
      about: [
        variant.method,
        ...(clusters === undefined ? [] : [`k${clusters}`]),
        ...(tokens === undefined ? [] : [compactCount(tokens)]),
        `seed${seed}`,
      ].join(' '),
      tail: seeds.length > 1 ? `, seed ${seed}` : '',
    };
  }

  run({ basis, cost, about, tail, variant }: Subject, domain: Text | null): string {
    return this.#add(
      'run',
      `${about}${domain === null ? '' : ` ${domain.name}`}`,
      `pretrain ${variant.label}${domain === null ? '' : ` for ${domain.name}`}${tail}`,
      { ...basis, domain: domain === null ? null : this.#print(domain) },
      { needs: [], flops: trainingCost(cost), work: { kind: 'run', basis, domain } },
    );
  }

  generic({ variant, cost, about, tail }: Subject, run: string, text: Text): string {
    return this.#add(
      'generic',
      about,
      `generic perplexity of ${variant.label}${tail}`,
      { run, text: this.#print(text), testTokens: this.#experiment.testTokens },
      {
        needs: [run],
        flops: forwardCost(cost, cost.testTokens),
        work: { kind: 'generic', run, method: variant.method, text },
      },
    );
  }

  start(task: Task, candidate: Candidate): string {
    const { subject, run, train, test, size, finetune } = task;
    const { method, basis, cost, tail, variant } = subject;
    const heldout = finetune.heldout ?? 0.1;
    const members = candidate === ENSEMBLE ? (variant.entry.ensembleExperts ?? MEMBERS) : undefined;
    // What does not look at the text of the domain is the same for every size.
    const looks = method.experts || method.pretraining === 'domain';
    return this.#add(
      'start',
      nameOf(task, candidate, looks),
      `${train.name} before fine-tuning, ${variant.label}${tail}`,
      {
        run: run ?? basis,
        domain: train.name,
        train: looks ? [this.#print(train), size, heldout] : null,
        choice: method.experts ? candidate : null,
        members,
        test: this.#print(test),
        testTokens: this.#experiment.testTokens,
      },
      {
        needs: run === null ? [] : [run],
        flops: startCost(cost, candidate, size) * (members ?? 1),
        work: { kind: 'start', basis, run, train, size, heldout, choice: candidate, members, test },
      },
    );
  }

  tune(task: Task, candidate: Candidate, start: string): string {
    const { subject, run, train, test, size, finetune } = task;
    const { basis, cost, tail, variant } = subject;
    return this.#add(
      'tune',
      nameOf(task, candidate, true),
      `fine-tune ${variant.label} to ${train.name} (${compactCount(size)})${tail}`,
      {
        start,
        train: this.#print(train),
        size,
        finetune,
        test: this.#print(test),
        testTokens: this.#experiment.testTokens,
      },
      {
        needs: run === null ? [start] : [run, start],
        flops: tuneCost(cost, size, finetune),
        work: { kind: 'tune', basis, run, start, train, size, finetune, test },
      },
    );
  }

  #add(kind: Work['kind'], name: string, title: string, key: unknown, rest: Omit<Cell, 'id' | 'title'>): string {
    const id = `${kind}-${slug(name)}-${shortHash([KEY_VERSION, this.#corpus.identity, kind, key])}`;
    if (!this.#cells.has(id)) this.#cells.set(id, { id, title, ...rest });
    return id;
  }

  #print({ paths }: Text): string {
    const name = paths.join('\n');
    const found = this.#prints.get(name) ?? fingerprint(paths);
    this.#prints.set(name, found);
    return found;
  }
}

const nameOf = ({ subject, train, size }: Task, candidate: Candidate, sized: boolean): string =>
  [
    subject.about,
    train.name,
    ...(sized ? [compactCount(size)] : []),
    ...(subject.method.experts ? [candidate] : []),
  ].join(' ');
