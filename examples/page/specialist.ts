// What the page does, without the page: a folder of a model or of a pretrained bank, a text, and out of both a specialist. The same
// library as in Node; files lie in memory (the build puts an in-memory file system in place of node:fs).
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import type { Backend } from '../../ts/backend/backend.js';
import { Corpus } from '../../ts/data/corpus.js';
import type { Tokenizer } from '../../ts/data/tokenizer.js';
import { cutWindows, requireWindows } from '../../ts/data/windows.js';
import { loadDenseFolder } from '../../ts/io/huggingface.js';
import { chooseExpert, hasExperts, type Placement } from '../../ts/methods/choose.js';
import { openRun, type RunConfig } from '../../ts/methods/run.js';
import { finetuneSettings, splitHeldout } from '../../ts/methods/specialize.js';
import type { TransformerConfig } from '../../ts/models/config.js';
import { denseParameterCount } from '../../ts/models/cost.js';
import { DenseModel } from '../../ts/models/dense.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { finetune } from '../../ts/train/finetune.js';
import type { OnProgress } from '../../ts/train/progress.js';

const FOLDER = '/model';

/** A file that a person chose: its path inside the folder. */
export interface ChosenFile {
  readonly path: string;
  bytes(): Promise<Uint8Array>;
}

/** A folder, read and understood. */
export interface Source {
  /** 'dense model' or the method of the run. */
  readonly kind: string;
  readonly model: TransformerConfig;
  readonly tokenizer: Tokenizer;
  /** Parameters of the specialist. */
  readonly parameters: number;
  /** 0 for a model without experts. */
  readonly clusters: number;
  /** The model to start from for a text. */
  start(backend: Backend, text: Corpus): Promise<{ values: ReadonlyMap<string, Float32Array>; placement?: Placement }>;
  /** How it was pretrained, as far as fine-tuning asks. */
  readonly recipe: Pick<
    RunConfig,
    'batch' | 'model' | 'schedule' | 'adamw' | 'muon' | 'balance' | 'precision' | 'seed'
  >;
}

/** Files that neither a model nor a finished run needs to be used: not read, they may be large. */
const SKIPPED = /(^|\/)(checkpoints|metrics\.jsonl|run\.lock)/;

/** Throws SweetspotError when the folder holds neither a dense model nor a finished run. */
export async function openSource(files: readonly ChosenFile[]): Promise<Source> {
  rmSync(FOLDER, { recursive: true, force: true });
  for (const file of files) {
    if (SKIPPED.test(file.path)) continue;
    const target = `${FOLDER}/${file.path}`;
    mkdirSync(target.slice(0, target.lastIndexOf('/')), { recursive: true });
    writeFileSync(target, await file.bytes());
  }
  const dense = files.some((file) => file.path === 'model.safetensors');
  return dense ? openDense() : openBank();
}

function openDense(): Source {
  const { config: model, values, tokenizer } = loadDenseFolder(FOLDER);
  return {
    kind: 'dense model',
    model,
    tokenizer,
    parameters: denseParameterCount(model),
    clusters: 0,
    start: async () => ({ values }),
    recipe: {
      batch: Math.max(1, Math.round(8192 / model.contextLength)),
      model,
      schedule: { shape: 'cosine', peak: 3e-3, warmup: 0, floor: 0.1 },
      adamw: ADAMW,
      muon: null,
      balance: null,
      precision: 'fp32',
      seed: 0,
    },
  };
}

function openBank(): Source {
  const run = openRun(FOLDER);
  const { model } = run.config;
  return {
    kind: `${run.config.method} run`,
    model,
    tokenizer: run.tokenizer,
    parameters: denseParameterCount(model),
    clusters: hasExperts(run) ? run.config.clusters : 0,
    async start(backend, text) {
      const { values, ...placement } = await chooseExpert(backend, run, text, 'histogram');
      return { values, placement };
    },
    recipe: { ...run.config, precision: 'fp32' },
  };
}

export interface Specialist {
  readonly model: DenseModel;
  /** Where the text lies among the clusters; undefined without. */
  readonly placement: Placement | undefined;
  /** Perplexity on the held-out tenth of the text, before and after fine-tuning. */
  readonly before: number;
  readonly after: number;
  readonly steps: number;
  /** Tokens of the text. */
  readonly tokens: number;
}

export async function specialize(
  backend: Backend,
  source: Source,
  text: string,
  options: { steps: number; onStart?: (placement?: Placement) => void; onProgress?: OnProgress; signal?: AbortSignal },
): Promise<Specialist> {
  const { model, tokenizer } = source;
  const domain = Corpus.fromTexts([text], tokenizer);
  requireWindows(cutWindows(domain, model.contextLength), 'the text');
  const { train, heldout } = splitHeldout(domain, 0.1, model.contextLength);
  const { values, placement } = await source.start(backend, train);
  options.onStart?.(placement);
  const settings = finetuneSettings(source.recipe, train.tokens, { steps: options.steps });
  const tuned = await finetune(backend, model, values, train, heldout, settings, {
    onProgress: options.onProgress,
    signal: options.signal,
  });
  return {
    model: DenseModel.fromValues(backend, model, tuned.values, tokenizer),
    placement,
    before: tuned.before.perplexity,
    after: tuned.after.perplexity,
    steps: tuned.steps,
    tokens: domain.tokens,
  };
}
