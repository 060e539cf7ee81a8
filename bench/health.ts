// What training does to the process it lives in: event-loop delay and resident memory over 1,000 steps at full load.
//   node dist/bench/health.js [--json]
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { openBackend } from '../ts/backend/index.js';
import { transformerConfig } from '../ts/models/config.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { ParameterSet } from '../ts/nn/parameters.js';
import { ADAMW } from '../ts/optim/adamw.js';
import { Prng } from '../ts/tensor/prng.js';
import { TrainStep } from '../ts/train/step.js';

const [B, T, V] = [16, 128, 2048];
const backend = openBackend();
const config = transformerConfig({ vocabSize: V, hiddenSize: 64, layers: 4, heads: 4, contextLength: T });
const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: true });
parameters.initialize(1);
const step = new TrainStep(backend, { config, parameters }, { batch: B, time: T }, ADAMW);
const random = new Prng(1);
const batch = () => ({
  tokens: Int32Array.from({ length: B * T }, () => random.int(V)),
  targets: Int32Array.from({ length: B * T }, () => random.int(V)),
  clusters: new Int32Array(B),
  count: B * T,
});
const delay = monitorEventLoopDelay({ resolution: 1 });
const resident: number[] = [];
let previous: Promise<unknown> = Promise.resolve();
for (let t = 1; t <= 1000; t++) {
  const result = step.run(batch(), 1e-3, t);
  await previous;
  previous = result;
  if (t === 100 || t === 1000) resident.push(process.memoryUsage().rss);
  // The first steps load code and are not the state that a service lives in.
  if (t === 10) delay.enable();
}
await previous;
delay.disable();
const result = {
  threads: backend.capabilities.threads,
  isa: backend.capabilities.isa,
  // The timer itself sleeps one resolution.
  eventLoopDelayMs: { p50: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 },
  residentBytes: { step100: resident[0]!, step1000: resident[1]! },
  residentGrowth: resident[1]! / resident[0]! - 1,
};
if (process.argv.includes('--json')) console.log(JSON.stringify(result));
else {
  const { p50, p99, max } = result.eventLoopDelayMs;
  console.log(
    `event-loop delay while training: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, max ${max.toFixed(1)} ms`,
  );
  console.log(
    `resident size: step 100 ${resident[0]! >> 20} MiB, step 1000 ${resident[1]! >> 20} MiB (${(100 * result.residentGrowth).toFixed(2)}%)`,
  );
}
step.dispose();
await backend.close();
