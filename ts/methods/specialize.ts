// specialize(): from a pretrained run and the text of a domain to one dense model folder. Chooses the expert, fine-tunes with
// early stopping on held-out documents of the domain, writes a folder that any tool of the Hugging Face layout loads (variants of
// routed layers that have none: a folder of our own).
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { ioError } from '../backend/errors.js';
import { type Backend, SweetspotError } from '../backend/index.js';
import { defined } from '../backend/options.js';
import { Corpus, domainCorpus } from '../data/corpus.js';
import { Tokenizer } from '../data/tokenizer.js';
import { cutWindows, requireWindows, type Windows } from '../data/windows.js';
import type { Evaluation } from '../eval/perplexity.js';
import { writeFileAtomic } from '../io/atomic.js';
import { saveDenseFolder } from '../io/huggingface.js';
import { architectureOf } from '../io/huggingface_config.js';
import { FolderLock } from '../io/lock.js';
import type { TransformerConfig } from '../models/config.js';
import { loraTrainingFlops } from '../models/cost.js';
import { DenseModel } from '../models/dense.js';
import { type LoraSettings, loraSettings } from '../nn/lora.js';
import type { AdamWSettings } from '../optim/adamw.js';
import { finetune } from '../train/finetune.js';
import { choosePrecision, type Precision } from '../train/precision.js';
import type { OnProgress } from '../train/progress.js';
import {
  keptLessons,
  type Lessons,
  requireTokenizer,
  type TeacherSettings,
  teacherSettings,
} from '../train/teacher.js';
import { ENSEMBLE, EXPERT_CHOICES, type ExpertChoice } from './choices.js';
import { chooseExpert, type Placement, untrained } from './choose.js';
import { stepsFlops, textHash } from './context.js';
import { type Method, openRun, type RunConfig, readJson, requireSame, withDefaults } from './run.js';

/** How to make a run into a domain's model. */
export interface SpecializeOptions {
  /** Where to compute. */
  readonly backend: Backend;
  /** Run folder, from pretrain. */
  readonly run: string;
  /** Text of the domain: file, folder, or several. */
  readonly domain: string | readonly string[];
  /** Model folder to write. */
  readonly out: string;
  /** Tokens of the domain to use at most, held-out ones included. Default: all. */
  readonly maxTokens?: number | undefined;
  /** Default histogram. Runs without experts have nothing to choose. */
  readonly expert?: ExpertChoice | undefined;
  /** Starts from random weights instead of the run's: the model that knows only the domain. Default false. */
  readonly fromScratch?: boolean | undefined;
  /** Corpus folder of generic text to mix in, and the probability of a row of it. Default: none; share 0.01. */
  readonly replay?: { readonly corpus: string; readonly share?: number | undefined } | undefined;
  /** Passes over the domain's text at most. Default 10. */
  readonly epochs?: number | undefined;
  /** Fine-tuning steps at most; overrides epochs. 0 keeps the chosen expert as it is. */
  readonly steps?: number | undefined;
  /** Peak learning rate. Default: a third of the pretraining peak (the whole of it from scratch and for adapters). */
  readonly learningRate?: number | undefined;
  /** Tokens a step. Default: half of pretraining's. */
  readonly batchTokens?: number | undefined;
  /** Share of the documents held out for early stopping. Default 0.1. */
  readonly heldout?: number | undefined;
  /** Settings of the optimizer that differ from the defaults. */
  readonly adamw?: Partial<AdamWSettings> | undefined;
  /** Trains low-rank adapters in place of all parameters; {} for the defaults. */
  readonly lora?: Partial<LoraSettings> | undefined;
  /**
   * Distillation (PAPER, SLM-d): model folder of a larger model with the same tokenizer, as a rule specialized to the same
   * domain; its likely tokens are learnt beside the text.
   */
  readonly teacher?: string | undefined;
  /** With a teacher: how much of it, how soft, how many tokens. {} for the defaults. */
  readonly distillation?: Partial<TeacherSettings> | undefined;
  /** Of the matrix products of training. Default: pretraining's. */
  readonly precision?: Precision | undefined;
  /** Default: the run's. */
  readonly seed?: number | undefined;
  /** Called after every step. */
  readonly onProgress?: OnProgress | undefined;
  /** Ends the work with SWEETSPOT_ABORTED; no model folder is left behind. */
  readonly signal?: AbortSignal | undefined;
}

/** What a domain's model has bought and cost. */
export interface SpecializeResult extends Placement {
  /** Of the run. */
  readonly method: Method;
  /** The model folder. */
  readonly out: string;
  /** Layout of the folder, as its config.json names it. */
  readonly architecture: string;
  /** Tokens of the domain used, held-out ones included. */
  readonly domainTokens: number;
  /** On the held-out documents of the domain. */
  readonly before: Evaluation;
  /** The same documents, fine-tuned. */
  readonly after: Evaluation;
  /** The step that was kept: lowest held-out loss. */
  readonly bestStep: number;
  /** Steps made. */
  readonly steps: number;
  /** Tokens of these steps. */
  readonly tokens: number;
  /** Of fine-tuning, by the formulas of ts/models/cost.ts. */
  readonly flops: number;
  /** Time it took. */
  readonly seconds: number;
}

/** Splits by document: every tenth (for 0.1) goes to the held-out part, so that both span the whole text. */
export function splitHeldout(corpus: Corpus, share: number, contextLength: number): { train: Corpus; heldout: Corpus } {
  const tokenizer = corpus.tokenizer();
  const every = Math.max(2, Math.round(1 / share));
  const texts: [string[], string[]] = [[], []];
  const documents = Array.from({ length: corpus.documents }, (_, i) =>
    tokenizer.decode(corpus.document(i).subarray(1)),
  );
  // One long document is a domain too: its end is held out.
  if (documents.length < 2) {
    const cut = Math.floor(documents[0]!.length * (1 - share));
    texts[0].push(documents[0]!.slice(0, cut));
    texts[1].push(documents[0]!.slice(cut));
  } else {
    const offset = Math.min(every, documents.length) - 1;
    for (const [i, text] of documents.entries()) texts[i % every === offset ? 1 : 0].push(text);
  }
  const [train, heldout] = texts.map((list) => Corpus.fromTexts(list, tokenizer)) as [Corpus, Corpus];
  requireWindows(cutWindows(train, contextLength), 'the training part of the domain');
  return { train, heldout };
}

export interface FinetuneOptions
  extends Pick<
    SpecializeOptions,
    'fromScratch' | 'epochs' | 'steps' | 'learningRate' | 'batchTokens' | 'adamw' | 'lora' | 'precision' | 'seed'
  > {
  /** Fine-tuning tokens at most. Default: no limit. */
  readonly tokens?: number | undefined;
  /** Held-out evaluations without improvement before stopping. Default 5. */
  readonly patience?: number | undefined;
}

/** How a model pretrained as `config` says is fine-tuned on `trainTokens` tokens: defaults filled, epochs turned into steps. */
export function finetuneSettings(
  config: Pick<RunConfig, 'batch' | 'model' | 'schedule' | 'adamw' | 'muon' | 'balance' | 'precision' | 'seed'>,
  trainTokens: number,
  options: FinetuneOptions,
) {
  const { contextLength } = config.model;
  const batchTokens = options.batchTokens ?? (config.batch * contextLength) / 2;
  const batch = Math.max(1, Math.round(batchTokens / contextLength));
  const stepTokens = batch * contextLength;
  const perEpoch = Math.max(1, Math.ceil(trainTokens / stepTokens));
  const most = options.tokens === undefined ? 30_000 : Math.max(1, Math.ceil(options.tokens / stepTokens));
  const steps = options.steps ?? Math.min(30_000, most, Math.ceil((options.epochs ?? 10) * perEpoch));
  const whole = options.fromScratch === true || options.lora !== undefined;
  return {
    steps,
    batch,
    learningRate: options.learningRate ?? config.schedule.peak / (whole ? 1 : 3),
    evaluateEvery: Math.max(1, Math.min(50, Math.ceil(perEpoch / 2), Math.ceil(steps / 10))),
    patience: options.patience ?? 5,
    adamw: { ...config.adamw, ...defined(options.adamw) },
    muon: config.muon,
    balance: config.balance,
    lora: options.lora === undefined ? null : loraSettings(options.lora),
    precision: options.precision ?? config.precision,
    seed: options.seed ?? config.seed,
  };
}

/** Of fine-tuning on so many tokens as `finetuneSettings` says: of all parameters, or of adapters. */
export const finetuneFlops = (
  model: TransformerConfig,
  { muon, batch, lora }: Pick<ReturnType<typeof finetuneSettings>, 'muon' | 'batch' | 'lora'>,
  tokens: number,
): number => (lora === null ? stepsFlops({ model, muon, batch }, tokens) : loraTrainingFlops(model, lora.rank, tokens));

/**
 * Throws SWEETSPOT_USAGE, _INPUT (no text, less than one window), _EXISTS (out exists), _LOCKED, _MISMATCH before anything is
 * changed, SWEETSPOT_ABORTED on interrupt: the work so far is in `<out>.part` and the same call goes on with it.
 */
export async function specialize(options: SpecializeOptions): Promise<SpecializeResult> {
  const { backend, out } = options;
  const choice = options.expert ?? 'histogram';
  if ((choice as string) === ENSEMBLE) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'an ensemble of experts is no single model: it is for evaluation only',
      expected: EXPERT_CHOICES.join(', '),
      found: choice,
      fix: 'choose another --expert, or measure it with `sweetspot evaluate <run> --expert ensemble`',
    });
  }
  if (!EXPERT_CHOICES.includes(choice)) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `there is no expert choice ${choice}`,
      expected: EXPERT_CHOICES.join(', '),
      found: choice,
    });
  }
  const share = options.heldout ?? 0.1;
  if (!(share > 0 && share <= 0.5))
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'heldout',
      expected: 'above 0, at most 0.5',
      found: String(share),
    });
  if (existsSync(out)) {
    throw new SweetspotError('SWEETSPOT_EXISTS', { what: `${out} exists`, fix: 'choose another output folder' });
  }
  const run = openRun(options.run);
  const { model } = run.config;
  const domain = await domainCorpus(options.domain, run.tokenizer, {
    maxTokens: options.maxTokens,
    signal: options.signal,
  });
  requireWindows(cutWindows(domain, model.contextLength), 'the domain');
  const { train, heldout } = splitHeldout(domain, share, model.contextLength);

  const begin = performance.now();
  const chosen =
    options.fromScratch === true
      ? await untrained(backend, model, options.seed ?? 0)
      : await chooseExpert(backend, run, train, choice, options.signal);
  const settings = finetuneSettings(run.config, train.tokens, options);
  using generic = openReplay(options, run.config);
  const teacher = options.teacher === undefined ? undefined : openTeacher(options, run.tokenizer);
  const part = `${out}.part`;
  mkdirSync(`${part}/checkpoints`, { recursive: true });
  using _lock = FolderLock.acquire(part);
  // What is in the folder may come from another call: going on with its checkpoint would mix two domains.
  const plan = {
    run: path.resolve(options.run),
    domain: textHash(domain),
    expert: options.fromScratch === true ? 'none' : choice,
    heldout: share,
    steps: settings.steps,
    learningRate: settings.learningRate,
    batch: settings.batch,
    adamw: settings.adamw,
    muon: settings.muon,
    balance: settings.balance,
    lora: settings.lora,
    replay: generic?.share ?? 0,
    teacher: teacher === undefined ? null : { ...teacher.settings, weights: teacher.hash },
    precision: choosePrecision(backend, settings.precision),
    seed: settings.seed,
  };
  const planFile = path.join(part, 'config.json');
  if (existsSync(planFile)) requireSame(part, planDefaults(readJson(planFile)), planDefaults(plan));
  else writeFileAtomic(planFile, `${JSON.stringify(plan, null, 2)}\n`);
  const windows = cutWindows(train, model.contextLength);
  const lessons =
    teacher === undefined
      ? undefined
      : await lessonsOf(options, teacher, train, windows, path.join(part, 'teacher.safetensors'));
  const result = await finetune(
    backend,
    model,
    chosen.values,
    train,
    heldout,
    {
      ...settings,
      precision: plan.precision,
      replay: generic,
      lessons: lessons && { ...lessons.word, ...teacher!.settings },
    },
    { folder: part, onProgress: options.onProgress, signal: options.signal },
  );
  const done: SpecializeResult = {
    method: run.config.method,
    out,
    architecture: architectureOf(model),
    domainTokens: domain.tokens,
    histogram: chosen.histogram,
    entropy: chosen.entropy,
    cluster: chosen.cluster,
    coverage: chosen.coverage,
    before: result.before,
    after: result.after,
    bestStep: result.bestStep,
    steps: result.steps,
    tokens: result.tokens,
    flops: (lessons?.flops ?? 0) + finetuneFlops(model, settings, result.tokens),
    seconds: (performance.now() - begin) / 1000,
  };
  const note = { 'sweetspot.json': `${JSON.stringify({ ...done, out: undefined }, null, 2)}\n` };
  await saveDenseFolder(out, model, result.values, run.tokenizer, note, { own: true });
  rmSync(part, { recursive: true });
  return done;
}

/** What folders from before there was a choice mean. */
const planDefaults = (plan: unknown): unknown =>
  withDefaults({ lora: null, teacher: null, replay: 0, ...(plan as object) });

/** The generic text to mix in, checked. Its corpus is closed by who asked. */
function openReplay(
  { replay }: SpecializeOptions,
  config: RunConfig,
): (Disposable & { corpus: Corpus; share: number }) | undefined {
  if (replay === undefined) return undefined;
  const share = replay.share ?? 0.01;
  if (!(share >= 0 && share < 1)) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'the share of generic text',
      expected: 'from 0 to below 1',
      found: String(share),
    });
  }
  const corpus = Corpus.open(replay.corpus);
  if (corpus.tokenizerHash !== config.tokenizerHash) {
    corpus[Symbol.dispose]();
    throw new SweetspotError('SWEETSPOT_MISMATCH', {
      what: `the corpus ${replay.corpus} has another tokenizer than the run`,
      expected: config.tokenizerHash,
      found: corpus.tokenizerHash,
      fix: 'give the corpus folder that the run was pretrained on',
    });
  }
  return { corpus, share, [Symbol.dispose]: () => corpus[Symbol.dispose]() };
}

interface OpenTeacher {
  readonly settings: TeacherSettings;
  /** SHA-256 of its weights file. */
  readonly hash: string;
}

/** Checks what can be checked before anything is written. */
function openTeacher({ teacher, distillation }: SpecializeOptions, tokenizer: Tokenizer): OpenTeacher {
  const file = path.join(teacher!, 'model.safetensors');
  const settings = teacherSettings(distillation ?? {}, tokenizer.vocabSize);
  requireTokenizer(Tokenizer.load(path.join(teacher!, 'tokenizer.json')), tokenizer.hash);
  try {
    return { settings, hash: createHash('sha256').update(readFileSync(file)).digest('hex') };
  } catch (cause) {
    throw ioError(`cannot read the teacher ${file}`, cause);
  }
}

/** The teacher's word on the training text, from `file` when an earlier call left it there; and what it cost. */
async function lessonsOf(
  { backend, teacher: folder, onProgress, signal }: SpecializeOptions,
  { settings, hash }: OpenTeacher,
  train: Corpus,
  windows: Windows,
  file: string,
): Promise<{ word: Lessons; flops: number }> {
  const teacher = DenseModel.load(backend, folder!);
  try {
    return await keptLessons(teacher, hash, train, windows, settings, file, { onProgress, signal });
  } finally {
    teacher.dispose();
  }
}
