// Fitted coefficients: the bank stays as it is, and the few coefficients of each layer are trained on the text of a domain, from
// where the domain's histogram puts them. A handful of numbers cannot overfit; what comes out is where fine-tuning starts.
import type { Backend } from '../backend/backend.js';
import type { Corpus } from '../data/corpus.js';
import { Sampler } from '../data/sampler.js';
import { cutWindows } from '../data/windows.js';
import { bankFeedForward } from '../models/bank.js';
import type { BankConfig, TransformerConfig } from '../models/config.js';
import { ParameterSet } from '../nn/parameters.js';
import { ADAMW } from '../optim/adamw.js';
import { bufferTensor } from '../tensor/tensor.js';
import type { Precision } from './precision.js';
import type { OnProgress } from './progress.js';
import { runStage } from './stage.js';

export interface FitSettings {
  /** Default 60. */
  readonly steps: number;
  /** Peak, of the coefficients. Default 0.03. */
  readonly learningRate: number;
  /** Windows a step. Default 8. */
  readonly batch: number;
}

export const FIT: FitSettings = { steps: 60, learningRate: 0.03, batch: 8 };

const nameOf = (layer: number) => `layers.${layer}.coefficients`;

/** Coefficients (R) of every projected layer, trained on `corpus` from `start`; `frozen` holds the bank. */
export async function fitCoefficients(
  backend: Backend,
  config: TransformerConfig,
  bank: BankConfig,
  frozen: ParameterSet,
  start: ReadonlyMap<number, Float32Array>,
  corpus: Corpus,
  options: {
    seed: number | string;
    precision?: Precision | undefined;
    settings?: FitSettings;
    onProgress?: OnProgress | undefined;
    signal?: AbortSignal | undefined;
  },
): Promise<Map<number, Float32Array>> {
  const { steps, learningRate, batch } = options.settings ?? FIT;
  const time = config.contextLength;
  const parameters = new ParameterSet(
    backend,
    bank.projectedLayers.map((l) => ({
      name: nameOf(l),
      shape: [1, bank.slices],
      kind: 'coefficients',
      init: { kind: 'custom', values: () => start.get(l)! },
    })),
    { trainable: true },
  );
  parameters.initialize(options.seed);
  const buffer = backend.alloc(8);
  backend.write(buffer, 0, new Uint8Array(Int32Array.of(0, batch * time).buffer));
  const offsets = bufferTensor('offsets', [2], 'i32', { buffer, offset: 0 });
  try {
    await runStage(backend, {
      stage: 'fit',
      model: {
        config,
        parameters,
        weights: frozen,
        parts: { feedForward: bankFeedForward(bank, frozen, (l) => parameters.tensor(nameOf(l)), { offsets }) },
      },
      sampler: new Sampler({
        corpus,
        windows: cutWindows(corpus, time),
        batch,
        contextLength: time,
        seed: `${options.seed}/fit`,
      }),
      shape: { batch, time, precision: options.precision },
      steps,
      adamw: { ...ADAMW, bankScale: 1 },
      schedule: { shape: 'cosine', peak: learningRate, warmup: Math.ceil(steps / 10), floor: 0.1 },
      onProgress: options.onProgress,
      signal: options.signal,
    });
    const fitted = new Map<number, Float32Array>();
    for (const l of bank.projectedLayers) fitted.set(l, await parameters.read(nameOf(l)));
    return fitted;
  } finally {
    parameters.dispose();
    backend.free(buffer);
  }
}
