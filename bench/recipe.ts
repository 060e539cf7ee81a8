// What each piece of the training recipe is worth by itself: the small model pretrained with and without it at equal training
// FLOPs (a batch of another size: equal tokens), held-out generic text, two seeds. What helps enters a preset (ts/methods/presets.ts).
//   node dist/bench/recipe.js --corpora <folder> --out <folder> [--tokens 4M] [--seeds 1,2] [--pieces "adamw;muon"] [--processes 2] [--commit]
// <folder> holds generic*.jsonl.gz and generic.valid.jsonl.gz; finished runs in --out are not repeated. Every run is a cell that one
// process does, whoever takes its lock first: the same command given twice at once splits the work, as --processes does.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { packageRoot } from '../bindings/load.js';
import { openBackend, type SweetspotError } from '../ts/backend/index.js';
import { count } from '../ts/cli/numbers.js';
import { ProgressLine } from '../ts/cli/progress.js';
import { buildCorpus, domainCorpus } from '../ts/data/corpus.js';
import { writeFileAtomic } from '../ts/io/atomic.js';
import { FolderLock } from '../ts/io/lock.js';
import { evaluateValues } from '../ts/methods/choose.js';
import { stageWeights, stepsFlops } from '../ts/methods/context.js';
import { pretrain } from '../ts/methods/pretrain.js';
import { openRun } from '../ts/methods/run.js';
import { transformerConfig } from '../ts/models/config.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { MUON } from '../ts/optim/muon.js';
import { toMarkdown, toText } from '../ts/report/table.js';
import { BATCH_TOKENS, PIECES } from './recipe_pieces.js';

const { values: flags } = parseArgs({
  options: {
    corpora: { type: 'string' },
    out: { type: 'string', default: 'runs/recipe' },
    tokens: { type: 'string', default: '4M' },
    seeds: { type: 'string', default: '1,2' },
    pieces: { type: 'string' },
    processes: { type: 'string', default: '1' },
    /** Set for the processes that this one starts. */
    worker: { type: 'boolean', default: false },
    commit: { type: 'boolean' },
  },
});
if (flags.corpora === undefined) throw new Error('give --corpora <folder>');
const { corpora } = flags;
const tokens = count('--tokens')(flags.tokens);
const seeds = flags.seeds.split(',').map(Number);
const processes = count('--processes')(flags.processes);
const asked = flags.pieces?.split(';') ?? Object.keys(PIECES);
for (const piece of asked) if (PIECES[piece] === undefined) throw new Error(`there is no piece "${piece}"`);
/** With what they are compared with. */
const pieces = [...new Set(asked.flatMap((piece) => [PIECES[piece]!.against ?? piece, piece]))];
const MODEL = { hiddenSize: 64, layers: 4, heads: 4, contextLength: 256 };
const VOCABULARY = 2048;
const TEST_TOKENS = 200_000;

const out = path.resolve(flags.out);
const backend = openBackend({ threads: Math.max(1, Math.floor(availableParallelism() / processes)) });
const progress = new ProgressLine(!flags.worker);
const abort = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => abort.abort());
// The channel closes when the process that started this one ends, however it does.
process.once('disconnect', () => abort.abort());
mkdirSync(out, { recursive: true });
const children = flags.worker
  ? []
  : Array.from({ length: processes - 1 }, () =>
      fork(fileURLToPath(import.meta.url), [...process.argv.slice(2), '--worker']),
    );

/** A piece of work that is done when `file` is there. */
interface Task {
  readonly file: string;
  readonly run: () => Promise<void>;
}

/** The lock of a task; undefined when another process has it. */
function take({ file }: Task): FolderLock | undefined {
  const folder = path.join(out, 'locks', path.basename(file));
  mkdirSync(folder, { recursive: true });
  try {
    return FolderLock.acquire(folder);
  } catch (error) {
    if ((error as SweetspotError).code === 'SWEETSPOT_LOCKED') return undefined;
    throw error;
  }
}

/** Does what no other process does, until all is done. What a process leaves that dies, another takes. */
async function share(tasks: readonly Task[]): Promise<void> {
  for (;;) {
    for (const task of tasks) {
      if (existsSync(task.file)) continue;
      using lock = take(task);
      if (lock !== undefined && !existsSync(task.file)) await task.run();
    }
    if (tasks.every(({ file }) => existsSync(file))) return;
    await setTimeout(500, undefined, { signal: abort.signal });
  }
}

const corpus = path.join(out, 'corpus');
await share([
  {
    file: corpus,
    run: async () => {
      const input = ['generic.jsonl.gz', 'generic.nearby.jsonl.gz']
        .map((name) => path.join(corpora, name))
        .filter((file) => existsSync(file));
      await buildCorpus({ input, out: corpus, vocabSize: VOCABULARY, trainBytes: 20e6, signal: abort.signal });
    },
  },
]);

interface Cell {
  readonly piece: string;
  readonly seed: number;
  readonly tokens: number;
  readonly flops: number;
  readonly seconds: number;
  readonly nll: number;
}

/** Batch by which FLOPs are compared: one that is larger or smaller then has the tokens of its base. */
const batch = BATCH_TOKENS / MODEL.contextLength;
const budget = stepsFlops({ model: transformerConfig({ ...MODEL, vocabSize: VOCABULARY }), muon: null, batch }, tokens);

async function measure(piece: string, seed: number, folder: string): Promise<Cell> {
  const { given } = PIECES[piece]!;
  const model = transformerConfig({ ...MODEL, ...given.model, vocabSize: VOCABULARY });
  const muon = given.muon == null ? null : { ...MUON, ...given.muon };
  const thousand = 1000 * BATCH_TOKENS;
  const cost = stepsFlops({ model, muon, batch }, thousand) / thousand;
  if (!existsSync(path.join(folder, 'result.json'))) {
    await pretrain({
      backend,
      method: 'slm',
      corpus,
      out: folder,
      seed,
      batchTokens: BATCH_TOKENS,
      ...given,
      model: { ...MODEL, ...given.model },
      tokens: budget / cost,
      onProgress: (p) => progress.update({ ...p, stage: `${piece} ${seed}` }),
      signal: abort.signal,
    });
  }
  const run = openRun(folder);
  const values = stageWeights(run, 'main', transformerParameters(run.config.model));
  const text = await domainCorpus(path.join(corpora, 'generic.valid.jsonl.gz'), run.tokenizer, {
    maxTokens: TEST_TOKENS,
  });
  const { nll } = await evaluateValues(backend, run, values, text);
  const { flops, seconds } = run.result;
  return { piece, seed, tokens: run.result.tokens, flops, seconds, nll };
}

const tasks = seeds.flatMap((seed) =>
  pieces.map((piece): Task => {
    const folder = path.join(out, `${piece.replaceAll(/[^a-z0-9]+/g, '-')}-${seed}-${tokens}`);
    const file = `${folder}.json`;
    return { file, run: async () => writeFileAtomic(file, JSON.stringify(await measure(piece, seed, folder))) };
  }),
);
await share(tasks);
progress.stop();
await backend.close();
if (flags.worker) {
  process.disconnect();
  process.exit();
}
// Their cells are done: what is left to them is to see it.
await Promise.all(children.filter((one) => (one.exitCode ?? one.signalCode) === null).map((one) => once(one, 'exit')));

const cells = tasks.map(({ file }) => JSON.parse(readFileSync(file, 'utf8')) as Cell);

const of = (piece: string) => cells.filter((cell) => cell.piece === piece);
const rows = Object.entries(PIECES)
  .filter(([piece]) => of(piece).length > 0)
  .map(([piece, { against }]) => {
    const mine = of(piece);
    const gains = mine.flatMap(({ seed, nll }) => {
      const other = against === undefined ? undefined : of(against).find((cell) => cell.seed === seed);
      return other === undefined ? [] : [`${(100 * (Math.exp(nll - other.nll) - 1)).toFixed(1)}%`];
    });
    return [
      piece,
      mine.map(({ nll }) => Math.exp(nll).toFixed(2)).join(', '),
      mine[0]!.tokens.toExponential(2),
      mine[0]!.flops.toExponential(2),
      mine.map(({ seconds }) => seconds.toFixed(0)).join(', '),
      against ?? '',
      gains.join(', '),
    ];
  });
const head = ['piece', 'held-out perplexity', 'tokens', 'FLOPs', 'seconds', 'against', 'change of perplexity'];
console.log(toText({ head, rows }));
if (flags.commit === true) {
  const folder = path.join(packageRoot(), 'bench', 'results');
  const title = `# What pieces of the recipe are worth\n\nMade by \`bench/recipe.ts\`: width 64, 4 layers, vocabulary 2,048, the small model alone, equal training FLOPs; one figure a seed. Seconds are of runs that had other work beside them: compare FLOPs.\n`;
  writeFileAtomic(path.join(folder, 'recipe.md'), `${title}\n${toMarkdown({ head, rows })}\n`);
  writeFileAtomic(
    path.join(folder, 'recipe.json'),
    `${JSON.stringify({ model: MODEL, vocabulary: VOCABULARY, tokens, cells }, null, 1)}\n`,
  );
}
