// From an experiment to a plan. The name of a cell ends in a hash of all that determines its result, text included, so that
// what is asked for twice is one cell, and a file that grows repeats nothing.
import { defined } from '../backend/options.js';
import { compactCount } from '../io/numbers.js';
import { ENSEMBLE, EXPERT_CHOICES } from '../methods/choices.js';
import { MEMBERS } from '../methods/ensemble.js';
import { presetOf } from '../methods/presets.js';
import { type TeacherSettings, teacherSettings } from '../train/teacher.js';
import { forwardCost, type Sizes, startCost, trainingCost, tuneCost } from './estimate.js';
import { type Choice, type Experiment, type SettingName, type Settings, VOCABULARY } from './experiment.js';
import { teacherOf, type Variant, variantsOf } from './grid.js';
import { canonical, fingerprint, shortHash, slug } from './hash.js';
import { SYSTEM_METHODS, type SystemMethod } from './methods.js';
import type { Basis, Candidate, Cell, Plan, PlannedRow, Text, Work } from './plan.js';
import { isTuned, type Tuning, tuningOf, tuningsOf } from './tuning.js';

/** Raise it when the same key would mean another result. */
const KEY_VERSION = 1;

/** A variant with a seed. */
interface Subject {
  readonly variant: Variant;
  readonly method: SystemMethod;
  /** What determines its pretraining, but for text. */
  readonly basis: Basis;
  /** Whom its fine-tuning learns from. */
  readonly teacher: { readonly subject: Subject; readonly settings: TeacherSettings } | null;
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
  readonly finetune: Tuning;
  readonly teacher: PlannedRow | undefined;
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
  const planner = new Planner(experiment, variants, corpus);
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
      for (const choice of choicesOf(subject))
        for (const size of sizes) for (const domain of domains) rows.push(planner.row(subject, domain, size, choice));
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
  readonly #variants: readonly Variant[];
  /** Fine-tunings that somebody learns from, by `tuningKey`. */
  readonly #teachers: ReadonlySet<string>;
  readonly #corpus: { readonly identity: string; readonly vocabSize?: number };
  readonly #cells = new Map<string, Cell>();
  readonly #prints = new Map<string, string>();

  constructor(
    experiment: Experiment,
    variants: readonly Variant[],
    corpus: { readonly identity: string; readonly vocabSize?: number },
  ) {
    this.#experiment = experiment;
    this.#variants = variants;
    this.#teachers = new Set(variants.flatMap((one) => teacherOf(variants, one) ?? []).map(tuningKey));
    this.#corpus = corpus;
  }

  cells(): Cell[] {
    return [...this.#cells.values()];
  }

  subject(variant: Variant, seed: number): Subject {
    const { sizes, models, corpus, testTokens, seeds } = this.#experiment;
    const method = SYSTEM_METHODS[variant.method]!;
    const smallest = sizes.reduce((least, size) => (size.tokens < least.tokens ? size : least));
    const { model, preset, ...rest } = variant.settings;
    const { weight, temperature, topK } = rest;
    const own = withoutSettings(rest, method.tuning ?? []);
    const teacher = teacherOf(this.#variants, variant);
    const settings: Settings = method.pretraining === 'domain' ? { domainTokens: smallest.tokens, ...own } : own;
    const { clusters, tokens, domainShare } = settings;
    const basis: Basis = {
      method: method.pretrainedAs ?? variant.method,
      settings,
      ...(preset && { preset: presetOf(preset) }),
      sizes: models[model]!,
      context: corpus.context,
      seed,
      ...(domainShare === undefined
        ? {}
        : { domainHeldout: tuningOf(this.#experiment, smallest.finetune, variant.entry).heldout ?? 0.1 }),
    };
    const vocabSize = this.#corpus.vocabSize ?? corpus.vocabulary ?? VOCABULARY;
    return {
      variant,
      method,
      basis,
      teacher:
        teacher === undefined
          ? null
          : {
              subject: this.subject(teacher, seed),
              settings: teacherSettings(defined({ weight, temperature, topK }), vocabSize),
            },
      cost: { basis, vocabSize, testTokens: testTokens ?? 50_000 },
      about: [
        basis.method,
        ...(clusters === undefined ? [] : [`k${clusters}`]),
        ...(tokens === undefined ? [] : [compactCount(tokens)]),
        `seed${seed}`,
      ].join(' '),
      tail: seeds.length > 1 ? `, seed ${seed}` : '',
    };
  }

  /** A row with all its cells; those of a teacher come before those of its student. */
  row(
    subject: Subject,
    domain: Experiment['domains'][number],
    inDomain: Experiment['sizes'][number],
    choice: Choice | null,
  ): PlannedRow {
    const { method, variant, basis } = subject;
    const teacher = subject.teacher === null ? undefined : this.row(subject.teacher.subject, domain, inDomain, null);
    const train = { name: domain.name, paths: domain.train };
    const run =
      method.pretraining === 'never' ? null : this.run(subject, method.pretraining === 'domain' ? train : null);
    const size = inDomain.tokens;
    const test = { name: domain.name, paths: domain.test };
    const tunings = tuningsOf(this.#experiment, inDomain.finetune, variant.entry);
    const tuned = isTuned(this.#experiment, variant.entry) && choice !== ENSEMBLE;
    const pairs = candidatesOf(subject, choice).flatMap((candidate) =>
      (tuned ? tunings : [tunings[0]]).map((finetune) => {
        const task: Task = { subject, run, train, test, size, finetune, teacher };
        const start = this.start(task, candidate);
        return { start, tunes: tuned ? [this.tune(task, candidate, start)] : [] };
      }),
    );
    return {
      variant: this.#variants.indexOf(variant),
      seed: basis.seed,
      domain: domain.name,
      size,
      choice,
      run,
      starts: pairs.map(({ start }) => start),
      tunes: pairs.flatMap(({ tunes }) => tunes),
      ...(teacher === undefined ? {} : { teacher }),
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

  generic({ variant, basis, cost, about, tail }: Subject, run: string, text: Text): string {
    return this.#add(
      'generic',
      about,
      `generic perplexity of ${variant.label}${tail}`,
      { run, text: this.#print(text), testTokens: this.#experiment.testTokens },
      {
        needs: [run],
        flops: forwardCost(cost, cost.testTokens),
        work: { kind: 'generic', run, method: basis.method, text },
      },
    );
  }

  start(task: Task, candidate: Candidate): string {
    const { subject, run, train, test, size, finetune } = task;
    const { method, basis, cost, tail, variant } = subject;
    const heldout = finetune.heldout ?? 0.1;
    const members = candidate === ENSEMBLE ? (variant.entry.ensembleExperts ?? MEMBERS) : undefined;
    // What does not look at the text of the domain is the same for every size.
    const looks = method.settings.includes('clusters');
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
    const teacher =
      subject.teacher === null
        ? undefined
        : {
            tune: task.teacher!.tunes[0]!,
            basis: subject.teacher.subject.basis,
            run: task.teacher!.run,
            settings: subject.teacher.settings,
          };
    const reading = subject.teacher === null ? 0 : forwardCost(subject.teacher.subject.cost, size);
    const keep = this.#teachers.has(tuningKey(variant)) ? { keep: true as const } : {};
    return this.#add(
      'tune',
      `${nameOf(task, candidate, true)}${teacher === undefined ? '' : ' taught'}`,
      `fine-tune ${variant.label} to ${train.name} (${compactCount(size)})${tail}`,
      {
        start,
        train: this.#print(train),
        size,
        finetune,
        test: this.#print(test),
        testTokens: this.#experiment.testTokens,
        ...(teacher && { teacher: { tune: teacher.tune, ...teacher.settings } }),
        ...keep,
      },
      {
        needs: [run, start, teacher?.run, teacher?.tune].filter((id) => typeof id === 'string'),
        flops: tuneCost(cost, size, finetune) + reading,
        work: { kind: 'tune', basis, run, start, train, size, finetune, test, ...(teacher && { teacher }), ...keep },
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

/** Equal for systems whose fine-tunings are the same work. */
const tuningKey = ({ method, settings, entry }: Variant): string => canonical([method, settings, entry.finetune]);

const withoutSettings = (settings: Settings, names: readonly SettingName[]): Settings =>
  Object.fromEntries(Object.entries(settings).filter(([name]) => !names.includes(name as SettingName)));

const nameOf = ({ subject, train, size }: Task, candidate: Candidate, sized: boolean): string =>
  [
    subject.about,
    train.name,
    ...(sized ? [compactCount(size)] : []),
    ...(subject.method.experts ? [candidate] : []),
  ].join(' ');
