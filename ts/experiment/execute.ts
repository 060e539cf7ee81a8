// Does one cell. What it returns depends on nothing but the cell and the cells it needs: no times, no paths.
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { type Backend, SweetspotError } from '../backend/index.js';
import { defined } from '../backend/options.js';
import { Corpus, domainCorpus } from '../data/corpus.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { cutWindows } from '../data/windows.js';
import type { Evaluation } from '../eval/perplexity.js';
import { ENSEMBLE } from '../methods/choices.js';
import {
  chooseExpert,
  evaluateValues,
  expertValues,
  hasExperts,
  type Placement,
  untrained,
} from '../methods/choose.js';
import { chooseEnsemble, evaluateMembers } from '../methods/ensemble.js';
import { peakRate, pretrain } from '../methods/pretrain.js';
import { openRun, type RunConfig, type RunResult } from '../methods/run.js';
import { finetuneFlops, finetuneSettings, splitHeldout } from '../methods/specialize.js';
import { transformerConfig } from '../models/config.js';
import { denseParameterCount, forwardFlops, trainingFlops } from '../models/cost.js';
import { DenseModel } from '../models/dense.js';
import { transformerParameters } from '../models/transformer.js';
import { ADAMW } from '../optim/adamw.js';
import { MUON } from '../optim/muon.js';
import { loadWeights, saveValues } from '../train/checkpoint.js';
import { finetune } from '../train/finetune.js';
import { FIT } from '../train/fit.js';
import { choosePrecision } from '../train/precision.js';
import type { OnProgress } from '../train/progress.js';
import { keptLessons } from '../train/teacher.js';
import type { CellStore } from './cells.js';
import { pretrainMethod, SYSTEM_METHODS } from './methods.js';
import { type Basis, type Plan, pretrainOptions, type Teacher, type Work } from './plan.js';
import { finetuneOptions } from './tuning.js';

export interface ExecuteContext {
  readonly backend: Backend;
  readonly store: CellStore;
  readonly plan: Pick<Plan, 'corpus' | 'testTokens'>;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type RunCellResult = Omit<RunResult, 'seconds'>;
export type GenericCellResult = Evaluation;

export interface StartCellResult extends Placement {
  /** Over the experts; null for a method without, and for fitted coefficients, which are no weights. */
  readonly weights: readonly number[] | null;
  /** On the test text; null for a model that has not been trained at all. */
  readonly before: Evaluation | null;
  /** Spent on choosing. */
  readonly chooseFlops: number;
  /** Of the text chosen by, markers included: the training part. */
  readonly trainTokens: number;
  readonly inferenceParameters: number;
  /** FLOPs a token of the model that is served. */
  readonly inferenceFlops: number;
}

export interface TuneCellResult {
  /** On the test text. */
  readonly after: Evaluation;
  /** On the held-out part of the domain's training text, which chose the step (and, for `all`, the expert). */
  readonly heldoutBefore: Evaluation;
  readonly heldoutAfter: Evaluation;
  readonly bestStep: number;
  readonly steps: number;
  readonly tokens: number;
  readonly flops: number;
}

export interface Done {
  readonly result: unknown;
  /** Where the work knows better than the clock of this call. */
  readonly seconds?: number;
}

/** @param folder for checkpoints @throws SweetspotError as `pretrain` and `specialize` */
export async function execute(context: ExecuteContext, id: string, work: Work, folder: string): Promise<Done> {
  switch (work.kind) {
    case 'run':
      return await runCell(context, id, work);
    case 'generic':
      return { result: await genericCell(context, work) };
    case 'start':
      return { result: await startCell(context, work) };
    case 'tune':
      return { result: await tuneCell(context, id, work, folder) };
  }
}

type Of<K extends Work['kind']> = Extract<Work, { kind: K }>;

async function runCell(
  { backend, store, plan, onProgress, signal }: ExecuteContext,
  id: string,
  work: Of<'run'>,
): Promise<Done> {
  const out = store.run(id);
  // A process killed between the run's last file and the cell's leaves a finished run.
  if (!existsSync(path.join(out, 'result.json'))) {
    const options = pretrainOptions(work.basis);
    await pretrain({
      backend,
      method: pretrainMethod(work.basis.method),
      corpus: plan.corpus,
      out,
      ...options,
      domain: work.domain?.paths,
      onProgress,
      signal,
    });
  }
  const { seconds, ...result } = openRun(out).result;
  return { result: result satisfies RunCellResult, seconds };
}

async function genericCell(
  { backend, store, plan, signal }: ExecuteContext,
  work: Of<'generic'>,
): Promise<GenericCellResult> {
  const run = openRun(store.run(work.run));
  const text = await domainCorpus(work.text.paths, run.tokenizer, { maxTokens: plan.testTokens ?? undefined, signal });
  return await SYSTEM_METHODS[work.method]!.generic!(backend, run, text, signal);
}

async function startCell(context: ExecuteContext, work: Of<'start'>): Promise<StartCellResult> {
  const { backend, plan, signal } = context;
  const { basis, choice } = work;
  const { run, model, tokenizer, config } = frame(context, basis, work.run);
  const { train } = await readDomain(work.train.paths, tokenizer, work.size, work.heldout, model.contextLength, signal);
  const readTest = () => domainCorpus(work.test.paths, tokenizer, { maxTokens: plan.testTokens ?? undefined, signal });
  if (choice === ENSEMBLE) {
    const { members, ...chosen } = await chooseEnsemble(backend, run!, train, work.members, signal);
    return {
      ...chosen,
      before: await evaluateMembers(backend, run!, chosen.weights, await readTest(), { signal }),
      chooseFlops: 0,
      trainTokens: train.tokens,
      inferenceParameters: members * denseParameterCount(model),
      inferenceFlops: members * forwardFlops(model),
    };
  }
  const method = SYSTEM_METHODS[basis.method]!;
  const chosen = await method.start({ backend, model, run, train, choice, seed: basis.seed, signal });
  const { values, ...placement } = chosen;
  let before: Evaluation | null = null;
  if (method.pretraining !== 'never')
    before = await evaluateValues(backend, { config }, values, await readTest(), { signal });
  const passes = method.experts && choice === 'lowest-loss' ? basis.settings.clusters! : 0;
  const fitted = method.experts && choice === 'fitted' ? FIT.steps * FIT.batch * model.contextLength : 0;
  return {
    ...placement,
    before,
    chooseFlops: passes * train.tokens * forwardFlops(model) + trainingFlops(model, fitted),
    trainTokens: train.tokens,
    inferenceParameters: denseParameterCount(model),
    inferenceFlops: forwardFlops(model),
  };
}

async function tuneCell(
  context: ExecuteContext,
  id: string,
  work: Of<'tune'>,
  folder: string,
): Promise<TuneCellResult> {
  const { backend, store, plan, onProgress, signal } = context;
  const { run, model, tokenizer, config } = frame(context, work.basis, work.run);
  const { heldout: share = 0.1, replay } = work.finetune;
  const { train, heldout } = await readDomain(
    work.train.paths,
    tokenizer,
    work.size,
    share,
    model.contextLength,
    signal,
  );
  const { weights } = store.read(work.start).result as StartCellResult;
  const initial =
    run === undefined
      ? (await untrained(backend, model, work.basis.seed)).values
      : weights === null && hasExperts(run)
        ? (await chooseExpert(backend, run, train, 'fitted', signal)).values
        : await expertValues(backend, run, weights);
  mkdirSync(path.join(folder, 'checkpoints'), { recursive: true });
  const settings = finetuneSettings(config, train.tokens, {
    ...finetuneOptions(work.finetune),
    fromScratch: run === undefined,
  });
  const { teacher } = work;
  const lessons = teacher && (await learn(context, teacher, train, path.join(folder, 'teacher.safetensors')));
  using generic = replay === undefined ? undefined : Corpus.open(plan.corpus);
  const result = await finetune(
    backend,
    model,
    initial,
    train,
    heldout,
    {
      ...settings,
      replay: generic && { corpus: generic, share: replay! },
      lessons: lessons && { ...lessons.word, ...teacher!.settings },
    },
    { folder, onProgress, signal },
  );
  if (work.keep) {
    mkdirSync(path.dirname(store.model(id)), { recursive: true });
    saveValues(store.model(id), transformerParameters(model), result.values);
  }
  const test = await domainCorpus(work.test.paths, tokenizer, { maxTokens: plan.testTokens ?? undefined, signal });
  return {
    after: await evaluateValues(backend, { config }, result.values, test, { signal }),
    heldoutBefore: result.before,
    heldoutAfter: result.after,
    bestStep: result.bestStep,
    steps: result.steps,
    tokens: result.tokens,
    flops: (lessons?.flops ?? 0) + finetuneFlops(model, settings, result.tokens),
  };
}

/** The teacher's word on the training text. `file` keeps it, should this cell be interrupted. */
async function learn(context: ExecuteContext, { tune, basis, run, settings }: Teacher, train: Corpus, file: string) {
  const { backend, store, onProgress, signal } = context;
  const { model, tokenizer } = frame(context, basis, run);
  const weights = store.model(tune);
  if (!existsSync(weights)) {
    throw new SweetspotError('SWEETSPOT_CORRUPT', {
      what: `the weights of the teacher ${tune} are not there`,
      expected: weights,
      fix: `delete cells/${tune}.json; the same command makes them again`,
    });
  }
  const teacher = DenseModel.fromValues(backend, model, loadWeights(weights, transformerParameters(model)), tokenizer);
  try {
    const windows = cutWindows(train, model.contextLength);
    return await keptLessons(teacher, tune, train, windows, settings, file, { onProgress, signal });
  } finally {
    teacher.dispose();
  }
}

async function readDomain(
  paths: readonly string[],
  tokenizer: Tokenizer,
  maxTokens: number,
  share: number,
  context: number,
  signal: AbortSignal | undefined,
) {
  return splitHeldout(await domainCorpus(paths, tokenizer, { maxTokens, signal }), share, context);
}

/** The run with its model, or for a method that is never pretrained the model that `pretrain` would have made. */
function frame({ backend, store, plan }: ExecuteContext, basis: Basis, id: string | null) {
  if (id !== null) {
    const run = openRun(store.run(id));
    return { run, model: run.config.model, tokenizer: run.tokenizer, config: run.config };
  }
  using corpus = Corpus.open(plan.corpus);
  const tokenizer = corpus.tokenizer();
  const options = pretrainOptions(basis);
  const { adamw, muon, batchTokens, precision } = options;
  const model = transformerConfig({
    ...defined(basis.sizes),
    ...defined(options.model),
    vocabSize: tokenizer.vocabSize,
  });
  const config: Pick<RunConfig, 'batch' | 'model' | 'schedule' | 'adamw' | 'muon' | 'balance' | 'precision' | 'seed'> =
    {
      model,
      batch: Math.round((batchTokens ?? 4096) / model.contextLength),
      schedule: { shape: 'cosine', peak: peakRate(options, model.hiddenSize), warmup: 0, floor: 0.1 },
      adamw: { ...ADAMW, ...adamw },
      muon: muon == null ? null : { ...MUON, ...muon },
      balance: null,
      precision: choosePrecision(backend, precision),
      seed: basis.seed,
    };
  return { run: undefined, model, tokenizer, config };
}
