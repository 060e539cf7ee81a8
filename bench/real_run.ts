// The comparison on a real corpus: every method at equal pretraining tokens, three domains, two sizes of in-domain text.
//   node dist/bench/real_run.js --corpora <folder> --out <folder> [--tokens 20M] [--threads 2] [--processes 1]
// <folder> holds generic*.jsonl.gz and domains/<name>/{train,valid}.jsonl.gz; it is read in place. What is finished is kept in
// --out, so a run that was stopped goes on. Results are written to bench/results/real_run.{md,json,svg} with --commit.
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../bindings/load.js';
import { experimentLine } from '../ts/cli/experiment_line.js';
import { count } from '../ts/cli/numbers.js';
import { ProgressLine } from '../ts/cli/progress.js';
import { checkedExperiment } from '../ts/experiment/read.js';
import { runExperiment } from '../ts/experiment/run.js';
import { writeFileAtomic } from '../ts/io/atomic.js';
import { drawReport } from '../ts/report/report.js';
import { toMarkdown, toText } from '../ts/report/table.js';
import { domainTable, macroTable, placementTable } from '../ts/report/tables.js';

const { values: flags } = parseArgs({
  options: {
    corpora: { type: 'string' },
    out: { type: 'string', default: 'runs/real' },
    tokens: { type: 'string', default: '20M' },
    domains: { type: 'string', default: 'arxiv,freelaw,gutenberg' },
    sizes: { type: 'string', default: '100k,1M' },
    methods: { type: 'string', default: 'slm,projected,mixture,importance,domain-only' },
    threads: { type: 'string' },
    seeds: { type: 'string', default: '1' },
    processes: { type: 'string', default: '1' },
    commit: { type: 'boolean' },
  },
});
if (flags.corpora === undefined) throw new Error('give --corpora <folder>');
const out = path.resolve(flags.out);
const progress = new ProgressLine(true);
const abort = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => abort.abort());
const under = (...names: string[]) => path.join(flags.corpora!, ...names);

const systems = [
  { name: 'slm', method: 'slm' },
  { name: 'projected', method: 'projected', clusters: 16, slices: 16 },
  { name: 'mixture', method: 'mixture', clusters: 16 },
  { name: 'importance', method: 'importance', clusters: 64, domainTokens: 100_000 },
  { name: 'domain-only', method: 'domain-only' },
];
const experiment = await checkedExperiment({
  name: `${flags.tokens} pretraining tokens, seeds ${flags.seeds}`,
  corpus: {
    input: ['generic.jsonl.gz', 'generic.nearby.jsonl.gz']
      .map((name) => under(name))
      .filter((file) => existsSync(file)),
    vocabulary: 2048,
    trainBytes: 20e6,
    context: 128,
  },
  domains: flags.domains.split(',').map((name) => ({
    name,
    train: under('domains', name, 'train.jsonl.gz'),
    test: under('domains', name, 'valid.jsonl.gz'),
  })),
  sizes: flags.sizes.split(','),
  testTokens: 80_000,
  seeds: flags.seeds.split(','),
  models: { small: { hiddenSize: 48, layers: 4, heads: 3, intermediateSize: 128 } },
  pretrain: { tokens: flags.tokens, batchTokens: 4096 },
  finetune: { epochs: 4, tokens: 1_000_000, batchTokens: 2048 },
  systems: systems.filter(({ name }) => flags.methods.split(',').includes(name)),
});
const { results } = await runExperiment({
  experiment,
  out,
  backend: { threads: flags.threads === undefined ? undefined : count('--threads')(flags.threads) },
  processes: count('--processes')(flags.processes),
  onProgress: (now) => progress.show((columns) => experimentLine(now, columns)),
  signal: abort.signal,
});
progress.stop();
const tables = [
  macroTable(results),
  ...results.sizes.map((size) => domainTable(results, size)),
  placementTable(results),
];
console.log(tables.map(toText).join('\n\n'));
if (flags.commit === true) {
  const folder = path.join(packageRoot(), 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const head = `# ${experiment.name}\n\nMade by \`bench/real_run.ts\`; perplexity before → after fine-tuning on held-out text of each domain.`;
  writeFileAtomic(path.join(folder, 'real_run.md'), `${[head, ...tables.map(toMarkdown)].join('\n\n')}\n`);
  writeFileAtomic(path.join(folder, 'real_run.json'), `${JSON.stringify(results, null, 1)}\n`);
  const { figures } = await drawReport(results, undefined);
  writeFileAtomic(path.join(folder, 'real_run.svg'), figures.find(({ id }) => id === 'specialized')!.svg);
}
