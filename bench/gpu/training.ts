// The same training on CUDA and on the CPU, step by step, dense and with a bank: node dist/bench/gpu/training.js [steps].
// Reports the largest relative difference of the loss early (while rounding has not grown) and over all, and whether a
// second run on CUDA gives the same bits. Exits with 1 when the early difference passes 1e-3 or bits differ. $OUT, when
// set, gets training.json.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { TestStep } from '../../test/support/train_step.js';
import { type Backend, openBackend } from '../../ts/backend/index.js';
import { bankConfig, transformerConfig } from '../../ts/models/config.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { Prng } from '../../ts/tensor/prng.js';

const EARLY = 20;
const TOLERANCE = 1e-3;
const steps = Number(process.argv[2] ?? 200);
const [B, T, V] = [8, 64, 512];
const config = transformerConfig({ vocabSize: V, hiddenSize: 128, layers: 2, heads: 4, contextLength: T });
const bank = bankConfig(config, { slices: 8, experts: 4 });
const groups = { clusters: Int32Array.of(0, 2, 3), offsets: Int32Array.of(0, 128, 128, B * T) };

/** Windows of a text that can be learnt: each token follows from the one before it, but for one in eight. */
function windows(step: number): { tokens: Int32Array; targets: Int32Array } {
  const random = new Prng(`step ${step}`);
  const text = Int32Array.from({ length: B * (T + 1) }, () => random.int(V));
  for (let i = 1; i < text.length; i++) if (random.next() > 0.125) text[i] = (text[i - 1]! * 7 + 11) % V;
  const rows = (shift: number) =>
    Int32Array.from({ length: B * T }, (_, i) => text[Math.floor(i / T) * (T + 1) + (i % T) + shift]!);
  return { tokens: rows(0), targets: rows(1) };
}

/** Losses of all steps, and the parameters at the end. */
async function train(
  backend: Backend,
  withBank: boolean,
): Promise<{ losses: Float64Array; values: Map<string, Float32Array> }> {
  // The batch stays the same: what is compared is the arithmetic.
  const batch = { batch: B, time: T, ...windows(0), ...(withBank ? groups : {}) };
  const step = new TestStep(backend, config, batch, { optimizer: ADAMW, ...(withBank ? { bank } : {}) });
  step.parameters.initialize(5);
  const losses = new Float64Array(steps);
  for (let i = 0; i < steps; i++) {
    step.run(0.001);
    losses[i] = await step.readLoss();
  }
  const values = await step.parameters.readAll();
  step.dispose();
  await backend.fence();
  return { losses, values };
}

const cpu = openBackend({ backend: 'cpu' });
const cuda = openBackend({ backend: 'cuda' });
const results: Record<string, object> = {};
let ok = true;
for (const withBank of [false, true]) {
  const name = withBank ? 'bank' : 'dense';
  const [want, got, again] = [await train(cpu, withBank), await train(cuda, withBank), await train(cuda, withBank)];
  const differences = want.losses.map((loss, i) => Math.abs(got.losses[i]! - loss) / loss);
  const early = Math.max(...differences.subarray(0, EARLY));
  const largest = Math.max(...differences);
  const same =
    Buffer.compare(Buffer.from(got.losses.buffer), Buffer.from(again.losses.buffer)) === 0 &&
    [...got.values].every(
      ([key, value]) =>
        Buffer.compare(Buffer.from(value.slice().buffer), Buffer.from(again.values.get(key)!.slice().buffer)) === 0,
    );
  ok &&= early <= TOLERANCE && same;
  results[name] = {
    steps,
    early,
    largest,
    same,
    first: want.losses[0],
    cpu: want.losses.at(-1),
    cuda: got.losses.at(-1),
  };
  console.log(
    `${name}: loss ${want.losses[0]!.toFixed(4)} -> ${want.losses.at(-1)!.toFixed(4)} on the CPU, ${got.losses.at(-1)!.toFixed(4)} on CUDA; ` +
      `largest relative difference ${early.toExponential(1)} in ${EARLY} steps, ${largest.toExponential(1)} in ${steps}; ` +
      `a second run ${same ? 'gives the same bits' : 'DIFFERS'}`,
  );
}
await cpu.close();
await cuda.close();
const out = process.env['OUT'];
if (out !== undefined) writeFileSync(path.join(out, 'training.json'), JSON.stringify(results));
process.exit(ok ? 0 : 1);
