// What every pretraining method works with, prepared once by pretrain().

import { createHash } from 'node:crypto';
import type { Backend } from '../backend/backend.js';
import type { Batches } from '../data/blend.js';
import { assignCorpus, type Clustering, type Clusters, histogram } from '../data/clusters.js';
import type { Corpus } from '../data/corpus.js';
import type { Embedder } from '../data/embedder.js';
import { Sampler, type SamplerOptions } from '../data/sampler.js';
import type { Windows } from '../data/windows.js';
import { writeFileAtomic } from '../io/atomic.js';
import { politely } from '../io/pieces.js';
import type { BankConfig } from '../models/config.js';
import { trainingFlops } from '../models/cost.js';
import { transformerParameters, zeroOutputs } from '../models/transformer.js';
import { ParameterSet, type ParameterSpec } from '../nn/parameters.js';
import { muonStepFlops } from '../optim/muon.js';
import { inheritCheckpoint, loadWeights, saveWeights } from '../train/checkpoint.js';
import type { LoadFigures } from '../train/loads.js';
import type { OnProgress } from '../train/progress.js';
import { runStage } from '../train/stage.js';
import { type RunConfig, type RunFolder, readJson } from './run.js';

export interface PretrainContext {
  readonly backend: Backend;
  readonly run: RunFolder;
  readonly corpus: Corpus;
  readonly windows: Windows;
  readonly clusters: Clusters | undefined;
  /** Text of the domain, for methods that see it before they end. */
  readonly domain: Corpus | undefined;
  readonly onProgress: OnProgress | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface MethodResult {
  readonly loss: number;
  /** Of training, all stages and calls. */
  readonly seconds: number;
  readonly flops: number;
  readonly tokens: number;
  readonly pretrainParameters: number;
  readonly facts: Readonly<Record<string, number>>;
}

/** A sampler over the corpus of the run. */
export function corpusSampler(
  context: PretrainContext,
  options: Pick<SamplerOptions, 'clusters' | 'distribution' | 'mixtures'>,
  seed: string,
): Sampler {
  const { corpus, windows, run } = context;
  const { model, batch, packing } = run.config;
  return new Sampler({
    corpus,
    windows,
    packing,
    batch,
    contextLength: model.contextLength,
    seed: `${run.config.seed}/${seed}`,
    ...options,
  });
}

/** SHA-256 of the tokens of a text: what identifies a domain. */
export function textHash(text: Corpus): string {
  const tokens = new Int32Array(text.tokens);
  text.read(0, text.tokens, tokens, 0);
  return createHash('sha256').update(new Uint8Array(tokens.buffer)).digest('hex');
}

/** All weight on one of `length`. */
export const oneHot = (length: number, at: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => (i === at ? 1 : 0));

/** What is kept of a finished stage besides its weights. */
export interface StageSummary {
  readonly loss: number;
  readonly seconds: number;
  readonly loads?: LoadFigures | undefined;
}

export interface TrainOptions {
  readonly stage: string;
  readonly specs: readonly ParameterSpec[];
  readonly bank?: BankConfig;
  /** Sets of generated weights in a step, and what they are generated from; see TrainStep. */
  readonly groups?: number | undefined;
  readonly embedding?: ((cluster: number) => Float32Array) | undefined;
  readonly sampler: Batches;
  readonly tokens: number;
  /** Values to start from; drawn from the seed when absent. */
  readonly initial?: ReadonlyMap<string, Float32Array> | undefined;
  /** A finished stage that this one goes on from, values and moments of its parameters. */
  readonly parent?: { readonly stage: string; readonly specs: readonly ParameterSpec[] } | undefined;
  /** See StageOptions. */
  readonly span?: { readonly offset: number; readonly total: number } | undefined;
}

/** Steps that so many tokens make, at least one. */
export const stepsFor = (context: PretrainContext, tokens: number): number =>
  Math.max(1, Math.round(tokens / (context.run.config.batch * context.run.config.model.contextLength)));

/** Training FLOPs of the dense model for so many tokens, in steps of `batch` windows, its optimizer's products included. */
export function stepsFlops(config: Pick<RunConfig, 'model' | 'muon' | 'batch'>, tokens: number): number {
  const steps = Math.ceil(tokens / (config.batch * config.model.contextLength));
  const optimizer = config.muon === null ? 0 : muonStepFlops(transformerParameters(config.model), config.muon);
  return trainingFlops(config.model, tokens) + steps * optimizer;
}

/** Trains one model for `tokens`, writes weights/<stage> and returns its loss and seconds; a stage that is finished is not repeated. */
export async function trainStage(context: PretrainContext, options: TrainOptions): Promise<StageSummary> {
  const { backend, run } = context;
  const { config } = run;
  if (run.finished(options.stage)) return readJson(run.summary(options.stage)) as StageSummary;
  const specs = config.zeroOutputs ? zeroOutputs(options.specs) : options.specs;
  const parameters = new ParameterSet(backend, specs, { trainable: true });
  try {
    await politely(parameters.initializing(config.seed));
    options.initial?.forEach((values, name) => {
      parameters.write(name, values);
    });
    if (options.parent !== undefined)
      inheritCheckpoint(`${run.path}/checkpoints`, options.parent.stage, parameters, options.parent.specs);
    const result = await runStage(backend, {
      stage: options.stage,
      model: {
        config: config.model,
        bank: options.bank,
        parameters,
        embedding: options.embedding,
        balance: config.balance,
      },
      sampler: options.sampler,
      shape: {
        batch: config.batch,
        time: config.model.contextLength,
        precision: config.precision,
        seed: config.seed,
        groups: options.groups,
      },
      steps: stepsFor(context, options.tokens),
      span: options.span,
      adamw: config.adamw,
      muon: config.muon,
      schedule: config.schedule,
      folder: run.path,
      onProgress: context.onProgress,
      signal: context.signal,
    });
    // Written first: a stage counts as finished when its weights are there. Seconds stay out of the weights file, so that the
    // same seed gives the same bytes.
    const summary: StageSummary = { loss: result.loss, seconds: result.seconds, loads: result.loads };
    writeFileAtomic(run.summary(options.stage), `${JSON.stringify(summary)}\n`);
    await saveWeights(run.weights(options.stage), parameters);
    return summary;
  } finally {
    parameters.dispose();
  }
}

/** Values of a finished stage. */
export const stageWeights = (
  run: { path: string },
  stage: string,
  specs: readonly ParameterSpec[],
): Map<string, Float32Array> => loadWeights(`${run.path}/weights/${stage}.safetensors`, specs);

/** The domain's share of each cluster, by tokens of its windows. */
export async function domainHistogram(
  backend: Backend,
  clustering: Clustering,
  embedder: Embedder,
  domain: Corpus,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const { ids, lengths } = await assignCorpus(clustering, embedder, backend, domain, { signal });
  return histogram(ids, clustering.count, lengths);
}
