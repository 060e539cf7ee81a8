// What can be wrong with an experiment beyond the form of its file: contradictions inside it, text that is not there or not
// enough. The first check needs no tokenizer and is only sure of what is certain (a token is at least one byte); the second
// counts, once there is a corpus. Both come before any training.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { SweetspotError } from '../backend/errors.js';
import { defined } from '../backend/options.js';
import { loadClusters } from '../data/clusters.js';
import { Corpus, domainCorpus } from '../data/corpus.js';
import { readDocuments } from '../data/readers.js';
import { cutWindows } from '../data/windows.js';
import { requireTrunk } from '../methods/bank.js';
import { bankParameters } from '../models/bank.js';
import { bankConfig, transformerConfig } from '../models/config.js';
import { teacherSettings } from '../train/teacher.js';
import { modelOf } from './estimate.js';
import { type Experiment, type SettingName, VOCABULARY } from './experiment.js';
import { teacherOf, type Variant, variantsOf } from './grid.js';
import { hasBank, hasRouters, SYSTEM_METHODS, settingsOf } from './methods.js';
import { bankOptions } from './plan.js';
import type { Problem } from './read.js';
import { isTuned, type Tuning, tuningOf, tuningsOf } from './tuning.js';

type Report = (text: string) => void;

/** Settings without a default, for methods that read them. */
const NEEDED = ['clusters', 'domainShare', 'teacher'] as const satisfies readonly SettingName[];

/** Default of `pretrain`. */
const BATCH_TOKENS = 4096;

/** Checks what of an experiment could be read; sections that could not are absent and are passed over. */
export async function checkExperiment(experiment: Partial<Experiment>): Promise<Problem[]> {
  const problems: Problem[] = [];
  const usage: Report = (text) => problems.push({ kind: 'usage', text });
  const input: Report = (text) => problems.push({ kind: 'input', text });
  const { corpus, domains, sizes, systems = [], models, pretrain, seeds } = experiment;
  const twice = (what: string, names: readonly unknown[]) => {
    for (const one of new Set(names.filter((name, i) => names.indexOf(name) < i)))
      usage(`${what} ${one} is there twice`);
  };
  twice('the domain', domains?.map(({ name }) => name) ?? []);
  twice(
    'the system',
    systems.map(({ name }) => name),
  );
  twice('the seed', seeds ?? []);
  twice('the in-domain size', sizes?.map(({ tokens }) => tokens) ?? []);

  const context = corpus?.context;
  const vocabSize = corpus === undefined ? VOCABULARY : checkCorpus(corpus, usage, input);
  for (const [name, sizesOfModel] of Object.entries(models ?? {})) {
    attempt(usage, `models.${name}`, () =>
      transformerConfig(defined({ ...sizesOfModel, vocabSize, contextLength: context })),
    );
  }
  if (models !== undefined && pretrain !== undefined && context !== undefined)
    checkVariants({ ...experiment, systems, models, pretrain }, context, vocabSize, usage);
  checkTuning({ ...experiment, systems }, usage);
  await checkText(experiment, input, usage);
  return problems;
}

/** Reports what has not been reported before. */
function onlyOnce(report: Report): Report {
  const told = new Set<string>();
  return (text) => {
    if (!told.has(text)) report(text);
    told.add(text);
  };
}

/** The size of the vocabulary. */
function checkCorpus(corpus: Experiment['corpus'], usage: Report, input: Report): number {
  const { folder, input: texts, vocabulary } = corpus;
  if ((folder === undefined) === (texts === undefined)) usage('corpus: give either input (text) or folder (a corpus)');
  if (folder === undefined) return vocabulary ?? VOCABULARY;
  if (vocabulary !== undefined) usage('corpus.vocabulary is that of the folder: leave it out');
  let size = VOCABULARY;
  attempt(input, 'corpus.folder', () => {
    using open = Corpus.open(folder);
    size = open.tokenizer().vocabSize;
  });
  return size;
}

function checkVariants(
  experiment: Pick<Experiment, 'systems' | 'models' | 'pretrain'> & Partial<Experiment>,
  context: number,
  vocabSize: number,
  usage: Report,
): void {
  const once = onlyOnce(usage);
  const variants = variantsOf(experiment);
  for (const variant of variants) {
    const { label, settings, method } = variant;
    const { model: name, tokens, batchTokens = BATCH_TOKENS } = settings;
    const sizes = experiment.models[name];
    if (sizes === undefined) {
      once(`${label}: there is no model ${name}; models are ${Object.keys(experiment.models).join(', ')}`);
      continue;
    }
    const never = SYSTEM_METHODS[method]!.pretraining === 'never';
    if (tokens === undefined && !never) once('pretrain.tokens is missing');
    if (batchTokens < context / 2) once(`${label}: batchTokens ${batchTokens} is less than one window of ${context}`);
    else if (tokens !== undefined && tokens < batchTokens)
      once(`${label}: ${tokens} pretraining tokens are less than one step of ${batchTokens}`);
    for (const needed of NEEDED)
      if (settings[needed] === undefined && settingsOf(SYSTEM_METHODS[method]!).includes(needed))
        once(`${label}: ${needed} is missing`);
    if (settings.teacher !== undefined) checkTeacher(variants, variant, vocabSize, once);
    if (hasBank(method) || hasRouters(method)) {
      attempt(once, label, () => {
        const model = modelOf({ basis: { method, settings, sizes, context }, vocabSize });
        if (hasBank(method)) {
          const bank = bankConfig(model, { ...bankOptions(settings), experts: settings.clusters ?? 2 });
          bankParameters(model, bank);
          requireTrunk(bank, settings.trunkShare ?? 0);
        }
      });
    }
  }
}

/** A teacher is a system of the file that gives one dense model a domain, and does not learn from its own student. */
function checkTeacher(variants: readonly Variant[], student: Variant, vocabSize: number, usage: Report): void {
  const { label, settings } = student;
  const { weight, temperature, topK } = settings;
  attempt(usage, label, () => teacherSettings(defined({ weight, temperature, topK }), vocabSize));
  const teacher = teacherOf(variants, student);
  if (teacher === undefined) {
    usage(`${label}: there is no system ${settings.teacher} to learn from`);
    return;
  }
  const { system, method, entry } = teacher;
  if (SYSTEM_METHODS[method]!.experts)
    usage(`${label}: ${system} cannot teach: ${method} has several models for a domain, and a teacher is one`);
  if (entry.finetune === false) usage(`${label}: ${system} cannot teach: it is not fine-tuned (finetune: false)`);
  const above = new Set<Variant>();
  for (let one: Variant | undefined = teacher; one !== undefined && !above.has(one); one = teacherOf(variants, one)) {
    above.add(one);
    if (one.system === student.system)
      usage(`${label}: learns from itself, by way of ${[...above].map((v) => v.system).join(', ')}`);
  }
}

/** Fine-tuning of every system at every size; what is wrong with all of them is said once. */
function checkTuning(experiment: Partial<Experiment> & Pick<Experiment, 'systems'>, usage: Report): void {
  const { corpus, sizes = [], systems, finetune = {} } = experiment;
  const once = onlyOnce(usage);
  for (const system of systems) {
    const { name, method } = system;
    const { pretraining, tuning } = SYSTEM_METHODS[method]!;
    const never = pretraining === 'never';
    if ((never || tuning?.includes('teacher')) && !isTuned({ finetune }, system))
      once(`${method} without fine-tuning is not a model: leave it out, or give fine-tuning settings`);
    if (finetune === false && Object.keys(system.finetune || {}).length > 0)
      once(`${name}: fine-tuning settings, and finetune of the experiment is false`);
    if (never && sizes.some((size) => tuningOf({ finetune }, size.finetune, system).lora !== undefined))
      once(`${name}: adapters (lora) of a model that is not pretrained; lora: false trains all of it`);
  }
  const teachers = new Set(systems.flatMap(({ grid }) => (grid.teacher ?? []) as string[]));
  for (const teacher of systems.filter(({ name }) => teachers.has(name)))
    if (sizes.some((size) => tuningsOf({ finetune }, size.finetune, teacher).length > 1))
      once(
        `${teacher.name} cannot teach: it is fine-tuned at several learning rates; give it one in a finetune of its own`,
      );
  const own = systems.length === 0 ? [{ finetune: {} }] : systems;
  if (corpus?.context !== undefined)
    for (const system of own.filter((one) => isTuned({ finetune }, one)))
      for (const size of sizes)
        checkFinetune(tuningOf({ finetune }, size.finetune, system), size.tokens, corpus.context, once);
}

function checkFinetune(
  { batchTokens, tokens, heldout = 0.1 }: Tuning,
  size: number,
  context: number,
  usage: Report,
): void {
  if (batchTokens !== undefined && batchTokens < context / 2)
    usage(`fine-tuning: batchTokens ${batchTokens} is less than one window of ${context}`);
  if (tokens !== undefined && tokens < (batchTokens ?? context))
    usage(`fine-tuning: ${tokens} tokens are less than one step of ${batchTokens ?? context}`);
  if (size * (1 - heldout) < context)
    usage(`sizes: ${size} tokens are less than one window of ${context} after the held-out part`);
}

/** The text that is named is there, readable, and not certainly too short. */
async function checkText(experiment: Partial<Experiment>, input: Report, usage: Report): Promise<void> {
  const { corpus, domains = [] } = experiment;
  for (const [what, paths] of [
    ['corpus.input', corpus?.input],
    ['corpus.test', corpus?.test],
  ] as const)
    for (const missing of (paths ?? []).filter((one) => !existsSync(one))) input(`${what}: no such file ${missing}`);
  for (const domain of domains) {
    if (domain.train.some((one) => domain.test.includes(one)))
      usage(`domains.${domain.name}: the test text is also training text`);
    for (const part of ['train', 'test'] as const) {
      const missing = domain[part].filter((one) => !existsSync(one));
      for (const one of missing) input(`domains.${domain.name}.${part}: no such file ${one}`);
      if (missing.length > 0) continue;
      const wanted = part === 'train' ? largestSize(experiment) : 2;
      await attemptAsync(input, `domains.${domain.name}.${part}`, async () => {
        const most = await bytesUpTo(domain[part], wanted);
        if (most < wanted)
          input(`domains.${domain.name}.${part}: ${wanted} tokens are asked for, and there are at most ${most}`);
      });
    }
  }
}

/** Tokens that the largest size, or importance sampling, asks of every domain. */
const largestSize = ({ sizes = [], systems = [] }: Partial<Experiment>): number =>
  Math.max(
    2,
    ...sizes.map(({ tokens }) => tokens),
    ...systems.flatMap(({ grid }) => (grid.domainTokens ?? []) as number[]),
  );

/** Bytes and document markers of a text, counted until there are `wanted`: more tokens it cannot have. */
async function bytesUpTo(paths: readonly string[], wanted: number): Promise<number> {
  let total = 0;
  for await (const { text } of readDocuments(paths)) {
    total += 1 + Buffer.byteLength(text);
    if (total >= wanted) break;
  }
  return total;
}

/** The exact check, with the corpus that training will use: sizes in its tokens, clusters against its windows. */
export async function checkAgainstCorpus(
  experiment: Experiment,
  corpusFolder: string,
  signal: AbortSignal | undefined,
): Promise<Problem[]> {
  const problems: Problem[] = [];
  const input: Report = (text) => problems.push({ kind: 'input', text });
  using corpus = Corpus.open(corpusFolder);
  const windows = cutWindows(corpus, experiment.corpus.context).count;
  for (const k of clusterCounts(experiment)) {
    if (k > windows) input(`${k} clusters of a corpus of ${windows} windows`);
    if (!existsSync(path.join(corpusFolder, `clusters.${k}.safetensors`))) continue;
    attempt(input, `${k} clusters`, () => {
      const { contextLength } = loadClusters(corpusFolder, k);
      if (contextLength !== experiment.corpus.context)
        input(
          `the ${k} clusters of ${corpusFolder} are of windows of ${contextLength} tokens, not ${experiment.corpus.context}`,
        );
    });
  }
  const wanted = largestSize(experiment);
  for (const { name, train } of experiment.domains) {
    const { tokens } = await domainCorpus(train, corpus.tokenizer(), { maxTokens: wanted, signal });
    // The last document is cut where it does not fit; a token may stay free for want of room for another marker.
    if (tokens < wanted - 1) input(`domains.${name}.train: ${wanted} tokens are asked for, and there are ${tokens}`);
  }
  return problems;
}

/** Every number of clusters that some system uses, ascending. */
export const clusterCounts = (experiment: Experiment): number[] =>
  [...new Set(experiment.systems.flatMap(({ grid }) => (grid.clusters ?? []) as number[]))].sort((a, b) => a - b);

function attempt(report: Report, where: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    report(`${where}: ${oneLine(error)}`);
  }
}

async function attemptAsync(report: Report, where: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    report(`${where}: ${oneLine(error)}`);
  }
}

function oneLine(error: unknown): string {
  if (!(error instanceof SweetspotError)) throw error;
  const { expected, found } = error;
  const parts = [error.message.split('\n')[0], expected && `expected ${expected}`, found && `found ${found}`];
  return parts.filter(Boolean).join(', ');
}
