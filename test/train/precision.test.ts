// Mixed precision: bf16 steps stay close to fp32 ones without being them, give the same bits on any number of threads and on
// every ISA run; the choice is part of a run and is checked.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { listIsas, openBackend, SweetspotError } from '../../ts/backend/index.js';
import { openRun, RunFolder, startedPrecision } from '../../ts/methods/run.js';
import { transformerParameters } from '../../ts/models/transformer.js';
import { ParameterSet } from '../../ts/nn/parameters.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { Prng } from '../../ts/tensor/prng.js';
import { choosePrecision, type Precision } from '../../ts/train/precision.js';
import { TrainStep } from '../../ts/train/step.js';
import { smallConfig } from '../support/models.js';

/** Losses of some steps on one batch, and the words of the step's rows. */
/** Compares instruction sets of the addon. */
const nativeTest = listIsas().length > 0 ? test : test.skip;

async function train(precision: Precision | undefined, threads: number, isa?: string) {
  const backend = openBackend({ backend: isa === undefined ? undefined : 'cpu', threads, isa });
  const config = smallConfig(300);
  const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: true });
  parameters.initialize(1);
  const [B, T] = [6, config.contextLength];
  const step = new TrainStep(backend, { config, parameters }, { batch: B, time: T, precision }, ADAMW);
  const random = new Prng(1);
  const draw = () => Int32Array.from({ length: B * T }, () => random.int(300));
  const batch = {
    tokens: draw(),
    targets: draw(),
    clusters: new Int32Array(B),
    groups: new Int32Array(B),
    count: B * T,
  };
  const losses: number[] = [];
  for (let t = 1; t <= 15; t++) losses.push((await step.run(batch, 0.01, t)).loss);
  step.dispose();
  parameters.dispose();
  await backend.close();
  return losses;
}

test('bf16 follows fp32 and is not fp32', async (t) => {
  const [fp32, bf16] = [await train('fp32', 2), await train('bf16', 2)];
  t.deepEqual(await train(undefined, 2), fp32, 'a step is fp32 unless asked');
  t.notDeepEqual(bf16, fp32);
  t.true(fp32.at(-1)! < 0.9 * fp32[0]!, 'the model learns');
  for (const [i, loss] of bf16.entries()) t.true(Math.abs(loss - fp32[i]!) < 0.02 * fp32[i]!, `step ${i}`);
});

test('bf16: the same bits with 1, 2 and 3 threads', async (t) => {
  const one = await train('bf16', 1);
  for (const threads of [2, 3]) t.deepEqual(await train('bf16', threads), one);
});

nativeTest('bf16 without instructions for it agrees too', async (t) => {
  const [fast, plain] = [await train('bf16', 2), await train('bf16', 2, 'scalar')];
  for (const [i, loss] of plain.entries()) t.true(Math.abs(loss - fast[i]!) < 0.01 * loss, `step ${i}`);
});

nativeTest('the default is what the machine is fast at; other words are refused', async (t) => {
  for (const isa of ['scalar', undefined]) {
    const backend = openBackend({ backend: 'cpu', isa });
    t.is(choosePrecision(backend), backend.capabilities.isa === 'avx512_bf16' ? 'bf16' : 'fp32');
    t.is(choosePrecision(backend, 'fp32'), 'fp32');
    const error = t.throws(() => choosePrecision(backend, 'fp8' as Precision), { instanceOf: SweetspotError });
    t.is(error?.code, 'SWEETSPOT_USAGE');
    await backend.close();
  }
});

test('a run keeps to its precision; runs that did not write it down were fp32', (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'sweetspot-precision-'));
  const run = path.join(folder, 'run');
  mkdirSync(run);
  writeFileSync(path.join(run, 'config.json'), JSON.stringify({ format: 'sweetspot-run', version: 1 }));
  t.is(startedPrecision(run), 'fp32');
  t.is(startedPrecision(path.join(folder, 'none')), undefined);
  const asked = { format: 'sweetspot-run', version: 1 } as const;
  const error = t.throws(() => RunFolder.take(run, { ...asked, precision: 'bf16' } as never), {
    instanceOf: SweetspotError,
    message: /precision/,
  });
  t.is(error?.code, 'SWEETSPOT_MISMATCH');
  RunFolder.take(run, { ...asked, precision: 'fp32' } as never)[Symbol.dispose]();
  t.throws(() => openRun(run), { message: /not finished/ });

  // The same of slices: banks from before there was a choice are f32.
  const bank = { slices: 3, experts: 2 };
  const path_ = path.join(folder, 'bank');
  mkdirSync(path_);
  writeFileSync(path.join(path_, 'config.json'), JSON.stringify({ ...asked, bank }));
  const take = (sliceType: string) =>
    RunFolder.take(path_, { ...asked, precision: 'fp32', bank: { ...bank, sliceType } } as never);
  t.throws(() => take('bf16'), { code: 'SWEETSPOT_MISMATCH', message: /bank.sliceType/ });
  take('f32')[Symbol.dispose]();

  // And of models: logits were not capped.
  const third = path.join(folder, 'model');
  mkdirSync(third);
  writeFileSync(path.join(third, 'config.json'), JSON.stringify({ ...asked, model: { layers: 1 } }));
  const takeModel = (logitCap: number) =>
    RunFolder.take(third, { ...asked, precision: 'fp32', model: { layers: 1, logitCap } } as never);
  t.throws(() => takeModel(30), { code: 'SWEETSPOT_MISMATCH', message: /model.logitCap/ });
  takeModel(0)[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});
