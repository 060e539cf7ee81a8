// What each piece of the training recipe is worth by itself: the small model pretrained with and without it at equal training
// FLOPs, held-out generic text, two seeds. What helps enters a preset (ts/methods/presets.ts).
//   node dist/bench/recipe.js --corpora <folder> --out <folder> [--tokens 4M] [--seeds 1,2] [--pieces adamw,muon] [--commit]
// <folder> holds generic*.jsonl.gz and generic.valid.jsonl.gz; finished runs in --out are not repeated.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../bindings/load.js';
import { openBackend } from '../ts/backend/index.js';
import { count } from '../ts/cli/numbers.js';
import { ProgressLine } from '../ts/cli/progress.js';
import { buildCorpus, domainCorpus } from '../ts/data/corpus.js';
import { writeFileAtomic } from '../ts/io/atomic.js';
import { evaluateValues } from '../ts/methods/choose.js';
import { stageWeights, stepsFlops } from '../ts/methods/context.js';
import { type PretrainOptions, pretrain } from '../ts/methods/pretrain.js';
import { openRun } from '../ts/methods/run.js';
import { transformerConfig } from '../ts/models/config.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { MUON } from '../ts/optim/muon.js';
import { toMarkdown, toText } from '../ts/report/table.js';

const { values: flags } = parseArgs({
  options: {
    corpora: { type: 'string' },
    out: { type: 'string', default: 'runs/recipe' },
    tokens: { type: 'string', default: '4M' },
    seeds: { type: 'string', default: '1,2' },
    pieces: { type: 'string' },
    commit: { type: 'boolean' },
  },
});
if (flags.corpora === undefined) throw new Error('give --corpora <folder>');
const tokens = count('--tokens')(flags.tokens);
const seeds = flags.seeds.split(',').map(Number);
const MODEL = { hiddenSize: 64, layers: 4, heads: 4, contextLength: 256 };
const VOCABULARY = 2048;
const TEST_TOKENS = 200_000;

type Piece = Pick<PretrainOptions, 'muon' | 'schedule' | 'zeroOutputs' | 'learningRate' | 'adamw' | 'model'>;

/** Each is compared with `against`. */
const RATE = 0.008;
const muon4: Piece = { muon: {}, learningRate: 4 * RATE };
const PIECES: Readonly<Record<string, { readonly against?: string; readonly given: Piece }>> = {
  adamw: { given: {} },
  'adamw, twice the rate': { against: 'adamw', given: { learningRate: 2 * RATE } },
  'adamw, four times the rate': { against: 'adamw', given: { learningRate: 4 * RATE } },
  muon: { against: 'adamw', given: { muon: {} } },
  'muon, twice the rate': { against: 'adamw, twice the rate', given: { muon: {}, learningRate: 2 * RATE } },
  'muon, four times the rate': { against: 'adamw, twice the rate', given: muon4 },
  'muon, eight times the rate': { against: 'adamw, twice the rate', given: { muon: {}, learningRate: 8 * RATE } },
  'the same, zero outputs': { against: 'muon, four times the rate', given: { ...muon4, zeroOutputs: true } },
  'the same, qk-norm': { against: 'muon, four times the rate', given: { ...muon4, model: { qkNorm: true } } },
  'the same, wsd': { against: 'muon, four times the rate', given: { ...muon4, schedule: 'wsd' } },
  'the same, untied': { against: 'muon, four times the rate', given: { ...muon4, model: { tieEmbeddings: false } } },
  'the same, no decay': { against: 'muon, four times the rate', given: { ...muon4, adamw: { weightDecay: 0 } } },
};

const out = path.resolve(flags.out);
const backend = openBackend();
const progress = new ProgressLine(true);
const abort = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => abort.abort());
mkdirSync(out, { recursive: true });
const corpus = path.join(out, 'corpus');
if (!existsSync(corpus)) {
  const input = ['generic.jsonl.gz', 'generic.nearby.jsonl.gz']
    .map((name) => path.join(flags.corpora!, name))
    .filter((file) => existsSync(file));
  await buildCorpus({ input, out: corpus, vocabSize: VOCABULARY, trainBytes: 20e6, signal: abort.signal });
}

const budget = stepsFlops(
  { model: transformerConfig({ ...MODEL, vocabSize: VOCABULARY }), muon: null, batch: 16 },
  tokens,
);
interface Cell {
  readonly piece: string;
  readonly seed: number;
  readonly tokens: number;
  readonly flops: number;
  readonly seconds: number;
  readonly nll: number;
}
const cells: Cell[] = [];
for (const seed of seeds) {
  for (const piece of flags.pieces?.split(';') ?? Object.keys(PIECES)) {
    const { given } = PIECES[piece]!;
    const folder = path.join(out, `${piece.replaceAll(/[^a-z]+/g, '-')}-${seed}-${tokens}`);
    const file = `${folder}.json`;
    if (!existsSync(file)) {
      const model = transformerConfig({ ...MODEL, ...given.model, vocabSize: VOCABULARY });
      const muon = given.muon == null ? null : { ...MUON, ...given.muon };
      const cost = stepsFlops({ model, muon, batch: 16 }, 4096 * 1000) / (4096 * 1000);
      const common = { backend, method: 'slm', corpus, out: folder, seed, batchTokens: 4096 } as const;
      if (!existsSync(path.join(folder, 'result.json'))) {
        await pretrain({
          ...common,
          ...given,
          model: { ...MODEL, ...given.model },
          tokens: budget / cost,
          onProgress: (p) => progress.update({ ...p, stage: `${piece} ${seed}` }),
          signal: abort.signal,
        });
      }
      const run = openRun(folder);
      const values = stageWeights(run, 'main', transformerParameters(run.config.model));
      const valid = path.join(flags.corpora, 'generic.valid.jsonl.gz');
      const text = await domainCorpus(valid, run.tokenizer, { maxTokens: TEST_TOKENS });
      const { nll } = await evaluateValues(backend, run, values, text);
      const { tokens, flops, seconds } = run.result;
      writeFileAtomic(file, JSON.stringify({ piece, seed, tokens, flops, seconds, nll } satisfies Cell));
    }
    cells.push(JSON.parse(readFileSync(file, 'utf8')) as Cell);
  }
}
progress.stop();
await backend.close();

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
  const title = `# What pieces of the recipe are worth\n\nMade by \`bench/recipe.ts\`: width 64, 4 layers, vocabulary 2,048, the small model alone, equal training FLOPs; one figure a seed.\n`;
  writeFileAtomic(path.join(folder, 'recipe.md'), `${title}\n${toMarkdown({ head, rows })}\n`);
  writeFileAtomic(
    path.join(folder, 'recipe.json'),
    `${JSON.stringify({ model: MODEL, vocabulary: VOCABULARY, tokens, cells }, null, 1)}\n`,
  );
}
