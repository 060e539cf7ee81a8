// The output ensemble of experts (c-BTM, Gururangan et al. 2023, arXiv 2303.14177): the next-token probabilities of a few experts,
// averaged,
//   p(t | context) = sum_c w_c p_c(t | context)
// with weights by distance (data/weights.ts). In the paper the context before every token weighs the experts; here the text of
// the domain does, once for all of a test text: weighing by a window's own text would let the experts see what they predict. The
// experts are those of a mixture, or the models of single clusters of a bank. An ensemble is no one dense model and costs as
// many models as it has members, so it is measured and not fine-tuned or saved.
import { type Backend, SweetspotError } from '../backend/index.js';
import { type Corpus, domainCorpus } from '../data/corpus.js';
import { cutWindows, requireWindows } from '../data/windows.js';
import {
  type Evaluation,
  type EvaluationOptions,
  evaluationOf,
  tokenLosses,
  windowsWithin,
} from '../eval/perplexity.js';
import {
  hasExperts,
  onlyExpert,
  openFamily,
  type Placement,
  placeDomain,
  weightsByDistance,
  withValues,
} from './choose.js';
import { type EvaluateOptions, type EvaluateResult, evaluateTexts } from './evaluate.js';
import { type FinishedRun, openRun } from './run.js';

/** Members at most, where nothing else is asked for. */
export const MEMBERS = 4;

export interface Ensemble extends Placement {
  /** Of every expert (K), sum 1; 0 for those that are left out. */
  readonly weights: readonly number[];
  /** Experts with a weight: how many models a token costs. */
  readonly members: number;
}

/**
 * The experts nearest to a text, and their weights.
 *
 * @param most members at most; the weights of those kept are scaled to sum 1
 * @throws SweetspotError SWEETSPOT_USAGE for a run without experts, or without members
 */
export async function chooseEnsemble(
  backend: Backend,
  run: FinishedRun,
  domain: Corpus,
  most = MEMBERS,
  signal?: AbortSignal,
): Promise<Ensemble> {
  if (!hasExperts(run)) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'an ensemble needs experts',
      expected: 'a run of mixture, projected, soup or hypernetwork',
      found: run.config.method,
    });
  }
  if (!Number.isInteger(most) || most < 1) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'the experts of an ensemble',
      expected: 'a whole number from 1 up',
      found: String(most),
    });
  }
  const placement = await placeDomain(backend, run, domain, signal);
  const all = await weightsByDistance(backend, run, domain, signal);
  const kept = new Set(
    all
      .map((_, c) => c)
      .sort((a, b) => all[b]! - all[a]!)
      .slice(0, most),
  );
  const total = all.reduce((sum, w, c) => sum + (kept.has(c) ? w : 0), 0);
  const weights = all.map((w, c) => (kept.has(c) ? w / total : 0));
  return { ...placement, weights, members: weights.filter((w) => w > 0).length };
}

/** Perplexity of the ensemble of `weights` over the experts of a run. Throws as `evaluateCorpus`. */
export async function evaluateMembers(
  backend: Backend,
  run: FinishedRun,
  weights: readonly number[],
  corpus: Corpus,
  options: EvaluationOptions = {},
): Promise<Evaluation> {
  const { model } = run.config;
  const windows = cutWindows(corpus, model.contextLength);
  const count = windowsWithin(windows, options.maxTokens);
  const members = weights.flatMap((weight, cluster) => (weight > 0 ? [{ weight, cluster }] : []));
  await using family = await openFamily(backend, run);
  /** log p of every token so far. */
  let mixed: Float64Array | undefined;
  for (const [i, { weight, cluster }] of members.entries()) {
    const values = await family.at(onlyExpert(run, cluster));
    const onProgress = (done: number, total: number) => options.onProgress?.(i * total + done, members.length * total);
    const losses = await withValues(backend, model, values, (parameters) =>
      tokenLosses(backend, model, parameters, corpus, { ...options, windows, count, onProgress }),
    );
    const before = mixed ?? new Float64Array(losses.length).fill(Number.NEGATIVE_INFINITY);
    mixed = before.map((logP, t) => logSum(logP, Math.log(weight) - losses[t]!));
  }
  return evaluationOf(corpus, windows, count, -mixed!.reduce((sum, logP) => sum + logP, 0));
}

/** log(exp a + exp b) for a finite b. */
function logSum(a: number, b: number): number {
  const [low, high] = a < b ? [a, b] : [b, a];
  return high + Math.log1p(Math.exp(low - high));
}

/** Which experts to measure together, on what. */
export interface EnsembleOptions extends Omit<EvaluateOptions, 'model'> {
  /** Run folder, from pretrain; of a method with experts. */
  readonly run: string;
  /** Text that the experts are weighed by: of the domain, and not the one measured. */
  readonly domain: string | readonly string[];
  /** Experts at most. Default 4. */
  readonly experts?: number | undefined;
}

/** Predictions of several experts, averaged with weights, on every text. */
export interface EnsembleResult extends Omit<EvaluateResult, 'model'>, Ensemble {
  /** The run folder as it was given. */
  readonly run: string;
}

/**
 * How well the experts of a run together predict text of a domain, without fine-tuning.
 *
 * @throws SweetspotError SWEETSPOT_USAGE for a run without experts; SWEETSPOT_INPUT when a text or the run is missing or too
 *   short; SWEETSPOT_ABORTED
 */
export async function evaluateEnsemble(options: EnsembleOptions): Promise<EnsembleResult> {
  const { backend, signal } = options;
  const run = openRun(options.run);
  const domain = await domainCorpus(options.domain, run.tokenizer, { signal });
  requireWindows(cutWindows(domain, run.config.model.contextLength), 'the domain');
  const ensemble = await chooseEnsemble(backend, run, domain, options.experts, signal);
  const measured = await evaluateTexts(options, run.tokenizer, (corpus, more) =>
    evaluateMembers(backend, run, ensemble.weights, corpus, more),
  );
  return { run: options.run, ...ensemble, ...measured };
}
