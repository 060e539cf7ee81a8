// The same training on CUDA and on the CPU, step by step: dense, with a bank, with routed experts; in fp32 and in bf16:
// node dist/bench/gpu/training.js [steps] [--small]. Reports the largest relative difference of the loss early (while
// rounding has not grown) and over all, and whether a second run on CUDA gives the same bits. Exits with 1 when an early
// difference passes its tolerance or bits differ. $OUT, when set, gets training.json.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { TestStep, type TestStepOptions } from '../../test/support/train_step.js';
import { type Backend, openBackend } from '../../ts/backend/index.js';
import { bankConfig, routedConfig, type TransformerConfig, transformerConfig } from '../../ts/models/config.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { Prng } from '../../ts/tensor/prng.js';

const EARLY = 20;
/** A number that float32 rounds to another side becomes another bf16 number, 2^-8 apart. */
const TOLERANCE = { fp32: 1e-3, bf16: 5e-3 } as const;

const { values: flags, positionals } = parseArgs({
  options: { small: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const steps = Number(positionals[0] ?? 200);
const [V, width, time] = flags.small ? [128, 64, 16] : [512, 128, 64];
const model = transformerConfig({ vocabSize: V, hiddenSize: width, layers: 2, heads: 2, contextLength: time });
const wide = transformerConfig({ vocabSize: 4096, hiddenSize: 512, layers: 2, heads: 4, contextLength: 256 });

interface Run {
  readonly name: string;
  readonly config: TransformerConfig;
  readonly precision: 'fp32' | 'bf16';
  /** Windows. */
  readonly batch: number;
  readonly steps: number;
  readonly bank?: TestStepOptions['bank'];
}

const slices = { slices: 8, experts: 4 };
const runs: readonly Run[] = [
  { name: 'dense', config: model, precision: 'fp32', batch: 8, steps },
  { name: 'dense', config: model, precision: 'bf16', batch: 8, steps },
  { name: 'bank', config: model, precision: 'fp32', batch: 8, steps, bank: bankConfig(model, slices) },
  {
    name: 'bank of bf16 slices',
    config: model,
    precision: 'bf16',
    batch: 8,
    steps,
    bank: bankConfig(model, { ...slices, sliceType: 'bf16' }),
  },
  { name: 'routed', config: routedConfig(model, { experts: 8 }), precision: 'fp32', batch: 8, steps },
  // Wide enough for the largest tiles of every kernel.
  ...(flags.small ? [] : [{ name: 'wide', config: wide, precision: 'bf16', batch: 8, steps: EARLY } as const]),
];

/** Windows of a text that can be learnt: each token follows from the one before it, but for one in eight. */
function windows({ config, batch }: Run): { tokens: Int32Array; targets: Int32Array } {
  const [T, V] = [config.contextLength, config.vocabSize];
  const random = new Prng('windows');
  const text = Int32Array.from({ length: batch * (T + 1) }, () => random.int(V));
  for (let i = 1; i < text.length; i++) if (random.next() > 0.125) text[i] = (text[i - 1]! * 7 + 11) % V;
  const rows = (shift: number) =>
    Int32Array.from({ length: batch * T }, (_, i) => text[Math.floor(i / T) * (T + 1) + (i % T) + shift]!);
  return { tokens: rows(0), targets: rows(1) };
}

/** Losses of all steps, and the parameters at the end. */
async function train(backend: Backend, run: Run): Promise<{ losses: Float64Array; values: Map<string, Float32Array> }> {
  const { config, batch, bank, precision } = run;
  const T = config.contextLength;
  // Three of four clusters, one of them without rows.
  const groups = { clusters: Int32Array.of(0, 2, 3), offsets: Int32Array.of(0, 2 * T, 2 * T, batch * T) };
  // The batch stays the same: what is compared is the arithmetic.
  const step = new TestStep(
    backend,
    config,
    { batch, time: T, ...windows(run), ...(bank === undefined ? {} : groups) },
    { optimizer: ADAMW, precision, ...(bank === undefined ? {} : { bank }) },
  );
  step.parameters.initialize(5);
  const losses = new Float64Array(run.steps);
  for (let i = 0; i < run.steps; i++) {
    step.run(0.001);
    losses[i] = await step.readLoss();
  }
  const values = await step.parameters.readAll();
  step.dispose();
  await backend.fence();
  return { losses, values };
}

const bytes = (values: Float32Array | Float64Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);

const cpu = openBackend({ backend: 'cpu' });
const cuda = openBackend({ backend: 'cuda' });
const results: object[] = [];
let ok = true;
for (const run of runs) {
  const name = `${run.name}, ${run.precision}`;
  try {
    const [want, got, again] = [await train(cpu, run), await train(cuda, run), await train(cuda, run)];
    const differences = want.losses.map((loss, i) => Math.abs(got.losses[i]! - loss) / loss);
    // NaN is no maximum.
    const worst = (values: Float64Array) => (values.some(Number.isNaN) ? Number.NaN : Math.max(...values));
    const [early, largest] = [worst(differences.subarray(0, EARLY)), worst(differences)];
    const same =
      bytes(got.losses).equals(bytes(again.losses)) &&
      [...got.values].every(([key, value]) => bytes(value).equals(bytes(again.values.get(key)!)));
    const good = early <= TOLERANCE[run.precision] && same;
    ok &&= good;
    const [first, last, other] = [want.losses[0]!, want.losses.at(-1)!, got.losses.at(-1)!];
    results.push({ name, good, steps: run.steps, early, largest, same, first, cpu: last, cuda: other });
    console.log(
      `${good ? 'good' : 'BAD '} ${name}: loss ${first.toFixed(4)} -> ${last.toFixed(4)} on the CPU, ${other.toFixed(4)} on CUDA; ` +
        `largest relative difference ${early.toExponential(1)} in ${EARLY} steps, ${largest.toExponential(1)} in ${run.steps}; ` +
        `a second run ${same ? 'gives the same bits' : 'DIFFERS'}`,
    );
  } catch (error) {
    ok = false;
    results.push({ name, good: false, error: (error as Error).message });
    console.log(`BAD  ${name}: ${(error as Error).message}`);
  }
  const out = process.env['OUT'];
  if (out !== undefined) writeFileSync(path.join(out, 'training.json'), JSON.stringify(results, null, 1));
}
await cpu.close();
await cuda.close();
process.exit(ok ? 0 : 1);
