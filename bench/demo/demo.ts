// The main job on embedded text, start to end: an experiment with four methods at equal pretraining tokens and two domains, its
// table and report, and what two specialists write.
//   npm run demo                everything into demo-out/, progress on a terminal
//   npm run demo -- --json      one JSON object on standard output, nothing else
//   npm run demo -- --short     a tenth of the tokens, to see that it works
import { cpus, totalmem } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { openBackend } from '../../ts/backend/index.js';
import { clearDemoFolder } from '../../ts/cli/demo_folder.js';
import { experimentLine } from '../../ts/cli/experiment_line.js';
import { ProgressLine } from '../../ts/cli/progress.js';
import { checkedExperiment } from '../../ts/experiment/read.js';
import { runExperiment } from '../../ts/experiment/run.js';
import { writeFileAtomic } from '../../ts/io/atomic.js';
import { specialize } from '../../ts/methods/specialize.js';
import { DenseModel } from '../../ts/models/dense.js';
import { writeReport } from '../../ts/report/report.js';
import { toText } from '../../ts/report/table.js';
import { domainTable, macroTable, placementTable } from '../../ts/report/tables.js';
import { generateText } from '../../ts/serve/generate.js';
import { writeDemoTexts } from './texts.js';

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
const scale = flags.short === true ? 0.1 : 1;
const TOKENS = Math.round(1_200_000 * scale);
const CLUSTERS = 16;
const SIZE = 100_000;

const begin = performance.now();
const threads = flags.threads === undefined ? undefined : Number(flags.threads);
const progress = new ProgressLine(flags.json !== true);

// 1. Text.
clearDemoFolder(out);
const texts = writeDemoTexts(path.join(out, 'text'));
const { domains } = texts;

// 2. Every method, every domain.
const experiment = await checkedExperiment({
  name: `sweetspot demo: ${TOKENS} pretraining tokens, ${domains.length} domains`,
  corpus: { input: texts.generic, test: texts.genericTest, vocabulary: 2048, context: 128 },
  domains,
  sizes: SIZE,
  testTokens: 60_000,
  seeds: 1,
  models: { small: { hiddenSize: 64, layers: 3, heads: 4, intermediateSize: 176 } },
  pretrain: { tokens: TOKENS, batchTokens: 4096 },
  finetune: { epochs: 3, tokens: Math.round(200_000 * scale), batchTokens: 2048 },
  systems: [
    { name: 'domain-only', method: 'domain-only' },
    { name: 'slm', method: 'slm' },
    { name: 'mixture', method: 'mixture', clusters: CLUSTERS },
    { name: 'projected', method: 'projected', clusters: CLUSTERS, slices: 8 },
    { name: 'importance', method: 'importance', clusters: CLUSTERS, domainTokens: SIZE },
  ],
});
const folder = path.join(out, 'experiment');
const { results } = await runExperiment({
  experiment,
  out: folder,
  backend: { threads },
  onProgress: (now) => progress.show((columns) => experimentLine(now, columns)),
});
progress.stop();
const map = results.maps[0]!;
say(`corpus: ${results.corpus.documents} documents, ${results.corpus.tokens} tokens; ${map.clusters} clusters:`);
map.terms.forEach((terms, c) => {
  say(`  ${String(c).padStart(2)}  ${(100 * map.shares[c]!).toFixed(1).padStart(5)}%  ${terms.join(' ')}`);
});

// 3. Two specialists side by side.
const samples: { domain: string; text: string }[] = [];
const prompt = 'The';
const backend = openBackend({ threads });
const projected = results.rows.find((row) => results.systems[row.system]!.method === 'projected')!;
for (const domain of domains) {
  const place = path.join(out, 'models', domain.name);
  await specialize({
    backend,
    run: path.join(folder, 'runs', projected.cells.run!),
    domain: domain.train,
    out: place,
    maxTokens: SIZE,
    epochs: 2 * scale,
    onProgress: progress.update,
  });
  const model = DenseModel.load(backend, place);
  samples.push({
    domain: domain.name,
    text: prompt + (await generateText(model, prompt, { maxTokens: 60, temperature: 0.7, seed: 3 })),
  });
  model.dispose();
}
progress.stop();

// 4. Table, JSON, report.
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
  corpus: { ...results.corpus, clusters: CLUSTERS },
  systems: results.systems,
  rows: results.rows,
  samples,
};
const json = path.join(out, 'table.json');
writeFileAtomic(json, `${JSON.stringify(result, null, 2)}\n`);
const report = await writeReport(folder, path.join(out, 'report'));
if (flags.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
for (const [title, table] of [
  ['Macro perplexity on held-out text, and FLOPs of training', macroTable(results)],
  ['Perplexity before → after fine-tuning on 100k tokens', domainTable(results, SIZE)],
  ['Where domains lie', placementTable(results)],
] as const) {
  say(`\n${title}:\n\n${toText(table)}`);
}
for (const sample of samples) say(`\n--- ${sample.domain}\n${sample.text}`);
say(`\nreport   ${report.html}\ndata     ${json}\n${seconds.toFixed(0)} seconds in all`);
await backend.close();
