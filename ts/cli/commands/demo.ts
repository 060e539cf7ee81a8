// sweetspot demo: the main job in a minute or less, on text that comes with the package. A corpus of four topics is clustered; a
// plain small model and a bank are pretrained at equal tokens and specialized to two of the topics; one of them writes.
// `npm run demo` of a checkout does the same on real text, with more methods and a report.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { checkedExperiment } from '../../experiment/read.js';
import { runExperiment } from '../../experiment/run.js';
import { specialize } from '../../methods/specialize.js';
import { DenseModel } from '../../models/dense.js';
import { toText } from '../../report/table.js';
import { domainTable, macroTable } from '../../report/tables.js';
import { generateText } from '../../serve/generate.js';
import { clearDemoFolder } from '../demo_folder.js';
import { demoDocuments, TOPIC_NAMES, type TopicName } from '../demo_text.js';
import { experimentLine } from '../experiment_line.js';
import { duration } from '../format.js';
import { verb } from '../session.js';

const DOMAINS: readonly TopicName[] = ['court', 'sea'];
const DOCUMENTS = 300;
const SIZE = 4000;

interface Flags {
  readonly out: string;
}

export function demo(program: Command): void {
  const command = program
    .command('demo')
    .description('the whole way in a minute, on made-up text that comes with the package')
    .option('--out <folder>', 'where everything goes; that of an earlier demo is replaced', 'sweetspot-demo');
  verb<Flags>(command, async (session, flags) => {
    const begin = performance.now();
    const out = path.resolve(flags.out);
    clearDemoFolder(out);
    const { signal, progress } = session;
    const text = writeText(path.join(out, 'text'));
    const { backend, isa, threads } = session.flags;
    const folder = path.join(out, 'experiment');
    const { results } = await runExperiment({
      experiment: await checkedExperiment(experimentOn(text)),
      out: folder,
      backend: { backend, isa, threads },
      signal,
      onProgress: (now) => progress.show((columns) => experimentLine(now, columns)),
    });
    const bank = results.rows.find((row) => results.systems[row.system]!.method === 'projected')!;
    const model = path.join(out, 'models', DOMAINS[0]!);
    await specialize({
      backend: session.backend,
      run: path.join(folder, 'runs', bank.cells.run!),
      domain: text.domains[0]!.train,
      out: model,
      maxTokens: SIZE,
      epochs: 2,
      signal,
      onProgress: progress.update,
    });
    const dense = DenseModel.load(session.backend, model);
    const prompt = 'The';
    const sample = prompt + (await generateText(dense, prompt, { maxTokens: 50, temperature: 0.7, seed: 3, signal }));
    dense.dispose();
    const seconds = (performance.now() - begin) / 1000;
    const { name, capabilities } = session.backend;
    const result = {
      backend: { name, ...capabilities },
      seconds,
      out,
      systems: results.systems,
      rows: results.rows,
      sample,
    };
    session.print(result, [
      'Macro perplexity on held-out text, and FLOPs of training:\n',
      toText(macroTable(results)),
      `\nPerplexity before and after fine-tuning on ${SIZE} tokens:\n`,
      toText(domainTable(results, SIZE)),
      `\nThe specialist for ${DOMAINS[0]} writes: ${sample}`,
      `\n${duration(seconds)} on ${name}, ${capabilities.isa}, ${capabilities.threads} threads; the model is in ${model}`,
      'Text of your own: npx sweetspot --help',
    ]);
  });
}

interface DemoText {
  readonly generic: string;
  readonly test: string;
  readonly domains: readonly { readonly name: string; readonly train: string; readonly test: string }[];
}

function writeText(folder: string): DemoText {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, documents: readonly string[]): string => {
    const file = path.join(folder, `${name}.jsonl`);
    writeFileSync(file, documents.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    return file;
  };
  const all = (count: number, seed: string) => TOPIC_NAMES.flatMap((topic) => demoDocuments(topic, count, seed));
  return {
    generic: write('generic', all(DOCUMENTS, 'generic')),
    test: write('generic.test', all(20, 'test')),
    domains: DOMAINS.map((name) => ({
      name,
      train: write(`${name}.train`, demoDocuments(name, 100, 'train')),
      test: write(`${name}.test`, demoDocuments(name, 40, 'domain test')),
    })),
  };
}

const experimentOn = (text: DemoText) => ({
  name: 'sweetspot demo',
  corpus: { input: text.generic, test: text.test, vocabulary: 512, context: 64 },
  domains: text.domains,
  sizes: SIZE,
  models: { small: { hiddenSize: 32, layers: 2, heads: 2, intermediateSize: 96 } },
  pretrain: { tokens: 120_000, batchTokens: 2048 },
  finetune: { epochs: 3, batchTokens: 1024 },
  systems: [
    { name: 'small model', method: 'slm' },
    { name: 'bank', method: 'projected', clusters: 4, slices: 4 },
  ],
});
