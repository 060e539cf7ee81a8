// Clusters of small corpora about three invented topics: the topics must come out, files must come back, and nothing that
// belongs to another corpus, tokenizer or embedder may be taken.

import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { listIsas, openBackend } from '../../ts/backend/index.js';
import {
  assignCorpus,
  assignTexts,
  clusterCorpus,
  coverage,
  effectiveRepeats,
  entropy,
  genericHistogram,
  histogram,
  loadClustering,
  loadClusters,
  saveClustering,
} from '../../ts/data/clusters.js';
import { buildCorpus, Corpus } from '../../ts/data/corpus.js';
import { externalEmbedder, loadEmbedder } from '../../ts/data/embedder.js';
import { cutWindows } from '../../ts/data/windows.js';
import { Prng } from '../../ts/tensor/prng.js';
import { OracleBackend } from '../support/oracle.js';

const backend = listIsas().length > 0 ? openBackend({ backend: 'cpu', threads: 2 }) : new OracleBackend();
const room = fs.mkdtempSync(join(tmpdir(), 'sweetspot-clusters-'));
test.after.always(() => {
  fs.rmSync(room, { recursive: true, force: true });
  return backend.close();
});

const TOPICS = ['zarin', 'molpe', 'quith'];
/** Document i is about topic i % 3. */
function documents(count: number, seed: number): string[] {
  const prng = new Prng(seed);
  const letters = 'abcdef';
  const word = (topic: string) => `${topic}${letters[prng.int(6)]}${letters[prng.int(6)]}`;
  return Array.from({ length: count }, (_, i) =>
    Array.from({ length: 60 + prng.int(60) }, () => word(TOPICS[i % 3]!)).join(' '),
  );
}

let count = 0;
/** A corpus folder of 60 documents. */
async function corpus(seed = 1, vocabSize = 400): Promise<string> {
  const folder = join(room, `${count++}`);
  const lines = documents(60, seed).map((text) => JSON.stringify({ text }));
  fs.writeFileSync(`${folder}.jsonl`, lines.join('\n'));
  await buildCorpus({ input: `${folder}.jsonl`, out: folder, vocabSize });
  return folder;
}

function emptyFolder(): string {
  const folder = join(room, `${count++}`);
  fs.mkdirSync(folder);
  return folder;
}

test.serial('topics become clusters, and new text finds its own', async (t) => {
  const before = backend.allocated();
  const folder = await corpus();
  const stages = new Set<string>();
  const options = { clusters: 3, contextLength: 32, dimensions: 8 };
  const summary = await clusterCorpus(backend, folder, { ...options, onProgress: ({ stage }) => stages.add(stage) });
  t.deepEqual([...stages], ['fit', 'svd', 'embed', 'kmeans']);
  t.deepEqual(JSON.parse(JSON.stringify(summary)), { ...summary });

  const clusters = loadClusters(folder, 3);
  const windows = cutWindows(Corpus.open(folder), 32);
  const topicCluster = [0, 1, 2].map((topic) => clusters.ids[windows.document.indexOf(topic)]!);
  t.is(new Set(topicCluster).size, 3);
  t.true(clusters.ids.every((id, w) => id === topicCluster[windows.document[w]! % 3]));

  t.is(summary.windows, windows.count);
  t.deepEqual(summary.sizes, [...clusters.windowsPerCluster]);
  t.is(
    clusters.tokensPerCluster.reduce((a, b) => a + b),
    windows.predictions,
  );
  t.is(summary.entropy, entropy(genericHistogram(clusters)));
  t.true(summary.entropy > 1.05 && summary.entropy <= Math.log(3));
  for (const [topic, name] of TOPICS.entries()) {
    const terms = summary.terms[topicCluster[topic]!]!;
    t.is(terms.length, 8);
    t.true(
      terms.every((term) => term.startsWith(name.slice(0, 2)) || name.includes(term)),
      terms.join(' '),
    );
  }

  const embedder = loadEmbedder(folder, backend);
  const ids = await assignTexts(clusters, embedder, backend, documents(9, 77));
  t.deepEqual(
    [...ids],
    Array.from({ length: 9 }, (_, i) => topicCluster[i % 3]!),
  );
  const domain = Corpus.fromTexts([documents(2, 5)[1]!], Corpus.open(folder).tokenizer());
  const { ids: found, lengths } = await assignCorpus(clusters, embedder, backend, domain);
  t.true(found.length > 1);
  const h = histogram(found, 3, lengths);
  t.is(h[topicCluster[1]!], 1);
  t.is(backend.allocated(), before);
});

test('another k reuses the embedder and the embeddings; the same k is refused', async (t) => {
  const folder = await corpus();
  await clusterCorpus(backend, folder, { clusters: 2, contextLength: 32, dimensions: 8 });
  const stamp = (name: string) => fs.statSync(join(folder, name), { bigint: true }).mtimeNs;
  const [embedder, embeddings] = [stamp('embedder.json'), stamp('embeddings.safetensors')];
  const stages = new Set<string>();
  const onProgress = ({ stage }: { stage: string }) => stages.add(stage);
  const second = await clusterCorpus(backend, folder, { clusters: 3, contextLength: 32, onProgress });
  t.deepEqual([...stages], ['kmeans']);
  t.deepEqual([stamp('embedder.json'), stamp('embeddings.safetensors')], [embedder, embeddings]);

  // The clusters do not depend on whether the embeddings were kept, even when what is kept is damaged.
  const first = loadClusters(folder, 3);
  fs.rmSync(second.path);
  fs.writeFileSync(join(folder, 'embeddings.safetensors'), 'damaged');
  await clusterCorpus(backend, folder, { clusters: 3, contextLength: 32 });
  t.deepEqual(loadClusters(folder, 3), first);
  // Another context length needs other embeddings, of the same embedder.
  await clusterCorpus(backend, folder, { clusters: 4, contextLength: 16 });
  t.is(loadClusters(folder, 4).embedderHash, first.embedderHash);

  await t.throwsAsync(clusterCorpus(backend, folder, { clusters: 3 }), { code: 'SWEETSPOT_EXISTS' });
  await t.throwsAsync(clusterCorpus(backend, folder, { clusters: 5, dimensions: 9 }), { code: 'SWEETSPOT_MISMATCH' });
  await t.throwsAsync(clusterCorpus(backend, folder, { clusters: 5000 }), { code: 'SWEETSPOT_INPUT' });
  await t.throwsAsync(clusterCorpus(backend, folder, { clusters: 0 }), { code: 'SWEETSPOT_USAGE' });
});

test('clusters of something else are refused', async (t) => {
  const [a, b] = [await corpus(1), await corpus(2)];
  for (const folder of [a, b]) await clusterCorpus(backend, folder, { clusters: 3, contextLength: 32, dimensions: 8 });
  const file = 'clusters.3.safetensors';
  const own = fs.readFileSync(join(a, file));
  t.throws(() => loadClusters(a, 4), { code: 'SWEETSPOT_INPUT' });

  fs.copyFileSync(join(b, file), join(a, file));
  const hashes = new RegExp(`${loadClusters(b, 3).tokenizerHash}[^]*${Corpus.open(a).tokenizerHash}`);
  t.throws(() => loadClusters(a, 3), { code: 'SWEETSPOT_MISMATCH', message: hashes });

  fs.writeFileSync(join(a, file), own);
  const ownEmbedder = loadEmbedder(a, backend);
  for (const name of ['embedder.json', 'embedder.safetensors']) fs.copyFileSync(join(b, name), join(a, name));
  t.throws(() => loadClusters(a, 3), { code: 'SWEETSPOT_MISMATCH', message: /embedder/ });
  ownEmbedder.save(a);
  const other = loadEmbedder(b, backend);
  const clusters = loadClusters(a, 3);
  await t.throwsAsync(assignTexts(clusters, other, backend, ['x']), { code: 'SWEETSPOT_MISMATCH' });
  t.throws(() => saveClustering(a, clusters, other), { code: 'SWEETSPOT_MISMATCH' });

  const flipped = Buffer.from(own);
  flipped[flipped.length - 2]! ^= 1;
  fs.writeFileSync(join(a, file), flipped);
  t.throws(() => loadClusters(a, 3), { code: 'SWEETSPOT_CORRUPT' });
  fs.copyFileSync(join(a, 'embedder.safetensors'), join(a, file));
  t.throws(() => loadClusters(a, 3), { code: 'SWEETSPOT_CORRUPT' });
});

test.serial('an interrupt leaves no clusters, and the folder free', async (t) => {
  const folder = await corpus();
  const before = backend.allocated();
  for (const stop of ['fit', 'svd', 'embed', 'kmeans']) {
    const abort = new AbortController();
    const onProgress = ({ stage }: { stage: string }) => stage === stop && abort.abort();
    const options = { clusters: 3, contextLength: 32, dimensions: 8, signal: abort.signal, onProgress };
    await t.throwsAsync(clusterCorpus(backend, folder, options), { code: 'SWEETSPOT_ABORTED' }, stop);
    t.is(backend.allocated(), before);
    t.deepEqual(
      fs.readdirSync(folder).filter((name) => /lock|tmp|clusters/.test(name)),
      [],
    );
  }
  await clusterCorpus(backend, folder, { clusters: 3, contextLength: 32, dimensions: 8 });
  t.is(loadClusters(folder, 3).count, 3);
});

test('a saved clustering sorts new text without the corpus', async (t) => {
  const folder = await corpus();
  await clusterCorpus(backend, folder, { clusters: 3, contextLength: 32, dimensions: 8 });
  const clusters = loadClusters(folder, 3);
  const run = emptyFolder();
  saveClustering(run, clusters, loadEmbedder(folder, backend));
  const texts = documents(12, 6);
  const want = await assignTexts(clusters, loadEmbedder(folder, backend), backend, texts);
  fs.rmSync(folder, { recursive: true });

  const { clustering, embedder } = loadClustering(run, backend);
  t.deepEqual(await assignTexts(clustering, embedder, backend, texts), want);
  const { ids: _, ...parts } = clusters;
  t.deepEqual(clustering, parts);
  t.throws(() => loadClustering(room, backend), { code: 'SWEETSPOT_INPUT' });
});

test("an embedder of the caller's own works throughout, and must be given again", async (t) => {
  const folder = await corpus();
  let calls = 0;
  const seen: string[] = [];
  const own = (name: string) =>
    externalEmbedder({
      name,
      dimensions: 3,
      embed: async (texts) => {
        calls++;
        seen.push(...texts);
        return Float32Array.from(texts.flatMap((text) => TOPICS.map((topic) => text.split(topic.slice(0, 2)).length)));
      },
    });
  const summary = await clusterCorpus(backend, folder, { clusters: 3, contextLength: 32, embedder: own('mine') });
  t.deepEqual([summary.embedder, summary.terms, calls], ['external', [], 1]);
  t.is(seen.join(''), documents(60, 1).join(''), 'windows share no text and leave none out');
  t.false(fs.existsSync(join(folder, 'embedder.json')));
  await clusterCorpus(backend, folder, { clusters: 2, contextLength: 32, embedder: own('mine') });
  t.is(calls, 1);
  await clusterCorpus(backend, folder, { clusters: 4, contextLength: 32, embedder: own('other') });
  t.is(calls, 2);

  const clusters = loadClusters(folder, 3);
  const run = emptyFolder();
  saveClustering(run, clusters, own('mine'));
  t.throws(() => loadClustering(run, backend), { code: 'SWEETSPOT_INPUT', message: /pass the same embedder/ });
  t.throws(() => loadClustering(run, backend, { embedder: own('other') }), { code: 'SWEETSPOT_MISMATCH' });
  t.is(loadClustering(run, backend, { embedder: own('mine') }).clustering.count, 3);
});

test('histograms and what is told from them', (t) => {
  t.deepEqual([...histogram([0, 2, 2, 0, 2], 4)], [0.4, 0, 0.6, 0]);
  t.deepEqual([...histogram([0, 1, 1], 2, [2, 3, 5])], [0.2, 0.8]);
  t.throws(() => histogram([], 3), { code: 'SWEETSPOT_INPUT' });
  t.throws(() => histogram([3], 3), { code: 'SWEETSPOT_USAGE' });
  t.throws(() => histogram([-1], 3), { code: 'SWEETSPOT_USAGE' });
  t.is(entropy([1, 0, 0]), 0);
  t.true(Math.abs(entropy([0.25, 0.25, 0.25, 0.25]) - Math.log(4)) < 1e-12);
  t.deepEqual([...effectiveRepeats([0.5, 0.5, 0], [100, 400, 0], 800)], [4, 1, 0]);
  t.deepEqual([...effectiveRepeats([1], [0], 10)], [Infinity]);
  t.is(coverage([0.5, 0.5], [0.5, 0.5]), 1);
  t.is(coverage([1, 0, 0, 0], [0.7, 0.1, 0.1, 0.1]), 1);
  t.is(coverage([0, 1], [0.75, 0.25]), 0.5);
  t.is(coverage([0.5, 0.5], [1, 0]), 0.5);
});
