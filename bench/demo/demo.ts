// The main job on embedded text, start to end: corpus, clusters, four methods at equal pretraining tokens, two domains, one table.
//   npm run demo                everything into demo-out/, progress on a terminal
//   npm run demo -- --json      one JSON object on standard output, nothing else
//   npm run demo -- --short     a tenth of the tokens, to see that it works
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { openBackend } from '../../ts/backend/index.js';
import { ProgressLine } from '../../ts/cli/progress.js';
import { clusterCorpus } from '../../ts/data/clusters.js';
import { buildCorpus } from '../../ts/data/corpus.js';
import { writeFileAtomic } from '../../ts/io/atomic.js';
import { type ComparedMethod, compare } from '../../ts/methods/compare.js';
import { specialize } from '../../ts/methods/specialize.js';
import { DenseModel } from '../../ts/models/dense.js';
import { comparisonPicture } from '../../ts/report/picture.js';
import { comparisonTable, placementTable, toMarkdown, toText } from '../../ts/report/table.js';
import { generateText } from '../../ts/serve/generate.js';
import { demoTexts } from './texts.js';

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean' },
    short: { type: 'boolean' },
    out: { type: 'string', default: 'demo-out' },
    threads: { type: 'string' },
  },
});
const out = path.resolve(flags.out);
const say = (text: string) => {
  if (flags.json !== true) console.log(text);
};
const METHODS: readonly ComparedMethod[] = ['domain-only', 'slm', 'mixture', 'projected', 'importance'];
const scale = flags.short === true ? 0.1 : 1;
const TOKENS = Math.round(1_200_000 * scale);
const CLUSTERS = 16;
const CONTEXT = 128;

const begin = performance.now();
const backend = openBackend({ threads: flags.threads === undefined ? undefined : Number(flags.threads) });
const progress = new ProgressLine(flags.json !== true);

// 1. Text to files, as a user would have it: one file of generic text, one folder a domain.
rmSync(out, { recursive: true, force: true });
const texts = demoTexts();
const jsonl = (documents: readonly string[]) => documents.map((text) => `${JSON.stringify({ text })}\n`).join('');
mkdirSync(path.join(out, 'text'), { recursive: true });
const genericFile = path.join(out, 'text', 'generic.jsonl');
writeFileSync(genericFile, jsonl(texts.generic));
const domains = texts.domains.map((domain) => {
  const file = (part: string) => path.join(out, 'text', `${domain.name}.${part}.jsonl`);
  writeFileSync(file('train'), jsonl(domain.train));
  writeFileSync(file('test'), jsonl(domain.test));
  return { name: domain.name, train: file('train'), test: file('test') };
});

// 2. Corpus and clusters.
const corpus = path.join(out, 'corpus');
const built = await buildCorpus({ input: genericFile, out: corpus, vocabSize: 2048 });
say(`corpus: ${built.documents} documents, ${built.tokens} tokens, vocabulary ${built.vocabSize}`);
const clustered = await clusterCorpus(backend, corpus, { clusters: CLUSTERS, contextLength: CONTEXT });
say(
  `clusters: ${clustered.clusters}, entropy ${clustered.entropy.toFixed(2)} of ${Math.log(CLUSTERS).toFixed(2)} nats`,
);
clustered.terms.forEach((terms, c) => {
  say(`  ${String(c).padStart(2)}  ${String(clustered.sizes[c]).padStart(6)} windows  ${terms.join(' ')}`);
});

// 3. Every method, every domain.
const rows = await compare({
  backend,
  corpus,
  out: path.join(out, 'compare'),
  methods: METHODS,
  domains,
  domainTokens: [100_000],
  clusters: CLUSTERS,
  pretrain: {
    tokens: TOKENS,
    model: { hiddenSize: 64, layers: 3, heads: 4, intermediateSize: 176, contextLength: CONTEXT },
    bank: { slices: 8 },
    batchTokens: 4096,
    seed: 1,
  },
  epochs: 3,
  finetuneBatchTokens: 2048,
  finetuneTokens: Math.round(200_000 * scale),
  testTokens: 60_000,
  onProgress: progress.update,
});
progress.stop();

// 4. Two specialists side by side.
const samples: { domain: string; text: string }[] = [];
const prompt = 'The';
for (const domain of domains) {
  const folder = path.join(out, 'models', domain.name);
  await specialize({
    backend,
    run: path.join(out, 'compare', 'runs', 'projected'),
    domain: domain.train,
    out: folder,
    maxTokens: 100_000,
    epochs: 2 * scale,
    onProgress: progress.update,
  });
  const model = DenseModel.load(backend, folder);
  samples.push({
    domain: domain.name,
    text: prompt + (await generateText(model, prompt, { maxTokens: 60, temperature: 0.7, seed: 3 })),
  });
  model.dispose();
}
progress.stop();

// 5. Table, JSON, picture.
const seconds = (performance.now() - begin) / 1000;
const machine = {
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryBytes: totalmem(),
  node: process.version,
};
const result = {
  machine,
  backend: { name: backend.name, ...backend.capabilities },
  seconds,
  corpus: {
    documents: built.documents,
    tokens: built.tokens,
    vocabSize: built.vocabSize,
    clusters: CLUSTERS,
    contextLength: CONTEXT,
  },
  methods: rows,
  samples,
};
const title = `sweetspot demo: ${TOKENS} pretraining tokens, ${domains.length} domains`;
const files = {
  markdown: path.join(out, 'table.md'),
  json: path.join(out, 'table.json'),
  picture: path.join(out, 'picture.svg'),
};
writeFileAtomic(
  files.markdown,
  `# ${title}\n\nPerplexity before -> after fine-tuning.\n\n${toMarkdown(comparisonTable(rows))}\n\n${toMarkdown(placementTable(rows))}\n`,
);
writeFileAtomic(files.json, `${JSON.stringify(result, null, 2)}\n`);
writeFileAtomic(files.picture, await comparisonPicture(rows, title));
if (flags.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
say(
  `\nPerplexity before -> after fine-tuning on 100k tokens of each domain:\n\n${toText(comparisonTable(rows))}\n\n${toText(placementTable(rows))}\n`,
);
for (const sample of samples) say(`--- ${sample.domain}\n${sample.text}\n`);
say(
  `table    ${files.markdown}\ndata     ${files.json}\npicture  ${files.picture}\n${seconds.toFixed(0)} seconds in all`,
);
await backend.close();
