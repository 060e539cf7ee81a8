// Everything before the first pretraining: the corpus, its clusterings, maps of them, and the checks that need tokens.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Backend, SweetspotError } from '../backend/index.js';
import { clusterCorpus, clusterTermsOf, genericHistogram, loadClusters } from '../data/clusters.js';
import { buildCorpus, Corpus } from '../data/corpus.js';
import { writeFileAtomic } from '../io/atomic.js';
import { FolderLock } from '../io/lock.js';
import { readJson } from '../methods/run.js';
import type { OnProgress } from '../train/progress.js';
import { checkAgainstCorpus, clusterCounts } from './check.js';
import { type Experiment, VOCABULARY } from './experiment.js';
import { fingerprint, shortHash } from './hash.js';
import { principalPlane } from './pca.js';
import { allOf } from './read.js';
import type { ClusterMap } from './results.js';

export interface CorpusPlace {
  readonly folder: string;
  /** Equal for corpora of the same text, tokenizer and context. */
  readonly identity: string;
  /** Of a corpus that exists. */
  readonly vocabSize?: number;
}

/** Where the corpus of an experiment is, or will be once it is built. Throws SWEETSPOT_INPUT, _IO when its text cannot be read. */
export function corpusPlace(experiment: Experiment, out: string): CorpusPlace {
  const { folder, input, vocabulary = VOCABULARY, trainBytes, context } = experiment.corpus;
  const made = input === undefined ? undefined : { text: fingerprint(input), vocabulary, trainBytes };
  const place = folder ?? path.join(out, `corpus-${shortHash(made)}`);
  const manifest = path.join(place, 'manifest.json');
  // The manifest of a folder that was given names its tokenizer and the sizes of all its text.
  const identity = shortHash([made ?? createHash('sha256').update(readFileSync(manifest)).digest('hex'), context]);
  const { vocabSize } = existsSync(manifest) ? (readJson(manifest) as { vocabSize: number }) : {};
  return { folder: place, identity, ...(vocabSize === undefined ? {} : { vocabSize }) };
}

/**
 * Builds and clusters what is missing and gives a map of every clustering. A second process waits until the first is done.
 * @throws SweetspotError as `buildCorpus` and `clusterCorpus`; SWEETSPOT_INPUT listing text that is too short; SWEETSPOT_ABORTED
 */
export async function prepare(
  backend: Backend,
  experiment: Experiment,
  out: string,
  corpus: string,
  options: { onProgress?: OnProgress | undefined; signal?: AbortSignal | undefined },
): Promise<ClusterMap[]> {
  const { onProgress, signal } = options;
  const { input, vocabulary = VOCABULARY, trainBytes, context } = experiment.corpus;
  const folder = path.join(out, 'work', 'prepare');
  mkdirSync(folder, { recursive: true });
  using _lock = await waitForLock(folder, signal);
  if (!existsSync(corpus)) {
    await buildCorpus({
      input: input!,
      out: corpus,
      vocabSize: vocabulary,
      trainBytes,
      signal,
      onProgress: ({ done, total = 0 }) => onProgress?.({ stage: 'build the corpus', done, total, unit: 'bytes' }),
    });
  }
  const problems = await checkAgainstCorpus(experiment, corpus, signal);
  if (problems.length > 0) throw allOf(experiment.name, problems);
  const maps: ClusterMap[] = [];
  for (const clusters of clusterCounts(experiment)) {
    if (!existsSync(path.join(corpus, `clusters.${clusters}.safetensors`))) {
      await clusterCorpus(backend, corpus, {
        clusters,
        contextLength: context,
        signal,
        onProgress: ({ stage, done, total }) =>
          onProgress?.({ stage: `${clusters} clusters: ${stage}`, done, total, unit: 'steps' }),
      });
    }
    const file = path.join(out, 'maps', `${shortHash([corpusIdentity(corpus), context, clusters])}.json`);
    if (!existsSync(file)) {
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileAtomic(file, `${JSON.stringify(await clusterMap(backend, corpus, clusters, signal))}\n`);
    }
    maps.push(readJson(file) as ClusterMap);
  }
  return maps;
}

const corpusIdentity = (folder: string): string => readFileSync(path.join(folder, 'manifest.json'), 'utf8');

async function clusterMap(
  backend: Backend,
  corpus: string,
  k: number,
  signal: AbortSignal | undefined,
): Promise<ClusterMap> {
  const clusters = loadClusters(corpus, k);
  const shares = genericHistogram(clusters);
  const { x, y, explained } = principalPlane(clusters.centroids, k, clusters.dimensions, shares);
  const terms = await clusterTermsOf(backend, corpus, clusters, signal);
  return { clusters: k, shares: [...shares], x, y, explained: [...explained], terms };
}

/** The lock of a folder, as soon as nobody else holds it. */
async function waitForLock(folder: string, signal: AbortSignal | undefined): Promise<FolderLock> {
  for (;;) {
    try {
      return FolderLock.acquire(folder);
    } catch (error) {
      if ((error as SweetspotError).code !== 'SWEETSPOT_LOCKED') throw error;
    }
    if (signal?.aborted)
      throw new SweetspotError('SWEETSPOT_ABORTED', { what: 'interrupted while another process prepares' });
    await sleep(200);
  }
}

/** Sizes of the corpus, for results. */
export function corpusFacts(folder: string): { documents: number; tokens: number; vocabSize: number } {
  using corpus = Corpus.open(folder);
  return { documents: corpus.documents, tokens: corpus.tokens, vocabSize: corpus.tokenizer().vocabSize };
}
