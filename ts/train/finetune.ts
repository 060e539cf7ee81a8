// Fine-tuning on the text of a domain (PAPER, "Fine-tuning"): held-out loss every so many steps, early stopping, the best
// weights kept. The untouched model is a candidate too: some domains gain nothing.

import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Backend } from '../backend/backend.js';
import { Blend } from '../data/blend.js';
import type { Corpus } from '../data/corpus.js';
import { Sampler } from '../data/sampler.js';
import { cutWindows } from '../data/windows.js';
import { type Evaluation, evaluateCorpus } from '../eval/perplexity.js';
import type { TransformerConfig } from '../models/config.js';
import { transformerParameters } from '../models/transformer.js';
import { LoraModel, type LoraSettings } from '../nn/lora.js';
import { ParameterSet } from '../nn/parameters.js';
import type { AdamWSettings } from '../optim/adamw.js';
import type { MuonSettings } from '../optim/muon.js';
import type { BalanceSettings } from './balance.js';
import { loadWeights, saveWeights } from './checkpoint.js';
import type { Precision } from './precision.js';
import type { OnProgress } from './progress.js';
import { runStage } from './stage.js';
import type { TrainableModel } from './step.js';

export interface FinetuneSettings {
  /** Steps at most. */
  readonly steps: number;
  /** Peak learning rate; linear to a tenth of it over `steps`. */
  readonly learningRate: number;
  /** Windows a step. */
  readonly batch: number;
  /** Steps between held-out evaluations. */
  readonly evaluateEvery: number;
  /** Evaluations without improvement before stopping. */
  readonly patience: number;
  readonly adamw: AdamWSettings;
  /** For hidden matrices, in place of AdamW. Default: none. */
  readonly muon?: MuonSettings | null | undefined;
  /** Of routed experts, where they are trained. Default: none. */
  readonly balance?: BalanceSettings | null | undefined;
  /** Trains low-rank adapters and leaves the model as it is; the result has them merged. Default: all parameters. */
  readonly lora?: LoraSettings | null | undefined;
  /** Distillation: what a teacher says about `train`, and how it is weighed. Default: none. */
  readonly lessons?: TrainableModel['lessons'];
  /** Generic text mixed in: the probability of a row of it, 0 to 1. Default: none. */
  readonly replay?: { readonly corpus: Corpus; readonly share: number } | undefined;
  /** Of the matrix products of training. Default fp32. */
  readonly precision?: Precision | undefined;
  readonly seed: number | string;
}

export interface FinetuneResult {
  readonly values: ReadonlyMap<string, Float32Array>;
  /** Held-out evaluation of the untouched model and of the best one. */
  readonly before: Evaluation;
  readonly after: Evaluation;
  /** Step of the best weights, 0 for the untouched ones. */
  readonly bestStep: number;
  readonly steps: number;
  readonly tokens: number;
}

interface State {
  before: Evaluation;
  best: Evaluation;
  bestStep: number;
  misses: number;
}

/** `folder` keeps checkpoints, so that a killed call goes on with the same bits; nothing is written when it is absent. */
export async function finetune(
  backend: Backend,
  config: TransformerConfig,
  initial: ReadonlyMap<string, Float32Array>,
  train: Corpus,
  heldout: Corpus,
  settings: FinetuneSettings,
  options: { folder?: string | undefined; onProgress?: OnProgress | undefined; signal?: AbortSignal | undefined } = {},
): Promise<FinetuneResult> {
  const specs = transformerParameters(config);
  const adapted = settings.lora ? new LoraModel(backend, specs, initial, settings.lora, settings.seed) : undefined;
  /** The whole model as it is now; what is trained is the same, or the adapters. */
  const parameters = adapted?.merged ?? new ParameterSet(backend, specs, { trainable: true });
  try {
    if (adapted === undefined) {
      initial.forEach((values, name) => {
        parameters.write(name, values);
      });
    }
    const evaluate = () => evaluateCorpus(backend, config, parameters, heldout, { signal: options.signal });
    const before = await evaluate();
    let state: State = { before, best: before, bestStep: 0, misses: 0 };
    let best: ReadonlyMap<string, Float32Array> = initial;
    const bestFile = options.folder === undefined ? undefined : path.join(options.folder, 'best.safetensors');
    const own = {
      corpus: train,
      windows: cutWindows(train, config.contextLength),
      batch: settings.batch,
      contextLength: config.contextLength,
      sources: settings.lessons !== undefined,
      seed: settings.seed,
    };
    const { replay } = settings;
    const generic = (corpus: Corpus) => ({ corpus, windows: cutWindows(corpus, config.contextLength) });
    const shape = { batch: settings.batch, time: config.contextLength, precision: settings.precision };
    const result = await runStage(backend, {
      stage: 'finetune',
      model:
        adapted === undefined
          ? { config, parameters, balance: settings.balance, lessons: settings.lessons }
          : {
              config,
              parameters: adapted.adapters,
              weights: adapted,
              parts: { linear: adapted.linear },
              lessons: settings.lessons,
            },
      sampler: replay === undefined ? new Sampler(own) : new Blend(own, generic(replay.corpus), replay.share),
      shape,
      steps: settings.steps,
      adamw: settings.adamw,
      muon: settings.muon,
      schedule: {
        shape: 'linear',
        peak: settings.learningRate,
        warmup: Math.min(20, Math.ceil(settings.steps / 10)),
        floor: 0.1,
      },
      folder: options.folder,
      onProgress: options.onProgress,
      signal: options.signal,
      extra: {
        save: () => state,
        restore: (saved) => {
          state = saved as State;
          if (bestFile !== undefined && state.bestStep > 0 && existsSync(bestFile)) best = loadWeights(bestFile, specs);
        },
      },
      every: {
        steps: settings.evaluateEvery,
        call: async (step) => {
          adapted?.merge();
          const now = await evaluate();
          if (now.nll < state.best.nll) {
            state = { ...state, best: now, bestStep: step, misses: 0 };
            best = await parameters.readAll();
            if (bestFile !== undefined) await saveWeights(bestFile, parameters);
          } else {
            state = { ...state, misses: state.misses + 1 };
          }
          return state.misses >= settings.patience;
        },
      },
    });
    return {
      values: best,
      before: state.before,
      after: state.best,
      bestStep: state.bestStep,
      steps: result.steps,
      tokens: result.steps * shape.batch * shape.time,
    };
  } finally {
    (adapted ?? parameters).dispose();
  }
}
