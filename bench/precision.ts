// Does bf16 cost quality? The same model on the same batches in fp32 and in bf16, for each seed: loss curves, held-out
// perplexity, seconds. Needs a processor with bf16 instructions to be fast, none to be right.
//   node dist/bench/precision.js [--text file.jsonl --heldout file.jsonl] [--tokens 3000000] [--seeds 2] [--out folder]
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import * as echarts from 'echarts';
import { openBackend } from '../ts/backend/index.js';
import { buildCorpus, domainCorpus } from '../ts/data/corpus.js';
import { Tokenizer } from '../ts/data/tokenizer.js';
import { evaluateValues } from '../ts/methods/choose.js';
import { pretrain } from '../ts/methods/pretrain.js';
import { openRun } from '../ts/methods/run.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { loadWeights } from '../ts/train/checkpoint.js';
import { PRECISIONS } from '../ts/train/precision.js';
import { demoTexts } from './demo/texts.js';

const { values: flags } = parseArgs({
  options: {
    text: { type: 'string' },
    heldout: { type: 'string' },
    tokens: { type: 'string', default: '3000000' },
    seeds: { type: 'string', default: '2' },
    width: { type: 'string', default: '64' },
    out: { type: 'string' },
  },
});
const folder = mkdtempSync(path.join(tmpdir(), 'sweetspot-precision-'));
const width = Number(flags.width);
const backend = openBackend();
try {
  let [text, heldout] = [flags.text, flags.heldout];
  if (text === undefined || heldout === undefined) {
    const jsonl = (documents: readonly string[]) => documents.map((t) => `${JSON.stringify({ text: t })}\n`).join('');
    const { generic } = demoTexts();
    text = path.join(folder, 'text.jsonl');
    heldout = path.join(folder, 'heldout.jsonl');
    writeFileSync(text, jsonl(generic.filter((_, i) => i % 20 !== 0)));
    writeFileSync(heldout, jsonl(generic.filter((_, i) => i % 20 === 0)));
  }
  const corpus = path.join(folder, 'corpus');
  await buildCorpus({ input: text, out: corpus, vocabSize: 2048 });
  const tokenizer = Tokenizer.load(path.join(corpus, 'tokenizer.json'));
  const test = await domainCorpus(heldout, tokenizer, {});
  const runs = [];
  for (let seed = 0; seed < Number(flags.seeds); seed++) {
    for (const precision of PRECISIONS) {
      const out = path.join(folder, `${precision}-${seed}`);
      const result = await pretrain({
        backend,
        method: 'slm',
        corpus,
        out,
        tokens: Number(flags.tokens),
        model: { hiddenSize: width, heads: width / 16 },
        precision,
        seed,
      });
      const run = openRun(out);
      const values = loadWeights(
        path.join(out, 'weights', 'main.safetensors'),
        transformerParameters(run.config.model),
      );
      const { perplexity } = await evaluateValues(backend, run, values, test);
      const lines = readFileSync(path.join(out, 'metrics.jsonl'), 'utf8').trim().split('\n');
      const losses = lines.map((line) => (JSON.parse(line) as { loss: number }).loss);
      // Means of 20 steps: a curve one can look at.
      const curve = Array.from({ length: Math.floor(losses.length / 20) }, (_, i) =>
        Number((losses.slice(20 * i, 20 * i + 20).reduce((a, b) => a + b, 0) / 20).toFixed(4)),
      );
      runs.push({ precision, seed, seconds: result.seconds, loss: result.loss, perplexity, curve });
      console.log(
        `${precision} seed ${seed}: loss ${result.loss.toFixed(4)}, held-out perplexity ${perplexity.toFixed(2)}, ${result.seconds.toFixed(1)} s`,
      );
    }
  }
  if (flags.out !== undefined) {
    mkdirSync(flags.out, { recursive: true });
    const { isa, threads } = backend.capabilities;
    const report = { isa, threads, width, tokens: Number(flags.tokens), batchTokens: 4096, runs };
    writeFileSync(path.join(flags.out, 'precision.json'), `${JSON.stringify(report)}\n`);
    const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 760, height: 440 });
    chart.setOption({
      animation: false,
      backgroundColor: '#fff',
      title: { text: 'fp32 and bf16 on the same batches', left: 'center' },
      legend: { top: 'bottom' },
      grid: { left: 60, right: 30, top: 50, bottom: 80 },
      xAxis: { type: 'value', name: 'million tokens', nameLocation: 'middle', nameGap: 28 },
      yAxis: { type: 'value', name: 'training loss, mean of 20 steps', scale: true },
      series: runs.map(({ precision, seed, curve }) => ({
        name: `${precision}, seed ${seed}`,
        type: 'line',
        symbol: 'none',
        color: precision === 'fp32' ? '#3b6fb6' : '#d1622b',
        lineStyle: { width: 1.5, type: seed % 2 === 0 ? 'solid' : 'dashed' },
        data: curve.map((loss, i) => [((i + 0.5) * 20 * 4096) / 1e6, loss]),
      })),
    });
    writeFileSync(path.join(flags.out, 'precision.svg'), chart.renderToSVGString());
    chart.dispose();
  }
} finally {
  await backend.close();
  rmSync(folder, { recursive: true, force: true });
}
