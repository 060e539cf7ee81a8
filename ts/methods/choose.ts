// Which model a run is for a domain (PAPER, "Choosing the expert"). A run with experts gives a family of dense models, one a
// vector of weights over its K clusters; a choice is such a vector.
//   frequent      the expert of the domain's most frequent cluster
//   lowest-loss   the expert with the lowest loss on the domain's text, before fine-tuning
//   histogram     all experts, weighted by the domain's histogram over clusters
//   distance      all experts, weighted by the distance of the domain's windows to the centroids (c-BTM)
//   fitted        as histogram, then the coefficients of the bank alone trained for a few steps on the domain's text
// For a projected network the weights mix expert vectors (e = sum_i h_i E_i), for a soup of experts they are the histogram its
// MLP takes, for a hyper-network they average embeddings, for a mixture the weights of the experts.

import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import { coverage, embedCorpus, entropy, genericHistogram, loadClustering } from '../data/clusters.js';
import type { Corpus } from '../data/corpus.js';
import { distanceWeights } from '../data/weights.js';
import { type Evaluation, type EvaluationOptions, evaluateCorpus } from '../eval/perplexity.js';
import { politely } from '../io/pieces.js';
import { bankParameters, coefficientsOf, EXPERTS, instantiate } from '../models/bank.js';
import type { TransformerConfig } from '../models/config.js';
import { transformerParameters } from '../models/transformer.js';
import { ParameterSet } from '../nn/parameters.js';
import { fitCoefficients } from '../train/fit.js';
import type { ExpertChoice } from './choices.js';
import { domainHistogram, oneHot, stageWeights } from './context.js';
import { meanEmbedding } from './hypernetwork.js';
import { expertStage } from './mixture.js';
import type { FinishedRun, RunConfig } from './run.js';

/** Where a domain lies among the clusters of a run. */
export interface Placement {
  /** The domain's share of each cluster; empty for a run without clusters. */
  readonly histogram: readonly number[];
  /** Its entropy, nats; 0 for a run without clusters. High entropy warns that no single expert fits. */
  readonly entropy: number;
  /** The cluster chosen, or the most frequent one; null for a run without clusters. */
  readonly cluster: number | null;
  /** How well generic text covers the domain (data/clusters coverage), 1 at best; null for a run without clusters. */
  readonly coverage: number | null;
}

export interface Chosen extends Placement {
  /** Values of the dense model. */
  readonly values: ReadonlyMap<string, Float32Array>;
  /** What `expertValues` makes them of: weights over the experts, null for a run without experts. */
  readonly weights: readonly number[] | null;
}

const NOWHERE: Placement = { histogram: [], entropy: 0, cluster: null, coverage: null };

/** Which clusters of a run a text lies in; `cluster` is its most frequent one. */
export async function placeDomain(
  backend: Backend,
  run: FinishedRun,
  corpus: Corpus,
  signal?: AbortSignal,
): Promise<Placement> {
  if (run.config.clusters === 0) return NOWHERE;
  const { clustering, embedder } = loadClustering(run.path, backend);
  const histogram = await domainHistogram(backend, clustering, embedder, corpus, signal);
  return {
    histogram: Array.from(histogram),
    entropy: entropy(histogram),
    cluster: histogram.reduce((best, h, c) => (h > histogram[best]! ? c : best), 0),
    coverage: coverage(histogram, genericHistogram(clustering)),
  };
}

/** All weight on expert `cluster`. */
export const onlyExpert = (run: FinishedRun, cluster: number): number[] =>
  Array.from(oneHot(run.config.clusters, cluster));

/** Whether the run is a family of models to choose from. */
export const hasExperts = (run: FinishedRun): boolean => run.config.method === 'mixture' || run.config.bank !== null;

/** The dense model of `run` for the domain whose text is `corpus`. */
export async function chooseExpert(
  backend: Backend,
  run: FinishedRun,
  corpus: Corpus,
  choice: ExpertChoice,
  signal?: AbortSignal,
): Promise<Chosen> {
  const placement = await placeDomain(backend, run, corpus, signal);
  if (!hasExperts(run)) return { values: await expertValues(backend, run, null), weights: null, ...placement };

  await using family = await openFamily(backend, run);
  if (choice === 'fitted') {
    const values = await family.fitted(placement.histogram, corpus, signal);
    return { values, weights: null, ...placement };
  }
  if (choice !== 'lowest-loss') {
    const weights =
      choice === 'histogram'
        ? placement.histogram
        : choice === 'distance'
          ? await weightsByDistance(backend, run, corpus, signal)
          : onlyExpert(run, placement.cluster!);
    return { values: await family.at(weights), weights, ...placement };
  }
  let best: { values: Map<string, Float32Array>; weights: number[]; nll: number; cluster: number } | undefined;
  for (let cluster = 0; cluster < run.config.clusters; cluster++) {
    const weights = onlyExpert(run, cluster);
    const values = await family.at(weights);
    const { nll } = await evaluateValues(backend, run, values, corpus, { signal });
    if (best === undefined || nll < best.nll) best = { values, weights, nll, cluster };
  }
  return { ...placement, values: best!.values, weights: best!.weights, cluster: best!.cluster };
}

/** The dense model of `run` for weights over its experts, which sum to 1; null for a run without experts. */
export async function expertValues(
  backend: Backend,
  run: FinishedRun,
  weights: ArrayLike<number> | null,
): Promise<ReadonlyMap<string, Float32Array>> {
  if (weights === null) return stageWeights(run, 'main', transformerParameters(run.config.model));
  await using family = await openFamily(backend, run);
  return await family.at(weights);
}

/** Perplexity of a dense model of a run. */
export async function evaluateValues(
  backend: Backend,
  run: { readonly config: Pick<RunConfig, 'model'> },
  values: ReadonlyMap<string, Float32Array>,
  corpus: Corpus,
  options: EvaluationOptions = {},
): Promise<Evaluation> {
  const { model } = run.config;
  return await withValues(backend, model, values, (parameters) =>
    evaluateCorpus(backend, model, parameters, corpus, options),
  );
}

/** Puts values on the backend for as long as `work` takes. */
export async function withValues<T>(
  backend: Backend,
  model: TransformerConfig,
  values: ReadonlyMap<string, Float32Array>,
  work: (parameters: ParameterSet) => Promise<T>,
): Promise<T> {
  const parameters = new ParameterSet(backend, transformerParameters(model), { trainable: false });
  try {
    values.forEach((v, name) => {
      parameters.write(name, v);
    });
    return await work(parameters);
  } finally {
    parameters.dispose();
  }
}

/** The dense model before any training: where a model that knows only the domain starts. */
export async function untrained(backend: Backend, model: TransformerConfig, seed: number): Promise<Chosen> {
  const parameters = new ParameterSet(backend, transformerParameters(model), { trainable: false });
  try {
    await politely(parameters.initializing(seed));
    return { values: await parameters.readAll(), weights: null, ...NOWHERE };
  } finally {
    parameters.dispose();
  }
}

/** The dense models that a run's experts span. */
export interface Family extends AsyncDisposable {
  /** The model for weights over the experts, which sum to 1. */
  at(weights: ArrayLike<number>): Promise<Map<string, Float32Array>>;
  /** The same with coefficients fitted to a text. Throws SWEETSPOT_USAGE without a bank. */
  fitted(weights: ArrayLike<number>, corpus: Corpus, signal?: AbortSignal): Promise<Map<string, Float32Array>>;
}

/** Weights over the experts by distance of the text's windows to the centroids. */
export async function weightsByDistance(
  backend: Backend,
  run: FinishedRun,
  corpus: Corpus,
  signal?: AbortSignal,
): Promise<number[]> {
  const { clustering, embedder } = loadClustering(run.path, backend);
  const { embeddings, lengths } = await embedCorpus(clustering, embedder, corpus, { signal });
  return Array.from(distanceWeights(clustering, embeddings, lengths));
}

export async function openFamily(backend: Backend, run: FinishedRun): Promise<Family> {
  const { config } = run;
  if (config.method === 'mixture') {
    const specs = transformerParameters(config.model);
    return {
      async at(weights) {
        const sum = new Map(specs.map((spec) => [spec.name, new Float64Array(spec.shape.reduce((a, b) => a * b, 1))]));
        for (let c = 0; c < weights.length; c++) {
          if (weights[c] === 0) continue;
          for (const [name, values] of stageWeights(run, expertStage(c), specs)) {
            const into = sum.get(name)!;
            for (let i = 0; i < values.length; i++) into[i]! += weights[c]! * values[i]!;
          }
        }
        return new Map(Array.from(sum, ([name, values]) => [name, Float32Array.from(values)]));
      },
      fitted() {
        throw new SweetspotError('SWEETSPOT_USAGE', {
          what: 'fitted coefficients need a bank',
          expected: 'a run of projected, soup or hypernetwork',
          found: config.method,
          fix: 'choose another --expert',
        });
      },
      async [Symbol.asyncDispose]() {},
    };
  }
  const bank = config.bank;
  if (bank === null) throw new SweetspotError('SWEETSPOT_CORRUPT', { what: `${run.path}/config.json has no bank` });
  const specs = bankParameters(config.model, bank);
  const weightsOfRun = stageWeights(run, 'main', specs);
  const parameters = new ParameterSet(backend, specs, { trainable: false });
  weightsOfRun.forEach((values, name) => {
    parameters.write(name, values);
  });
  const clustering = bank.conditioning === 'embedding' ? loadClustering(run.path, backend).clustering : undefined;
  const condition = (weights: ArrayLike<number>): Float32Array => {
    if (bank.conditioning === 'histogram') return Float32Array.from(weights);
    if (bank.conditioning === 'embedding') return meanEmbedding(clustering!, weights);
    const experts = weightsOfRun.get(EXPERTS)!;
    const m = bank.expertVector;
    const vector = new Float64Array(m);
    for (let c = 0; c < weights.length; c++)
      for (let q = 0; q < m; q++) vector[q]! += weights[c]! * experts[c * m + q]!;
    return Float32Array.from(vector);
  };
  return {
    at: (weights) => instantiate(backend, config.model, bank, parameters, condition(weights)),
    async fitted(weights, corpus, signal) {
      const start = await coefficientsOf(backend, bank, parameters, condition(weights));
      const { seed, precision, model } = config;
      const found = await fitCoefficients(backend, model, bank, parameters, start, corpus, { seed, precision, signal });
      return instantiate(backend, model, bank, parameters, found);
    },
    async [Symbol.asyncDispose]() {
      parameters.dispose();
    },
  };
}
