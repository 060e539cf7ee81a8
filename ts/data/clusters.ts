// Clusters of a corpus: its windows embedded and grouped by k-means (PAPER, "Clustering"), kept in the corpus folder as
// `clusters.<k>.safetensors`, and what a domain looks like through them: histograms and what is told from these.
// `Clusters` knows the cluster of every window; a `Clustering` is what is needed to sort NEW text and goes into run and
// model folders. Both remember tokenizer and embedder by hash, and refuse others.
// To add a figure about histograms: a function at the end of this file that says its formula.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import { FolderLock } from '../io/lock.js';
import { readSafetensors, type SafetensorsTensor, writeSafetensors } from '../io/safetensors.js';
import { f16ToF32, f32ToF16 } from '../tensor/float16.js';
import { hashSeed, Prng } from '../tensor/prng.js';
import { Corpus } from './corpus.js';
import { type Embedder, loadEmbedder, savedEmbedderHash } from './embedder.js';
import { assign, kmeans, sampleIndices } from './kmeans.js';
import { fitLsi, LsiEmbedder } from './lsi.js';
import { Pace } from './readers.js';
import { cutWindows, type Windows } from './windows.js';

/** Windows handed to an embedder at a time. */
const EMBED_WINDOWS = 2048;
/** Windows an embedder is fitted to, and windows that the terms of clusters are taken from, at most. */
const FIT_WINDOWS = 100_000;
const TERM_WINDOWS = 20_000;
const TERMS_SHOWN = 8;

/** What sorts new text: centroids, and how the corpus they came from spreads over them. */
export interface Clustering {
  /** k. */
  readonly count: number;
  /** D: length of an embedding. */
  readonly dimensions: number;
  /** T: texts to be sorted should be cut in windows of this many tokens, as the corpus was. */
  readonly contextLength: number;
  /** (count, dimensions) */
  readonly centroids: Float32Array;
  /** (count): windows of the corpus in each cluster, never 0. */
  readonly windowsPerCluster: Float64Array;
  /** (count): tokens of these windows, one per prediction. */
  readonly tokensPerCluster: Float64Array;
  /** Of the tokenizer of the corpus. */
  readonly tokenizerHash: string;
  /** Of the embedder that made the embeddings. */
  readonly embedderHash: string;
  /** 'lsi' or 'external'. */
  readonly embedderKind: string;
}

/** A `Clustering` together with the cluster of every window of its corpus. */
export interface Clusters extends Clustering {
  /** (windows of `cutWindows(corpus, contextLength)`) */
  readonly ids: Int32Array;
}

/** How far clustering is. */
export interface ClusterProgress {
  /** `fit` and `embed` count texts, `svd` passes over the matrix, `kmeans` rounds. */
  readonly stage: 'fit' | 'svd' | 'embed' | 'kmeans';
  /** Texts, passes or rounds done. */
  readonly done: number;
  /** Texts, passes or rounds in all. */
  readonly total: number;
}

/** How to cluster a corpus. */
export interface ClusterOptions {
  /** k: 16 or 32 for experts, 1024 for importance sampling on a large corpus (PAPER, "Clustering"). */
  readonly clusters: number;
  /** T, default 256: use the context length of the models to be trained. */
  readonly contextLength?: number | undefined;
  /** Of a new embedder. Default 64. */
  readonly dimensions?: number | undefined;
  /** Default 0. */
  readonly seed?: number | string | undefined;
  /** Of k-means. Default 20. */
  readonly rounds?: number | undefined;
  /** Default: the one saved in the corpus folder, or else LSI, fitted to the corpus and saved there. */
  readonly embedder?: Embedder | undefined;
  /** Ends the work with SWEETSPOT_ABORTED; nothing is left behind. */
  readonly signal?: AbortSignal | undefined;
  /** Called several times a second. */
  readonly onProgress?: ((progress: ClusterProgress) => void) | undefined;
}

/** What was done, as plain JSON. */
export interface ClusterSummary {
  /** The file. */
  readonly path: string;
  /** k. */
  readonly clusters: number;
  /** T: tokens of a window. */
  readonly contextLength: number;
  /** 'lsi' or 'external'. */
  readonly embedder: string;
  /** D: length of an embedding. */
  readonly dimensions: number;
  /** Windows of the corpus. */
  readonly windows: number;
  /** Windows of each cluster. */
  readonly sizes: number[];
  /** Of the generic histogram, in nats; log(clusters) when all clusters hold as many tokens. */
  readonly entropy: number;
  /** Sum of squared distances of the embeddings to their centroids. */
  readonly inertia: number;
  /** Rounds of k-means. */
  readonly rounds: number;
  /** Time it took. */
  readonly seconds: number;
  /** The most characteristic terms of each cluster, best first; empty for an external embedder. See `clusterTerms`. */
  readonly terms: string[][];
}

/**
 * Clusters the windows of a corpus folder and writes `clusters.<k>.safetensors` there. The embedder and the embeddings
 * are kept in the folder, so that another k costs only k-means.
 *
 * @throws SweetspotError SWEETSPOT_EXISTS when there are k clusters already; SWEETSPOT_MISMATCH when `dimensions` is not
 *   that of the saved embedder; SWEETSPOT_INPUT when the corpus has fewer windows than clusters or no terms;
 *   SWEETSPOT_LOCKED when the folder is being clustered; SWEETSPOT_ABORTED; as `Corpus.open`
 */
export async function clusterCorpus(
  backend: Backend,
  corpusFolder: string,
  options: ClusterOptions,
): Promise<ClusterSummary> {
  const began = performance.now();
  const { clusters, contextLength = 256, seed = 0, rounds, signal, onProgress } = options;
  const path = clustersPath(corpusFolder, clusters);
  using corpus = Corpus.open(corpusFolder);
  if (existsSync(path)) {
    throw new SweetspotError('SWEETSPOT_EXISTS', {
      what: `${path} exists already`,
      fix: 'use it, or delete it to cluster again',
    });
  }
  using _lock = FolderLock.acquire(corpusFolder);
  const windows = cutWindows(corpus, contextLength);
  if (windows.count < clusters) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `the corpus ${corpusFolder} is too short for ${clusters} clusters`,
      expected: `at least ${clusters} windows of ${contextLength} tokens`,
      found: String(windows.count),
      fix: 'ask for fewer clusters, or give more text',
    });
  }
  const embedder = options.embedder ?? (await corpusEmbedder(backend, corpusFolder, corpus, windows, options));
  const embeddings = await corpusEmbeddings(corpusFolder, embedder, corpus, windows, options);
  const result = await kmeans(backend, embeddings, {
    rows: windows.count,
    cols: embedder.dimensions,
    clusters,
    rounds,
    seed,
    signal,
    onProgress: ({ stage, done, total }) => stage === 'round' && onProgress?.({ stage: 'kmeans', done, total }),
  });
  const found: Clusters = {
    count: clusters,
    dimensions: embedder.dimensions,
    contextLength,
    centroids: result.centroids,
    windowsPerCluster: result.counts,
    tokensPerCluster: massOf(result.ids, clusters, windows.length),
    tokenizerHash: corpus.tokenizerHash,
    embedderHash: embedder.hash,
    embedderKind: embedder.kind,
    ids: result.ids,
  };
  const terms = await clusterTerms(found, embedder, corpus, windows, signal);
  writeClustering(path, found, { ids: tensor(found.ids, [windows.count]) });
  return {
    path,
    clusters,
    contextLength,
    embedder: embedder.kind,
    dimensions: embedder.dimensions,
    windows: windows.count,
    sizes: [...found.windowsPerCluster],
    entropy: entropy(genericHistogram(found)),
    inertia: result.inertia,
    rounds: result.rounds,
    seconds: (performance.now() - began) / 1000,
    terms,
  };
}

/**
 * The k clusters of a corpus folder, checked against what else is there.
 * @throws SweetspotError SWEETSPOT_INPUT when there are none; SWEETSPOT_MISMATCH when they were made with another
 *   tokenizer, embedder or corpus; SWEETSPOT_CORRUPT when the file is damaged; as `Corpus.open`
 */
export function loadClusters(corpusFolder: string, k: number): Clusters {
  const path = clustersPath(corpusFolder, k);
  if (!existsSync(path)) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `the corpus ${corpusFolder} has not been clustered into ${k}`,
      expected: path,
      fix: 'cluster it first',
    });
  }
  const { parts, tensors } = readClustering(path);
  const fix = 'delete the clusters and cluster again';
  using corpus = Corpus.open(corpusFolder);
  requireSame(path, 'tokenizer', parts.tokenizerHash, corpus.tokenizerHash, fix);
  const saved = savedEmbedderHash(corpusFolder);
  if (parts.embedderKind !== 'external' && saved !== undefined) {
    requireSame(path, 'embedder', parts.embedderHash, saved, fix);
  }
  const windows = cutWindows(corpus, parts.contextLength).count;
  const data = tensors.get('ids');
  if (data?.dtype !== 'I32' || data.shape.length !== 1 || parts.count !== k) {
    throw corrupt(path, `${k} clusters and ids I32[windows]`, `${parts.count} clusters, ids ${data?.dtype}`);
  }
  const ids = new Int32Array(data.data.buffer);
  requireSame(path, 'corpus', `${ids.length} windows`, `${windows} windows`, fix);
  if (!ids.every((id) => id >= 0 && id < k)) throw corrupt(path, `ids from 0 to ${k - 1}`, 'others');
  return { ...parts, ids };
}

/**
 * Copies into a folder that exists what is needed to sort new text: `clustering.safetensors` and the embedder. Of an
 * external embedder only the hash is kept: `loadClustering` must be given it again.
 * @throws SweetspotError SWEETSPOT_MISMATCH when the clusters were made with another embedder; SWEETSPOT_IO
 */
export function saveClustering(folder: string, clustering: Clustering, embedder: Embedder): void {
  requireEmbedder(clustering, embedder);
  if (embedder.kind !== 'external') embedder.save(folder);
  writeClustering(join(folder, 'clustering.safetensors'), clustering);
}

/**
 * Loads what `saveClustering` wrote.
 * @param options.embedder the external embedder the clusters were made with, when it was one
 * @throws SweetspotError SWEETSPOT_INPUT when there is none or its external embedder is not given; SWEETSPOT_MISMATCH
 *   when the embedder is another one; SWEETSPOT_CORRUPT when a file is damaged; SWEETSPOT_IO
 */
export function loadClustering(
  folder: string,
  backend: Backend,
  options: { readonly embedder?: Embedder | undefined } = {},
): { clustering: Clustering; embedder: Embedder } {
  const path = join(folder, 'clustering.safetensors');
  const clustering = readClustering(path).parts;
  if (clustering.embedderKind === 'external' && options.embedder === undefined) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `${path} was made with an embedder of the caller's own`,
      fix: 'pass the same embedder as an option',
    });
  }
  const embedder = options.embedder ?? loadEmbedder(folder, backend);
  requireEmbedder(clustering, embedder);
  return { clustering, embedder };
}

/**
 * The cluster of each text, as (texts). Texts longer than a window of the corpus should be cut first: see `assignCorpus`.
 * A text without known terms goes to the centroid nearest to zero.
 * @throws SweetspotError SWEETSPOT_MISMATCH when the clusters were made with another embedder; SWEETSPOT_ABORTED
 */
export async function assignTexts(
  clustering: Clustering,
  embedder: Embedder,
  backend: Backend,
  texts: readonly string[],
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Int32Array> {
  requireEmbedder(clustering, embedder);
  const { centroids, count } = clustering;
  const x = await embedder.embed(texts);
  return (await assign(backend, x, texts.length, embedder.dimensions, centroids, count, options)).ids;
}

/**
 * The cluster of each window of another corpus, such as the text of a domain, and the tokens of the windows, for
 * `histogram(ids, k, lengths)`.
 * @throws SweetspotError as `assignTexts`
 */
export async function assignCorpus(
  clustering: Clustering,
  embedder: Embedder,
  backend: Backend,
  corpus: Corpus,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<{ ids: Int32Array; lengths: Windows['length'] }> {
  const windows = cutWindows(corpus, clustering.contextLength);
  const ids = new Int32Array(windows.count);
  const pace = new Pace(options.signal);
  for (let begin = 0; begin < windows.count; begin += EMBED_WINDOWS) {
    const texts = await windowTexts(corpus, windows, begin, pace);
    ids.set(await assignTexts(clustering, embedder, backend, texts, options), begin);
  }
  return { ids, lengths: windows.length };
}

/** Embeddings (windows, dimensions) of a text cut as the clustering's corpus was, and the lengths of its windows. */
export async function embedCorpus(
  clustering: Clustering,
  embedder: Embedder,
  corpus: Corpus,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<{ embeddings: Float32Array; lengths: Windows['length'] }> {
  requireEmbedder(clustering, embedder);
  const windows = cutWindows(corpus, clustering.contextLength);
  const embeddings = new Float32Array(windows.count * embedder.dimensions);
  const pace = new Pace(options.signal);
  for (let begin = 0; begin < windows.count; begin += EMBED_WINDOWS) {
    const texts = await windowTexts(corpus, windows, begin, pace);
    embeddings.set(await embedder.embed(texts), begin * embedder.dimensions);
  }
  return { embeddings, lengths: windows.length };
}

/**
 * Share of each of k clusters, as (k), sum 1: of the ids, or of their weights where given.
 * @throws SweetspotError SWEETSPOT_INPUT when there is nothing to count; SWEETSPOT_USAGE when an id is not below k
 */
export function histogram(ids: ArrayLike<number>, k: number, weights?: ArrayLike<number>): Float64Array {
  const mass = massOf(ids, k, weights);
  if (!mass.some((value) => value > 0)) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: 'cannot make a histogram of nothing',
      expected: 'at least one window of text',
      fix: 'give more text',
    });
  }
  return normalized(mass);
}

/** Share of the tokens of the corpus in each cluster, as (k), sum 1. */
export function genericHistogram(clustering: Clustering): Float64Array {
  return normalized(clustering.tokensPerCluster);
}

/** -sum_c h_c log h_c, in nats: 0 when all mass is in one cluster, log k when it is spread evenly. */
export function entropy(h: ArrayLike<number>): number {
  let total = 0;
  for (let c = 0; c < h.length; c++) if (h[c]! > 0) total -= h[c]! * Math.log(h[c]!);
  return total;
}

/**
 * How often the text of each cluster is seen when D tokens are drawn by the histogram h: D h_c / tokens(c) (PAPER,
 * "SLM-is"). Above 4, consider to shrink h towards the generic histogram. Infinity where h asks for a cluster without text.
 */
export function effectiveRepeats(
  h: ArrayLike<number>,
  tokensPerCluster: ArrayLike<number>,
  totalTokens: number,
): Float64Array {
  return Float64Array.from(h, (share, c) => (share === 0 ? 0 : (totalTokens * share) / tokensPerCluster[c]!));
}

/**
 * How well generic text covers a domain: sum_c h_c min(1, k g_c), with h the histogram of the domain and g the generic
 * one. 1 when every cluster that the domain uses holds an average share (1 / k) of generic text or more, near 0 when the
 * domain lives where there is hardly any.
 */
export function coverage(h: ArrayLike<number>, generic: ArrayLike<number>): number {
  let total = 0;
  for (let c = 0; c < h.length; c++) total += h[c]! * Math.min(1, h.length * generic[c]!);
  return total;
}

/** The saved embedder of the corpus folder, or a new one, fitted to (a sample of) its windows and saved. */
async function corpusEmbedder(
  backend: Backend,
  folder: string,
  corpus: Corpus,
  windows: Windows,
  { dimensions, seed = 0, signal, onProgress }: ClusterOptions,
): Promise<Embedder> {
  if (savedEmbedderHash(folder) !== undefined) {
    const saved = loadEmbedder(folder, backend);
    const fix = 'leave dimensions out, or delete embedder.json and the clusters made with it';
    if (dimensions !== undefined)
      requireSame('the saved embedder', 'number of dimensions', saved.dimensions, dimensions, fix);
    return saved;
  }
  const sample = sampleIndices(windows.count, FIT_WINDOWS, new Prng(hashSeed(seed, 'fit windows')));
  function* texts() {
    for (const [done, window] of sample.entries()) {
      if (done % EMBED_WINDOWS === 0) onProgress?.({ stage: 'fit', done, total: sample.length });
      yield windowText(corpus, windows, window);
    }
  }
  const embedder = await fitLsi(backend, texts(), {
    dimensions,
    seed,
    signal,
    onProgress: ({ stage, done, total = done }) => stage === 'svd' && onProgress?.({ stage, done, total }),
  });
  embedder.save(folder);
  return embedder;
}

/**
 * (windows, dimensions), from `embeddings.safetensors` when it holds just these, or computed and saved there. They pass
 * through half precision either way, so that clusters do not depend on which it was.
 */
async function corpusEmbeddings(
  folder: string,
  embedder: Embedder,
  corpus: Corpus,
  windows: Windows,
  { signal, onProgress }: ClusterOptions,
): Promise<Float32Array> {
  const path = join(folder, 'embeddings.safetensors');
  const shape = [windows.count, embedder.dimensions];
  const metadata = {
    contextLength: String(windows.contextLength),
    tokenizerHash: corpus.tokenizerHash,
    embedderHash: embedder.hash,
  };
  const kept = readCache(path, metadata, shape);
  if (kept !== undefined) return f16ToF32(kept);

  const bits = new Uint16Array(windows.count * embedder.dimensions);
  const pace = new Pace(signal);
  for (let begin = 0; begin < windows.count; begin += EMBED_WINDOWS) {
    const texts = await windowTexts(corpus, windows, begin, pace);
    bits.set(f32ToF16(await embedder.embed(texts)), begin * embedder.dimensions);
    onProgress?.({ stage: 'embed', done: begin + texts.length, total: windows.count });
  }
  writeSafetensors(path, { embeddings: tensor(bits, shape) }, metadata, { checksum: true });
  return f16ToF32(bits);
}

/** A cache of something else, or a damaged one, is no cache: it is made again. */
function readCache(path: string, metadata: Record<string, string>, shape: number[]): Uint16Array | undefined {
  if (!existsSync(path)) return undefined;
  try {
    const file = readSafetensors(path);
    const { dtype, shape: stored, data } = file.tensors.get('embeddings')!;
    const same = Object.entries(metadata).every(([key, value]) => file.metadata[key] === value);
    if (!same || dtype !== 'F16' || stored.join() !== shape.join()) return undefined;
    return new Uint16Array(data.buffer);
  } catch (error) {
    if (error instanceof TypeError || (error as SweetspotError).code === 'SWEETSPOT_CORRUPT') return undefined;
    throw error;
  }
}

/**
 * The most characteristic terms of clusters that exist, as `clusterCorpus` gives them in its summary.
 * @throws SweetspotError as `Corpus.open` and `loadEmbedder`; SWEETSPOT_ABORTED
 */
export async function clusterTermsOf(
  backend: Backend,
  corpusFolder: string,
  clusters: Clusters,
  signal?: AbortSignal,
): Promise<string[][]> {
  if (clusters.embedderKind === 'external') return [];
  using corpus = Corpus.open(corpusFolder);
  const windows = cutWindows(corpus, clusters.contextLength);
  return await clusterTerms(clusters, loadEmbedder(corpusFolder, backend), corpus, windows, signal);
}

/** The tokens a window predicts, as text: every token but the marker is in exactly one window. */
function windowText(corpus: Corpus, windows: Windows, window: number): string {
  const tokens = new Int32Array(windows.length[window]!);
  corpus.read(windows.start[window]! + 1, tokens.length, tokens, 0);
  return corpus.tokenizer().decode(tokens);
}

async function windowTexts(corpus: Corpus, windows: Windows, begin: number, pace: Pace): Promise<string[]> {
  const texts: string[] = [];
  for (let window = begin; window < Math.min(begin + EMBED_WINDOWS, windows.count); window++) {
    texts.push(windowText(corpus, windows, window));
    await pace.breathe();
  }
  return texts;
}

/**
 * The terms t with the largest m_c(t) log(m_c(t) / m(t)), where m_c and m are the means of the tf-idf weight over the
 * windows of cluster c and of the corpus (or a sample of 20,000 windows): frequent in the cluster, and rarer elsewhere.
 */
async function clusterTerms(
  { count, ids }: Clusters,
  embedder: Embedder,
  corpus: Corpus,
  windows: Windows,
  signal: AbortSignal | undefined,
): Promise<string[][]> {
  if (!(embedder instanceof LsiEmbedder)) return [];
  const { terms } = embedder;
  const sample = sampleIndices(windows.count, TERM_WINDOWS, new Prng(hashSeed('terms')));
  const sums = Array.from({ length: count }, () => new Map<number, number>());
  const sizes = new Float64Array(count);
  const all = new Float64Array(terms.length);
  const pace = new Pace(signal);
  for (const window of sample) {
    const row = embedder.tfidf(windowText(corpus, windows, window));
    const cluster = sums[ids[window]!]!;
    sizes[ids[window]!]!++;
    for (const [i, term] of row.ids.entries()) {
      cluster.set(term, (cluster.get(term) ?? 0) + row.weights[i]!);
      all[term]! += row.weights[i]!;
    }
    await pace.breathe();
  }
  return sums.map((cluster, c) =>
    [...cluster]
      .map(([term, weight]) => {
        const mean = weight / sizes[c]!;
        return { term, score: mean * Math.log((mean * sample.length) / all[term]!) };
      })
      .sort((a, b) => b.score - a.score || a.term - b.term)
      .slice(0, TERMS_SHOWN)
      .map(({ term }) => terms[term]!),
  );
}

function writeClustering(path: string, clustering: Clustering, more: Record<string, SafetensorsTensor> = {}): void {
  const { count, dimensions, centroids, windowsPerCluster, tokensPerCluster } = clustering;
  const tensors = {
    centroids: tensor(centroids, [count, dimensions]),
    windows: tensor(windowsPerCluster, [count]),
    tokens: tensor(tokensPerCluster, [count]),
    ...more,
  };
  const metadata = {
    format: 'sweetspot-clusters',
    version: '1',
    contextLength: String(clustering.contextLength),
    tokenizerHash: clustering.tokenizerHash,
    embedderHash: clustering.embedderHash,
    embedderKind: clustering.embedderKind,
  };
  writeSafetensors(path, tensors, metadata, { checksum: true });
}

function readClustering(path: string): { parts: Clustering; tensors: Map<string, SafetensorsTensor> } {
  const { tensors, metadata } = readSafetensors(path);
  const { format, version, tokenizerHash, embedderHash, embedderKind } = metadata;
  const contextLength = Number(metadata['contextLength']);
  if (
    format !== 'sweetspot-clusters' ||
    version !== '1' ||
    !(Number.isInteger(contextLength) && contextLength > 0) ||
    tokenizerHash === undefined ||
    embedderHash === undefined ||
    embedderKind === undefined
  ) {
    throw corrupt(path, 'clusters of version 1', JSON.stringify(metadata).slice(0, 200));
  }
  const [count = 0, dimensions = 0] = tensors.get('centroids')?.shape ?? [];
  const take = (name: string, dtype: string, ...shape: number[]): ArrayBufferLike => {
    const found = tensors.get(name);
    if (found?.dtype !== dtype || found.shape.join() !== shape.join() || count < 1) {
      throw corrupt(path, `${name} ${dtype}[${shape}]`, `${found?.dtype}[${found?.shape}]`);
    }
    return found.data.buffer;
  };
  const parts = {
    count,
    dimensions,
    contextLength,
    centroids: new Float32Array(take('centroids', 'F32', count, dimensions)),
    windowsPerCluster: new Float64Array(take('windows', 'F64', count)),
    tokensPerCluster: new Float64Array(take('tokens', 'F64', count)),
    tokenizerHash,
    embedderHash,
    embedderKind,
  };
  return { parts, tensors };
}

function tensor(values: Float32Array | Float64Array | Int32Array | Uint16Array, shape: number[]): SafetensorsTensor {
  const names = { Float32Array: 'F32', Float64Array: 'F64', Int32Array: 'I32', Uint16Array: 'F16' } as const;
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { dtype: names[values[Symbol.toStringTag]], shape, data };
}

function clustersPath(folder: string, k: number): string {
  if (!Number.isInteger(k) || k < 1) {
    const found = String(k);
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'the number of clusters',
      expected: 'a whole number above 0',
      found,
    });
  }
  return join(folder, `clusters.${k}.safetensors`);
}

function massOf(ids: ArrayLike<number>, k: number, weights?: ArrayLike<number>): Float64Array {
  const mass = new Float64Array(k);
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (!(id >= 0 && id < k)) {
      const expected = `clusters from 0 to ${k - 1}`;
      throw new SweetspotError('SWEETSPOT_USAGE', { what: 'cannot make a histogram', expected, found: String(id) });
    }
    mass[id]! += weights === undefined ? 1 : weights[i]!;
  }
  return mass;
}

function normalized(mass: Float64Array): Float64Array {
  const total = mass.reduce((sum, value) => sum + value, 0);
  return mass.map((value) => value / total);
}

function requireEmbedder(clustering: Clustering, embedder: Embedder): void {
  const fix = 'use the embedder that is saved beside the clusters';
  requireSame('the clustering', 'embedder', clustering.embedderHash, embedder.hash, fix);
}

function requireSame(where: string, what: string, expected: unknown, found: unknown, fix: string): void {
  if (expected === found) return;
  throw new SweetspotError('SWEETSPOT_MISMATCH', {
    what: `${where} was made with another ${what}`,
    expected: String(expected),
    found: String(found),
    fix,
  });
}

function corrupt(path: string, expected: string, found: string): SweetspotError {
  const fix = 'delete it and cluster again';
  return new SweetspotError('SWEETSPOT_CORRUPT', { what: `${path} is damaged`, expected, found, fix });
}
