// Which model a run is for a domain (PAPER, "Choosing the expert"). A run with experts gives a family of dense models, one a
// vector of weights over its K clusters; a choice is such a vector.
//   frequent      the expert of the domain's most frequent cluster
//   lowest-loss   the expert with the lowest loss on the domain's text, before fine-tuning
//   histogram     all experts, weighted by the domain's histogram over clusters
//   distance      all experts, weighted by the distance of the domain's windows to the centroids (c-BTM)
//   fitted        the same, then the coefficients of the bank alone trained for a few steps on the domain's text
// For a projected network the weights mix expert vectors (e = sum_i h_i E_i), for a soup of experts they are the histogram its
// MLP takes, for a hyper-network they average embeddings, for a mixture the weights of the experts.
import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import { type Clustering, coverage, embedCorpus, entropy, genericHistogram, loadClustering } from '../data/clusters.js';
import type { Corpus } from '../data/corpus.js';
import { distanceWeights } from '../data/weights.js';
import { type Evaluation, evaluateCorpus } from '../eval/perplexity.js';
import { bankParameters, coefficientsOf, EXPERTS, instantiate } from '../models/bank.js';
import { transformerParameters } from '../models/transformer.js';
import { ParameterSet } from '../nn/parameters.js';
import { fitCoefficients } from '../train/fit.js';
import { domainHistogram, oneHot, stageWeights } from './context.js';
import { meanEmbedding } from './hypernetwork.js';
import { expertStage } from './mixture.js';
import type { FinishedRun } from './run.js';

export type ExpertChoice = 'frequent' | 'lowest-loss' | 'histogram' | 'distance' | 'fitted';
export const EXPERT_CHOICES: readonly ExpertChoice[] = ['frequent', 'lowest-loss', 'histogram', 'distance', 'fitted'];

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
}

/** The dense model of `run` for the domain whose text is `corpus`. */
export async function chooseExpert(
  backend: Backend,
  run: FinishedRun,
  corpus: Corpus,
  choice: ExpertChoice,
): Promise<Chosen> {
  const { config } = run;
  const specs = transformerParameters(config.model);
  if (config.clusters === 0)
    return { values: stageWeights(run, 'main', specs), histogram: [], entropy: 0, cluster: null, coverage: null };
  const { clustering, embedder } = loadClustering(run.path, backend);
  const histogram = await domainHistogram(backend, clustering, embedder, corpus);
  const frequent = histogram.reduce((best, h, c) => (h > histogram[best]! ? c : best), 0);
  const placement = {
    histogram: Array.from(histogram),
    entropy: entropy(histogram),
    cluster: frequent,
    coverage: coverage(histogram, genericHistogram(clustering)),
  };
  if (config.method === 'importance') return { values: stageWeights(run, 'main', specs), ...placement };

  await using family = await openFamily(backend, run, clustering);
  const only = (c: number) => Float64Array.from(oneHot(config.clusters, c));
  if (choice === 'histogram') return { values: await family.at(histogram), ...placement };
  if (choice === 'distance') {
    const { embeddings, lengths } = await embedCorpus(clustering, embedder, corpus);
    return { values: await family.at(distanceWeights(clustering, embeddings, lengths)), ...placement };
  }
  if (choice === 'fitted') return { values: await family.fitted(histogram, corpus), ...placement };
  if (choice === 'frequent') return { values: await family.at(only(frequent)), ...placement };
  let best: { values: Map<string, Float32Array>; nll: number; cluster: number } | undefined;
  for (let c = 0; c < config.clusters; c++) {
    const values = await family.at(only(c));
    const { nll } = await evaluateValues(backend, run, values, corpus);
    if (best === undefined || nll < best.nll) best = { values, nll, cluster: c };
  }
  return { ...placement, values: best!.values, cluster: best!.cluster };
}

/** Perplexity of one dense model of a run. */
export async function evaluateValues(
  backend: Backend,
  run: FinishedRun,
  values: ReadonlyMap<string, Float32Array>,
  corpus: Corpus,
): Promise<Evaluation> {
  const parameters = new ParameterSet(backend, transformerParameters(run.config.model), { trainable: false });
  try {
    values.forEach((v, name) => {
      parameters.write(name, v);
    });
    return await evaluateCorpus(backend, run.config.model, parameters, corpus);
  } finally {
    parameters.dispose();
  }
}

/** The dense model of a run's sizes before any training: where a model that knows only the domain starts. */
export async function untrained(backend: Backend, run: FinishedRun, seed: number): Promise<Chosen> {
  const parameters = new ParameterSet(backend, transformerParameters(run.config.model), { trainable: false });
  try {
    parameters.initialize(seed);
    return { values: await parameters.readAll(), histogram: [], entropy: 0, cluster: null, coverage: null };
  } finally {
    parameters.dispose();
  }
}

/** The dense models that a run's experts span. */
interface Family extends AsyncDisposable {
  /** The model for weights over the experts, which sum to 1. */
  at(weights: Float64Array): Promise<Map<string, Float32Array>>;
  /** The same with coefficients fitted to a text. Throws SWEETSPOT_USAGE without a bank. */
  fitted(weights: Float64Array, corpus: Corpus): Promise<Map<string, Float32Array>>;
}

async function openFamily(backend: Backend, run: FinishedRun, clustering: Clustering): Promise<Family> {
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
  const condition = (weights: Float64Array): Float32Array => {
    if (bank.conditioning === 'histogram') return Float32Array.from(weights);
    if (bank.conditioning === 'embedding') return meanEmbedding(clustering, weights);
    const experts = weightsOfRun.get(EXPERTS)!;
    const m = bank.expertVector;
    const vector = new Float64Array(m);
    for (let c = 0; c < weights.length; c++)
      for (let q = 0; q < m; q++) vector[q]! += weights[c]! * experts[c * m + q]!;
    return Float32Array.from(vector);
  };
  return {
    at: (weights) => instantiate(backend, config.model, bank, parameters, condition(weights)),
    async fitted(weights, corpus) {
      const start = await coefficientsOf(backend, bank, parameters, condition(weights));
      const { seed, precision, model } = config;
      const found = await fitCoefficients(backend, model, bank, parameters, start, corpus, { seed, precision });
      return instantiate(backend, model, bank, parameters, found);
    },
    async [Symbol.asyncDispose]() {
      parameters.dispose();
    },
  };
}
