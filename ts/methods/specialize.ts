// specialize(): from a pretrained run and the text of a domain to one dense model folder. Chooses the expert, fine-tunes with
// early stopping on held-out documents of the domain, writes a folder that any tool of the Hugging Face layout loads.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { type Backend, SweetspotError } from '../backend/index.js';
import { defined } from '../backend/options.js';
import { Corpus, domainCorpus } from '../data/corpus.js';
import { cutWindows, requireWindows } from '../data/windows.js';
import type { Evaluation } from '../eval/perplexity.js';
import { writeFileAtomic } from '../io/atomic.js';
import { saveDenseFolder } from '../io/huggingface.js';
import { FolderLock } from '../io/lock.js';
import { trainingFlops } from '../models/cost.js';
import type { AdamWSettings } from '../optim/adamw.js';
import { finetune } from '../train/finetune.js';
import { choosePrecision, type Precision } from '../train/precision.js';
import type { OnProgress } from '../train/progress.js';
import { chooseExpert, EXPERT_CHOICES, type ExpertChoice, type Placement, untrained } from './choose.js';
import { type Method, openRun, type RunConfig, readJson, requireSame, withDefaults } from './run.js';

export interface SpecializeOptions {
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
  /** Passes over the domain's text at most. Default 10. */
  readonly epochs?: number | undefined;
  /** Fine-tuning steps at most; overrides epochs. 0 keeps the chosen expert as it is. */
  readonly steps?: number | undefined;
  /** Peak learning rate. Default: a third of the pretraining peak (the whole of it from scratch). */
  readonly learningRate?: number | undefined;
  /** Tokens a step. Default: half of pretraining's. */
  readonly batchTokens?: number | undefined;
  /** Share of the documents held out for early stopping. Default 0.1. */
  readonly heldout?: number | undefined;
  readonly adamw?: Partial<AdamWSettings> | undefined;
  /** Of the matrix products of training. Default: pretraining's. */
  readonly precision?: Precision | undefined;
  readonly seed?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SpecializeResult extends Placement {
  readonly method: Method;
  readonly out: string;
  readonly domainTokens: number;
  /** On the held-out documents of the domain. */
  readonly before: Evaluation;
  readonly after: Evaluation;
  readonly bestStep: number;
  readonly steps: number;
  readonly tokens: number;
  readonly flops: number;
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
    'fromScratch' | 'epochs' | 'steps' | 'learningRate' | 'batchTokens' | 'adamw' | 'precision' | 'seed'
  > {
  /** Fine-tuning tokens at most. Default: no limit. */
  readonly tokens?: number | undefined;
  /** Held-out evaluations without improvement before stopping. Default 5. */
  readonly patience?: number | undefined;
}

/** How a model pretrained as `config` says is fine-tuned on `trainTokens` tokens: defaults filled, epochs turned into steps. */
export function finetuneSettings(
  config: Pick<RunConfig, 'batch' | 'model' | 'schedule' | 'adamw' | 'precision' | 'seed'>,
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
  return {
    steps,
    batch,
    learningRate: options.learningRate ?? config.schedule.peak / (options.fromScratch === true ? 1 : 3),
    evaluateEvery: Math.max(1, Math.min(50, Math.ceil(perEpoch / 2), Math.ceil(steps / 10))),
    patience: options.patience ?? 5,
    adamw: { ...config.adamw, ...defined(options.adamw) },
    precision: options.precision ?? config.precision,
    seed: options.seed ?? config.seed,
  };
}

/**
 * Throws SWEETSPOT_USAGE, _INPUT (no text, less than one window), _EXISTS (out exists), _LOCKED, _MISMATCH before anything is
 * changed, SWEETSPOT_ABORTED on interrupt: the work so far is in `<out>.part` and the same call goes on with it.
 */
export async function specialize(options: SpecializeOptions): Promise<SpecializeResult> {
  const { backend, out } = options;
  const choice = options.expert ?? 'histogram';
  if (!EXPERT_CHOICES.includes(choice)) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'no such expert choice',
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
  const part = `${out}.part`;
  mkdirSync(`${part}/checkpoints`, { recursive: true });
  using _lock = FolderLock.acquire(part);
  // What is in the folder may come from another call: going on with its checkpoint would mix two domains.
  const plan = {
    run: path.resolve(options.run),
    domain: createHash('sha256').update(domainBytes(domain)).digest('hex'),
    expert: options.fromScratch === true ? 'none' : choice,
    heldout: share,
    steps: settings.steps,
    learningRate: settings.learningRate,
    batch: settings.batch,
    adamw: settings.adamw,
    precision: choosePrecision(backend, settings.precision),
    seed: settings.seed,
  };
  const planFile = path.join(part, 'config.json');
  if (existsSync(planFile)) requireSame(part, withDefaults(readJson(planFile)), plan);
  else writeFileAtomic(planFile, `${JSON.stringify(plan, null, 2)}\n`);
  const result = await finetune(
    backend,
    model,
    chosen.values,
    train,
    heldout,
    { ...settings, precision: plan.precision },
    { folder: part, onProgress: options.onProgress, signal: options.signal },
  );
  const done: SpecializeResult = {
    method: run.config.method,
    out,
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
    flops: trainingFlops(model, result.tokens),
    seconds: (performance.now() - begin) / 1000,
  };
  await saveDenseFolder(out, model, result.values, run.tokenizer, {
    'sweetspot.json': `${JSON.stringify({ ...done, out: undefined }, null, 2)}\n`,
  });
  rmSync(part, { recursive: true });
  return done;
}

/** The tokens of every document: what identifies a domain. */
function domainBytes(domain: Corpus): Uint8Array {
  const tokens = new Int32Array(domain.tokens);
  domain.read(0, domain.tokens, tokens, 0);
  return new Uint8Array(tokens.buffer);
}
