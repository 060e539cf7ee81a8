// Training steps: tokens a second and peak memory, ours and PyTorch's, each model in a process of its own and all of them
// alive together, taking turns. For a bank also its time over that of the plain model.
import { fileURLToPath } from 'node:url';
import { bankConfig, transformerConfig } from '../ts/models/config.js';
import { bankStepFlops, trainingFlops } from '../ts/models/cost.js';
import { PRECISIONS, type Precision } from '../ts/train/precision.js';
import { type BenchCase, backendName, type Context } from './context.js';
import { interleave, type Measured } from './measure.js';
import { described, PeerProcess } from './peers.js';
import type { Result } from './result.js';
import { better, type Reading } from './roof.js';
import { BANK_SIZES, type BankSize, STEP_SIZES, type StepArguments, type StepSize } from './step_sizes.js';

interface Model {
  readonly label: string;
  readonly peer: string | null;
  readonly backend: string;
  readonly process: PeerProcess;
  peakBytes: number;
}

const CHILD = fileURLToPath(new URL('./step_child.js', import.meta.url));
const dense = { slices: 0, experts: 1, groups: 1 };

async function openOurs(context: Context, given: StepArguments, label: string): Promise<Model> {
  const { isa, threads } = context.backend.capabilities;
  const process_ = new PeerProcess(process.execPath, [CHILD, JSON.stringify({ ...given, isa, threads })], process.env);
  await process_.hello;
  return { label, peer: null, backend: backendName(context.backend), process: process_, peakBytes: 0 };
}

async function openTorch(context: Context, given: StepArguments, label: string): Promise<Model | undefined> {
  const peer = await context.peers.torchStep(given);
  if (peer === undefined) return undefined;
  const setting = given.compile === 1 ? 'compiled' : 'eager';
  const backend = `torch ${described(await peer.hello)} ${setting}`;
  return { label, peer: given.compile === 1 ? 'torch compiled' : 'torch', backend, process: peer, peakBytes: 0 };
}

/** A turn of quick steps lasts about this long; of slow ones it is a single step. */
const TURN_SECONDS = 1;
const TURN_STEPS = 64;

/** Seconds of a step of every model, in turns; the roofs around them. */
async function timed(context: Context, name: string, models: readonly Model[]) {
  const samples: number[] = [];
  for (const model of models) samples.push(await warmUp(model));
  const contenders = models.map((model, i) => ({
    name: model.label,
    turn: async () => {
      const answer = await model.process.ask({ samples: samples[i] });
      model.peakBytes = answer.peakBytes ?? 0;
      // The first quarter finds cold caches, and threads of the one before that still spin.
      return samples[i]! > 1 ? answer.seconds.slice(Math.ceil(answer.seconds.length / 4)) : answer.seconds;
    },
  }));
  const before = await context.meter.measure();
  const measured = await interleave(name, contenders, context.rounds);
  return { measured, roof: better(before, await context.meter.measure()) };
}

/** How many steps make a turn. The first steps touch new memory and, when compiling, take a minute; a failure shows later. */
async function warmUp(model: Model): Promise<number> {
  try {
    let [seconds] = (await model.process.ask({ samples: 1 })).seconds;
    if (seconds! < 3 || model.peer === 'torch compiled')
      [, seconds] = (await model.process.ask({ samples: 2 })).seconds;
    return Math.max(1, Math.min(TURN_STEPS, Math.floor(TURN_SECONDS / seconds!)));
  } catch {
    return 1;
  }
}

function stepRows(
  context: Context,
  name: string,
  given: StepArguments,
  flops: number,
  model: Model,
  measured: Measured,
  roof: Reading,
): Result[] {
  if (measured.failure !== undefined) {
    context.skip(`${name}, ${model.label}`, measured.failure);
    return [];
  }
  const peak = given.dtype === 'bf16' ? roof.bf16 : roof.fp32;
  const tokens = given.batch * given.time;
  const row = {
    op: 'train_step',
    shape: name.replace(/^\S+ /, ''),
    dtype: given.dtype,
    threads: context.backend.capabilities.threads,
    backend: model.backend,
    peer: model.peer,
  };
  return [
    {
      ...row,
      name,
      value: tokens / measured.median,
      unit: 'tokens/s',
      shareOfRoof: peak === null ? null : flops / 1e9 / peak / measured.median,
      spread: measured.spread,
    },
    {
      ...row,
      name: `${name} peak memory`,
      op: 'train_step_memory',
      value: model.peakBytes / 2 ** 20,
      unit: 'MB',
      shareOfRoof: null,
      spread: 0,
    },
  ];
}

const configOf = (given: StepArguments) =>
  transformerConfig({
    vocabSize: given.vocab,
    hiddenSize: given.width,
    intermediateSize: given.inner,
    layers: given.layers,
    heads: given.heads,
    contextLength: given.time,
  });

async function runDense(context: Context, name: string, size: StepSize, dtype: Precision): Promise<Result[]> {
  const given: StepArguments = { ...size.sizes, ...dense, dtype, threads: context.backend.capabilities.threads };
  const models = [
    await openOurs(context, given, 'sweetspot'),
    await openTorch(context, given, 'torch'),
    size.compiled && !context.quick ? await openTorch(context, { ...given, compile: 1 }, 'torch compiled') : undefined,
  ].filter((model) => model !== undefined);
  try {
    const { measured, roof } = await timed(context, name, models);
    const flops = trainingFlops(configOf(given), given.batch * given.time);
    return models.flatMap((model, i) => stepRows(context, name, given, flops, model, measured[i]!, roof));
  } finally {
    for (const model of models) model.process.close();
  }
}

async function runBank(context: Context, name: string, size: BankSize, dtype: Precision): Promise<Result[]> {
  const { slices, experts, groups, sliceType } = size;
  const plain: StepArguments = { ...size.sizes, ...dense, dtype, threads: context.backend.capabilities.threads };
  const bank: StepArguments = { ...plain, slices, experts, groups, ...(sliceType === undefined ? {} : { sliceType }) };
  const models = [
    await openOurs(context, bank, 'bank'),
    await openOurs(context, plain, 'plain'),
    context.quick ? undefined : await openTorch(context, bank, 'torch bank'),
    context.quick ? undefined : await openTorch(context, plain, 'torch plain'),
  ].filter((model) => model !== undefined);
  try {
    const { measured, roof } = await timed(context, name, models);
    const config = configOf(bank);
    const flops =
      trainingFlops(config, bank.batch * bank.time) +
      bankStepFlops(config, bankConfig(config, { slices, experts }), groups);
    return [0, 2].flatMap((i): Result[] => {
      const [model, over, under] = [models[i], measured[i], measured[i + 1]];
      if (model === undefined || over === undefined || under === undefined) return [];
      const rows = stepRows(context, name, bank, flops, model, over, roof);
      if (rows.length === 0 || under.failure !== undefined) return rows;
      const ratio: Result = {
        ...rows[0]!,
        name: `${name} over plain`,
        op: 'bank_over_plain',
        value: over.median / under.median,
        unit: 'x',
        shareOfRoof: null,
        spread: (over.spread + under.spread) / 2,
      };
      return [...rows, ratio];
    });
  } finally {
    for (const model of models) model.process.close();
  }
}

export const stepCases: readonly BenchCase[] = PRECISIONS.flatMap((dtype) => [
  ...STEP_SIZES.map((size): BenchCase => {
    const name = `step ${size.name} ${dtype}`;
    return { group: 'step', name, quick: size.quick, run: (context) => runDense(context, name, size, dtype) };
  }),
  ...BANK_SIZES.map((size): BenchCase => {
    const name = `bank-step ${size.name} ${dtype}`;
    return { group: 'step', name, quick: size.quick, run: (context) => runBank(context, name, size, dtype) };
  }),
]);
