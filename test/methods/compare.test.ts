// The whole comparison on a small generated corpus: every method, two domains; a second call finds everything done.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { clusterCorpus } from '../../ts/data/clusters.js';
import { buildCorpus } from '../../ts/data/corpus.js';
import { type ComparedRow, compare } from '../../ts/methods/compare.js';
import { openRun } from '../../ts/methods/run.js';
import { documents } from '../support/topics.js';

test('every method trains, improves every domain, and a second call repeats nothing', async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-compare-'));
  const file = (name: string, text: string) => {
    const place = path.join(root, name);
    writeFileSync(place, text);
    return place;
  };
  const backend = openBackend();
  const generic = file('generic.jsonl', ['sea', 'law', 'kitchen'].map((topic) => documents(topic, 80, 1)).join(''));
  const corpus = path.join(root, 'corpus');
  await buildCorpus({ input: generic, out: corpus, vocabSize: 320 });
  await clusterCorpus(backend, corpus, { clusters: 3, contextLength: 32, dimensions: 8 });
  const domains = ['sea', 'law'].map((name) => ({
    name,
    train: file(`${name}.train.jsonl`, documents(name, 30, 2)),
    test: file(`${name}.test.jsonl`, documents(name, 10, 3)),
  }));
  const run = () =>
    compare({
      backend,
      corpus,
      out: path.join(root, 'out'),
      methods: ['domain-only', 'slm', 'importance', 'mixture', 'projected'],
      domains,
      domainTokens: [3000],
      clusters: 3,
      pretrain: {
        tokens: 40_000,
        model: { hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 64, contextLength: 32 },
        bank: { slices: 2 },
        batchTokens: 1024,
        seed: 1,
      },
      epochs: 6,
      finetuneBatchTokens: 512,
      finetuneTokens: 20_000,
    });
  const rows = await run();
  const by = (method: string) => rows.find((row) => row.method === method)!;
  for (const row of rows) {
    t.deepEqual(
      row.domains.map((cell) => cell.domain),
      ['sea', 'law'],
    );
    for (const cell of row.domains) {
      t.true(cell.perplexityAfter < cell.perplexityBefore, `${row.method} ${cell.domain}`);
      t.true(cell.bitsPerByteAfter < cell.bitsPerByteBefore);
      const clustered = ['importance', 'mixture', 'projected'].includes(row.method);
      t.is(cell.cluster !== null, clustered, `${row.method} names its cluster`);
    }
    const mean = row.domains.reduce((sum, cell) => sum + Math.log(cell.perplexityAfter), 0) / 2;
    t.true(Math.abs(row.macro.perplexityAfter - Math.exp(mean)) < 1e-6 * Math.exp(mean));
  }
  // Topics are clusters of their own here, so a domain falls into one, and knowing it beforehand pays.
  t.true(by('importance').domains.every((cell) => cell.entropy < 0.3));
  t.true(by('importance').macro.perplexityBefore < by('slm').macro.perplexityBefore);
  t.not(by('projected').domains[0]!.cluster, by('projected').domains[1]!.cluster);
  t.is(by('importance').flops, 2 * by('slm').flops);
  t.true(by('mixture').tokens < 1.2 * by('slm').tokens && by('mixture').tokens > 0.8 * by('slm').tokens);
  t.is(by('domain-only').flops, 0);
  t.true(by('projected').pretrainParameters > by('slm').pretrainParameters);
  t.is(openRun(path.join(root, 'out', 'runs', 'projected')).config.method, 'projected');

  const cells = path.join(root, 'out', 'cells', 'slm-sea-3000.json');
  const marked = JSON.parse(readFileSync(cells, 'utf8'));
  writeFileSync(cells, JSON.stringify({ ...marked, bestStep: 12345 }));
  const again: ComparedRow[] = await run();
  t.is(again.find((row) => row.method === 'slm')!.domains[0]!.bestStep, 12345);
  t.is(backend.allocated(), 0);
  await backend.close();
  rmSync(root, { recursive: true });
});
