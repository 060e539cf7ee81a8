// Where the model of a domain starts, and generic perplexity: what differs between methods once pretraining is done.
import type { Backend } from '../backend/backend.js';
import { assignCorpus, loadClustering } from '../data/clusters.js';
import type { Corpus } from '../data/corpus.js';
import { cutWindows, type Windows } from '../data/windows.js';
import { type Evaluation, evaluateCorpus, windowLosses } from '../eval/perplexity.js';
import type { ExpertChoice } from '../methods/choices.js';
import {
  type Chosen,
  chooseExpert,
  expertValues,
  onlyExpert,
  openFamily,
  placeDomain,
  untrained,
  withValues,
} from '../methods/choose.js';
import type { FinishedRun } from '../methods/run.js';
import type { TransformerConfig } from '../models/config.js';

export interface StartContext {
  readonly backend: Backend;
  readonly model: TransformerConfig;
  /** Absent for a method that is never pretrained. */
  readonly run: FinishedRun | undefined;
  /** Training part of the domain's text. */
  readonly train: Corpus;
  /** A number is the expert of that cluster. */
  readonly choice: ExpertChoice | number;
  readonly seed: number;
  readonly signal: AbortSignal | undefined;
}

export type Start = (context: StartContext) => Promise<Chosen>;

/** The run as it is, or the experts chosen for the domain. */
export const startWithExperts: Start = async ({ backend, run, train, choice, signal }) => {
  if (typeof choice !== 'number') return await chooseExpert(backend, run!, train, choice, signal);
  const weights = onlyExpert(run!, choice);
  const placement = await placeDomain(backend, run!, train, signal);
  return { ...placement, cluster: choice, weights, values: await expertValues(backend, run!, weights) };
};

/** Random weights: the model that knows only its domain. */
export const startUntrained: Start = ({ backend, model, seed }) => untrained(backend, model, seed);

export type Generic = (backend: Backend, run: FinishedRun, text: Corpus, signal?: AbortSignal) => Promise<Evaluation>;

export const genericOfWhole: Generic = async (backend, run, text, signal) => {
  const { model } = run.config;
  const values = await expertValues(backend, run, null);
  return await withValues(backend, model, values, (weights) =>
    evaluateCorpus(backend, model, weights, text, { signal }),
  );
};

/** Every window is predicted by the expert of its own cluster, as in training. */
export const genericByCluster: Generic = async (backend, run, text, signal) => {
  const { model, clusters } = run.config;
  const { clustering, embedder } = loadClustering(run.path, backend);
  const { ids } = await assignCorpus(clustering, embedder, backend, text, { signal });
  const windows = cutWindows(text, model.contextLength);
  await using family = await openFamily(backend, run);
  let total = 0;
  for (let c = 0; c < clusters; c++) {
    const mine = windowsOf(windows, (i) => ids[i] === c);
    if (mine.count === 0) continue;
    const values = await family.at(onlyExpert(run, c));
    const losses = await withValues(backend, model, values, (weights) =>
      windowLosses(backend, model, weights, text, { windows: mine, signal }),
    );
    total += losses.reduce((sum, loss) => sum + loss, 0);
  }
  const { tokens, bytes, documents } = sizesOf(text, windows);
  const nll = total / tokens;
  const bitsPerByte = total / Math.LN2 / bytes;
  return { nll, perplexity: Math.exp(nll), bitsPerByte, tokens, bytes, documents, windows: windows.count };
};

function windowsOf(windows: Windows, keep: (window: number) => boolean): Windows {
  const kept = Array.from({ length: windows.count }, (_, i) => i).filter(keep);
  const length = Uint32Array.from(kept, (i) => windows.length[i]!);
  return {
    count: kept.length,
    contextLength: windows.contextLength,
    predictions: length.reduce((a, b) => a + b, 0),
    start: Float64Array.from(kept, (i) => windows.start[i]!),
    length,
    document: Uint32Array.from(kept, (i) => windows.document[i]!),
  };
}

function sizesOf(text: Corpus, windows: Windows) {
  let bytes = 0;
  for (let i = 0; i < text.documents; i++) bytes += text.bytes(i);
  return { tokens: windows.predictions, bytes, documents: new Set(windows.document).size };
}
