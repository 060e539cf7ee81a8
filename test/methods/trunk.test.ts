// A bank that grows from a trained model: it starts as the trunk ends, both stages are one schedule, and either may be interrupted.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { clusterCorpus, loadClusters } from '../../ts/data/clusters.js';
import { buildCorpus, Corpus } from '../../ts/data/corpus.js';
import { Sampler } from '../../ts/data/sampler.js';
import { cutWindows } from '../../ts/data/windows.js';
import { stageWeights, stepsFlops } from '../../ts/methods/context.js';
import { type PretrainOptions, pretrain } from '../../ts/methods/pretrain.js';
import { openRun } from '../../ts/methods/run.js';
import { bankStepFlops } from '../../ts/models/cost.js';
import { transformerParameters } from '../../ts/models/transformer.js';
import { ParameterSet } from '../../ts/nn/parameters.js';
import { learningRate } from '../../ts/optim/schedule.js';
import { TrainStep } from '../../ts/train/step.js';
import { documents } from '../support/topics.js';

const STEPS = 30;
const TRUNK = 12;

test('a bank grows from a trunk: same loss, one schedule, same bits after interrupts in both stages', async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-trunk-'));
  const at = (name: string) => path.join(root, name);
  const backend = openBackend();
  writeFileSync(at('generic.jsonl'), ['sea', 'law', 'kitchen'].map((topic) => documents(topic, 40, 1)).join(''));
  await buildCorpus({ input: at('generic.jsonl'), out: at('corpus'), vocabSize: 300 });
  await clusterCorpus(backend, at('corpus'), { clusters: 3, contextLength: 32, dimensions: 8 });
  const call = (out: string, more: Partial<PretrainOptions> = {}) =>
    pretrain({
      backend,
      method: 'projected',
      corpus: at('corpus'),
      out: at(out),
      clusters: 3,
      tokens: STEPS * 512,
      model: { hiddenSize: 32, layers: 2, heads: 2, intermediateSize: 64, contextLength: 32 },
      bank: { slices: 4 },
      batchTokens: 512,
      muon: {},
      schedule: 'wsd',
      precision: 'fp32',
      trunkShare: TRUNK / STEPS,
      ...more,
    });
  const result = await call('whole');
  const run = openRun(at('whole'));
  const { config } = run;
  t.is(result.tokens, STEPS * 512);
  const bankFlops = (STEPS - TRUNK) * bankStepFlops(config.model, config.bank!, 3);
  t.is(result.flops, stepsFlops(config, STEPS * 512) + bankFlops);
  t.true(result.facts['coefficientSpread']! > 0);

  type Line = { stage: string; step: number; loss: number; lr: number };
  const lines = readFileSync(at('whole/metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
  t.deepEqual(
    lines.map(({ stage }) => stage),
    Array.from({ length: STEPS }, (_, i) => (i < TRUNK ? 'trunk' : 'main')),
  );
  lines.forEach(({ lr }, i) => {
    t.is(lr, learningRate(config.schedule, i, STEPS));
  });

  // The first batch of the bank, computed by the trunk.
  using corpus = Corpus.open(at('corpus'));
  const windows = cutWindows(corpus, 32);
  const { ids } = loadClusters(at('corpus'), 3);
  const distribution = Sampler.tokensByCluster(windows, ids, 3);
  const shape = { batch: 16, contextLength: 32, seed: '0/main' };
  const sampler = new Sampler({ corpus, windows, ...shape, clusters: ids, distribution });
  const specs = transformerParameters(config.model);
  const parameters = new ParameterSet(backend, specs, { trainable: true });
  stageWeights(run, 'trunk', specs).forEach((values, name) => {
    parameters.write(name, values);
  });
  const step = new TrainStep(backend, { config: config.model, parameters }, { batch: 16, time: 32 }, config.adamw);
  const { loss } = await step.run(sampler.next(), 0, 1);
  t.true(Math.abs(lines[TRUNK]!.loss / loss - 1) < 1e-5, `bank ${lines[TRUNK]!.loss}, trunk ${loss}`);
  step.dispose();
  parameters.dispose();

  for (const [stage, steps] of [
    ['trunk', 5],
    ['main', 7],
  ] as const) {
    const abort = new AbortController();
    const interrupted = call('parts', {
      signal: abort.signal,
      onProgress: (progress) => {
        if (progress.stage === stage && progress.done >= steps * 512) abort.abort();
      },
    });
    await t.throwsAsync(interrupted, { code: 'SWEETSPOT_ABORTED' });
  }
  t.is((await call('parts')).loss, result.loss);
  const weights = (out: string) => readFileSync(at(`${out}/weights/main.safetensors`));
  t.is(Buffer.compare(weights('whole'), weights('parts')), 0);

  for (const more of [{ bank: { shared: false } }, { trunkShare: 1 }, { from: at('whole'), tokens: 40 * 512 }])
    await t.throwsAsync(call('none', more), { code: 'SWEETSPOT_USAGE' });
  t.is(backend.allocated(), 0);
  await backend.close();
  rmSync(root, { recursive: true });
});
