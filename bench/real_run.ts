// The comparison on a real corpus: every method at equal pretraining tokens, three domains, two sizes of in-domain text.
//   node dist/bench/real_run.js --corpora <folder> --out <folder> [--tokens 20M] [--threads 2]
// <folder> holds generic*.jsonl.gz and domains/<name>/{train,valid}.jsonl.gz; it is read in place. What is finished is kept in
// --out, so a run that was stopped goes on. Results are written to bench/results/real_run.{md,json,svg} with --commit.
import { existsSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../bindings/load.js';
import { openBackend } from '../ts/backend/index.js';
import { count } from '../ts/cli/numbers.js';
import { ProgressLine } from '../ts/cli/progress.js';
import { clusterCorpus } from '../ts/data/clusters.js';
import { buildCorpus } from '../ts/data/corpus.js';
import { writeFileAtomic } from '../ts/io/atomic.js';
import { type ComparedMethod, compare } from '../ts/methods/compare.js';
import { comparisonPicture } from '../ts/report/picture.js';
import { comparisonTable, placementTable, toMarkdown, toText } from '../ts/report/table.js';

const { values: flags } = parseArgs({
  options: {
    corpora: { type: 'string' },
    out: { type: 'string', default: 'runs/real' },
    tokens: { type: 'string', default: '20M' },
    domains: { type: 'string', default: 'arxiv,freelaw,gutenberg' },
    sizes: { type: 'string', default: '100k,1M' },
    methods: { type: 'string', default: 'slm,projected,mixture,importance,domain-only' },
    threads: { type: 'string' },
    seed: { type: 'string', default: '1' },
    commit: { type: 'boolean' },
  },
});
if (flags.corpora === undefined) throw new Error('give --corpora <folder>');
const out = path.resolve(flags.out);
const CONTEXT = 128;
const SETTINGS = {
  vocabSize: 2048,
  model: { hiddenSize: 48, layers: 4, heads: 3, intermediateSize: 128, contextLength: CONTEXT },
  bank: { slices: 16 },
  batchTokens: 4096,
  clusters: 16,
  importanceClusters: 64,
  /** Domain tokens that importance sampling may look at. */
  importanceTokens: 100_000,
  epochs: 4,
  finetuneBatchTokens: 2048,
  finetuneTokens: 1_000_000,
  testTokens: 80_000,
};

const backend = openBackend({ threads: flags.threads === undefined ? undefined : Number(flags.threads) });
const progress = new ProgressLine(true);
const abort = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => abort.abort());

const corpus = path.join(out, 'corpus');
mkdirSync(out, { recursive: true });
if (!existsSync(corpus)) {
  const input = ['generic.jsonl.gz', 'generic.nearby.jsonl.gz']
    .map((name) => path.join(flags.corpora!, name))
    .filter((file) => existsSync(file));
  const built = await buildCorpus({
    input,
    out: corpus,
    vocabSize: SETTINGS.vocabSize,
    trainBytes: 20e6,
    signal: abort.signal,
  });
  console.log(`corpus: ${built.documents} documents, ${built.tokens} tokens`);
}
for (const clusters of [SETTINGS.clusters, SETTINGS.importanceClusters]) {
  if (existsSync(path.join(corpus, `clusters.${clusters}.safetensors`))) continue;
  const summary = await clusterCorpus(backend, corpus, { clusters, contextLength: CONTEXT, signal: abort.signal });
  console.log(`clusters ${clusters}: entropy ${summary.entropy.toFixed(2)}, ${summary.seconds.toFixed(0)} s`);
  summary.terms.slice(0, 16).forEach((terms, c) => {
    console.log(`  ${c}: ${terms.join(' ')}`);
  });
}
const domains = flags.domains.split(',').map((name) => ({
  name,
  train: path.join(flags.corpora!, 'domains', name, 'train.jsonl.gz'),
  test: path.join(flags.corpora!, 'domains', name, 'valid.jsonl.gz'),
}));
const rows = await compare({
  backend,
  corpus,
  out: path.join(out, `seed-${flags.seed}`),
  methods: flags.methods.split(',') as ComparedMethod[],
  domains,
  domainTokens: flags.sizes.split(',').map(count('--sizes')),
  clusters: SETTINGS.clusters,
  importanceClusters: SETTINGS.importanceClusters,
  importanceTokens: SETTINGS.importanceTokens,
  pretrain: {
    tokens: count('--tokens')(flags.tokens),
    model: SETTINGS.model,
    bank: SETTINGS.bank,
    batchTokens: SETTINGS.batchTokens,
    seed: Number(flags.seed),
  },
  epochs: SETTINGS.epochs,
  finetuneBatchTokens: SETTINGS.finetuneBatchTokens,
  finetuneTokens: SETTINGS.finetuneTokens,
  testTokens: SETTINGS.testTokens,
  onProgress: progress.update,
  signal: abort.signal,
});
progress.stop();
console.log(`${toText(comparisonTable(rows))}\n\n${toText(placementTable(rows))}`);
if (flags.commit === true) {
  const folder = path.join(packageRoot(), 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const title = `${flags.tokens} pretraining tokens, seed ${flags.seed}`;
  const head = `# ${title}\n\nMade by \`bench/real_run.ts\`; perplexity before -> after fine-tuning on held-out text of each domain.\n`;
  const facts = rows
    .filter((row) => Object.keys(row.facts).length > 0)
    .map((row) => `- ${row.method} (${row.domainTokens}): ${JSON.stringify(row.facts)}`);
  writeFileAtomic(
    path.join(folder, 'real_run.md'),
    `${head}\n${toMarkdown(comparisonTable(rows))}\n\n${toMarkdown(placementTable(rows))}\n\n${facts.join('\n')}\n\nSettings: \`${JSON.stringify(SETTINGS)}\`\n`,
  );
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
  writeFileAtomic(
    path.join(folder, 'real_run.json'),
    `${JSON.stringify({ machine, backend: backend.capabilities, seed: flags.seed, settings: SETTINGS, methods: rows }, null, 1)}\n`,
  );
  writeFileAtomic(path.join(folder, 'real_run.svg'), await comparisonPicture(rows, title));
}
await backend.close();
