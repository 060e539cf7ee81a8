// Whole training steps on the CPU backend: they learn, and their results do not depend on threads or on being replayed.
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { bankConfig } from '../../ts/models/config.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { Prng } from '../../ts/tensor/prng.js';
import { LAYOUTS, smallConfig } from '../support/models.js';
import { type TestBatch, TestStep } from '../support/train_step.js';

const V = 61;

function batchOf(batch: number, time: number, seed: string): TestBatch {
  const random = new Prng(seed);
  const row = () => Int32Array.from({ length: batch * time }, () => random.int(V));
  return { batch, time, tokens: row(), targets: row() };
}

const bank = bankConfig(smallConfig(V), { slices: 4, experts: 4 });
const groups = { clusters: Int32Array.of(1, 3), offsets: Int32Array.of(0, 12, 48) };
const plain = { ...ADAMW, weightDecay: 0 };
const cases = [
  ...Object.entries(LAYOUTS).map(([name, given]) => ({ name, given, bank: undefined })),
  { name: 'bank', given: {}, bank },
  { name: 'bank of low rank', given: {}, bank: { ...bank, sliceRank: 2 } },
  { name: 'bank in bf16', given: {}, bank: { ...bank, sliceType: 'bf16' as const } },
];

for (const { name, given, bank: used } of cases) {
  test(`one batch is learnt by heart: ${name}`, async (t) => {
    const backend = openBackend();
    const batch = { ...batchOf(4, 12, 'by heart'), ...(used === undefined ? {} : groups) };
    const options = { optimizer: plain, ...(used === undefined ? {} : { bank: used }) };
    const step = new TestStep(backend, smallConfig(V, given), batch, options);
    step.parameters.initialize(7);
    step.run(0);
    const first = await step.readLoss();
    t.true(Math.abs(first - Math.log(V)) < 0.8, `starts near the uniform guess: ${first}`);
    for (let i = 0; i < 150; i++) step.run(0.01);
    const last = await step.readLoss();
    t.true(last < 0.02, `ends at ${last}`);
    step.dispose();
    await backend.fence();
    t.is(backend.allocated(), 0);
    await backend.close();
  });
}

async function losses(
  threads: number,
  steps: number,
): Promise<{ losses: Float64Array; values: Map<string, Float32Array> }> {
  const backend = openBackend({ threads });
  const config = smallConfig(V, { hiddenSize: 64, intermediateSize: 112, heads: 4, contextLength: 48 });
  const step = new TestStep(backend, config, batchOf(6, 48, 'threads'), { optimizer: ADAMW });
  step.parameters.initialize(1);
  const result = new Float64Array(steps);
  for (let i = 0; i < steps; i++) {
    step.run(0.003);
    result[i] = await step.readLoss();
  }
  const values = await step.parameters.readAll();
  step.dispose();
  await backend.close();
  return { losses: result, values };
}

test('twenty steps with one thread equal those with two and three, bit for bit', async (t) => {
  const one = await losses(1, 20);
  for (const threads of [2, 3]) t.deepEqual(await losses(threads, 20), one, `${threads} threads`);
  t.true(one.losses[19]! < one.losses[0]!);
});

test('a replay equals the first run, bit for bit', async (t) => {
  const backend = openBackend();
  const step = new TestStep(backend, smallConfig(V, LAYOUTS['qwen3, untied']!), batchOf(3, 17, 'replay'));
  step.parameters.initialize(2);
  step.run();
  const first = { loss: await step.readLoss(), gradients: await step.gradients() };
  for (let i = 0; i < 3; i++) step.run();
  t.deepEqual({ loss: await step.readLoss(), gradients: await step.gradients() }, first);
  step.dispose();
  await backend.close();
});

test('targets of -1 take no part: they add nothing to loss or gradient', async (t) => {
  const backend = openBackend();
  const config = smallConfig(V);
  const full = batchOf(2, 8, 'padding');
  // A third window of nothing but padding.
  const pad = (values: Int32Array, filler: number) => Int32Array.from({ length: 24 }, (_, i) => values[i] ?? filler);
  const padded = { batch: 3, time: 8, tokens: pad(full.tokens, 5), targets: pad(full.targets, -1) };
  const results = [];
  for (const batch of [full, padded]) {
    const step = new TestStep(backend, config, batch);
    step.parameters.initialize(3);
    step.run();
    results.push({ loss: await step.readLoss(), gradients: await step.gradients() });
    step.dispose();
  }
  t.true(Math.abs(results[0]!.loss - results[1]!.loss) < 1e-6);
  for (const [name, gradient] of results[0]!.gradients) {
    const other = results[1]!.gradients.get(name)!;
    const largest = Math.max(...gradient.map((value, i) => Math.abs(value - other[i]!)));
    t.true(largest < 1e-6, `${name} differs by ${largest}`);
  }
  await backend.close();
});
