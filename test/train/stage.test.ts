// Whole stages: interrupted and resumed at any step they give the same bits; memory stays where it was.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { type Backend, openBackend } from '../../ts/backend/index.js';
import { Corpus } from '../../ts/data/corpus.js';
import { Sampler } from '../../ts/data/sampler.js';
import { cutWindows } from '../../ts/data/windows.js';
import { bankParameters } from '../../ts/models/bank.js';
import { bankConfig } from '../../ts/models/config.js';
import { ParameterSet, SLICE_TYPES, type SliceType } from '../../ts/nn/parameters.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { Prng } from '../../ts/tensor/prng.js';
import { runStage } from '../../ts/train/stage.js';
import { smallConfig, smallTokenizer, TEXTS } from '../support/models.js';

const STEPS = 24;

async function setUp(backend: Backend, slices: { sliceType?: SliceType; sliceRank?: number } = {}) {
  const tokenizer = await smallTokenizer();
  const config = smallConfig(tokenizer.vocabSize);
  const bank = bankConfig(config, { experts: 3, slices: 2, ...slices });
  const corpus = Corpus.fromTexts(TEXTS, tokenizer);
  const windows = cutWindows(corpus, config.contextLength);
  const clusters = Int32Array.from({ length: windows.count }, (_, i) => windows.document[i]! % 3);
  /** Runs the stage to its end or until `stopAt` steps are done; the parameters' bytes, or undefined when stopped. */
  const run = async (folder: string | undefined, stopAt = Number.POSITIVE_INFINITY, steps = STEPS) => {
    const parameters = new ParameterSet(backend, bankParameters(config, bank), { trainable: true });
    parameters.initialize(1);
    const abort = new AbortController();
    const losses: number[] = [];
    try {
      const result = await runStage(backend, {
        stage: 'main',
        model: { config, bank, parameters },
        sampler: new Sampler({ corpus, windows, clusters, batch: 4, contextLength: config.contextLength, seed: 3 }),
        shape: { batch: 4, time: config.contextLength, seed: 5 },
        steps,
        adamw: ADAMW,
        schedule: { shape: 'cosine', peak: 0.01, warmup: 3, floor: 0.1 },
        folder,
        signal: abort.signal,
        onProgress: ({ done, loss }) => {
          losses.push(loss!);
          if (done / (4 * config.contextLength) >= stopAt) abort.abort();
        },
      });
      return { values: await parameters.readAll(), loss: result.loss, losses };
    } catch (error) {
      if ((error as { code?: string }).code !== 'SWEETSPOT_ABORTED') throw error;
      return undefined;
    } finally {
      parameters.dispose();
    }
  };
  return { run };
}

const folder = () => {
  const path_ = mkdtempSync(path.join(tmpdir(), 'sweetspot-stage-'));
  mkdirSync(path.join(path_, 'checkpoints'));
  return path_;
};

for (const slices of [...SLICE_TYPES.map((sliceType) => ({ sliceType })), { sliceRank: 3 }]) {
  const name = `slices ${Object.entries(slices)}`;
  test(`interrupted at random steps and resumed, a stage gives the same bits and the same loss, ${name}`, async (t) => {
    const backend = openBackend();
    const { run } = await setUp(backend, slices);
    const whole = (await run(undefined))!;
    const random = new Prng('interrupt');
    for (let trial = 0; trial < 3; trial++) {
      const place = folder();
      const stop = 1 + random.int(STEPS - 3);
      t.is(await run(place, stop), undefined);
      const resumed = (await run(place))!;
      t.deepEqual(resumed.values, whole.values, `stopped after step ${stop}`);
      t.is(resumed.loss, whole.loss);
      rmSync(place, { recursive: true });
    }
    await backend.close();
  });

  test(`the loss text is the same with 1 and 2 threads, ${name}`, async (t) => {
    const texts: string[] = [];
    for (const threads of [1, 2]) {
      const backend = openBackend({ threads });
      const { run } = await setUp(backend, slices);
      texts.push((await run(undefined))!.losses.join('\n'));
      await backend.close();
    }
    t.is(texts[0], texts[1]);
  });
}

// Serial: what other tests of this file hold must not count.
test.serial('buffers are where they were after a stage, and 1,000 steps leave memory flat', async (t) => {
  const backend = openBackend();
  const { run } = await setUp(backend);
  // As long as what is measured: the heap of JavaScript has its working size then.
  await run(undefined, undefined, 1000);
  t.is(backend.allocated(), 0);
  const before = process.memoryUsage().rss;
  await run(undefined, undefined, 1000);
  t.is(backend.allocated(), 0);
  const growth = process.memoryUsage().rss / before - 1;
  // bench/health.ts measures the 2% of the promise in a process of its own; this catches a leak of a few kB a step.
  t.true(growth < 0.05, `resident size grew by ${(100 * growth).toFixed(1)}%`);
  await backend.close();
});
