// What training does to the process it lives in: event-loop delay and resident memory over steps at full load.
//   node dist/bench/health.js [--json]     1,000 steps
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import { type Backend, openBackend } from '../ts/backend/index.js';
import { stepModel } from './step_model.js';

const SIZES = {
  vocab: 2048,
  width: 64,
  inner: 176,
  layers: 4,
  heads: 4,
  time: 128,
  batch: 16,
  slices: 0,
  experts: 1,
  groups: 1,
  dtype: 'fp32',
} as const;

export interface Health {
  readonly eventLoopDelayMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** After a tenth of the steps and after all. */
  readonly residentBytes: readonly [number, number];
}

export async function trainingHealth(backend: Backend, steps: number): Promise<Health> {
  const { step, batch, dispose } = stepModel(backend, SIZES);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let early = 0;
  let previous: Promise<unknown> = Promise.resolve();
  for (let t = 1; t <= steps; t++) {
    const result = step.run(batch, 1e-3, t);
    await previous;
    previous = result;
    if (t === Math.ceil(steps / 10)) early = process.memoryUsage().rss;
    // The first steps load code and are not the state that a service lives in.
    if (t === 10) delay.enable();
  }
  await previous;
  delay.disable();
  const resident = process.memoryUsage().rss;
  dispose();
  // The timer itself sleeps one resolution.
  return {
    eventLoopDelayMs: { p50: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 },
    residentBytes: [early, resident],
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const backend = openBackend();
  const health = await trainingHealth(backend, 1000);
  const { p50, p99, max } = health.eventLoopDelayMs;
  const [early, late] = health.residentBytes;
  if (process.argv.includes('--json')) {
    const { threads, isa } = backend.capabilities;
    console.log(JSON.stringify({ threads, isa, ...health, residentGrowth: late / early - 1 }));
  } else {
    console.log(
      `event-loop delay while training: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, max ${max.toFixed(1)} ms`,
    );
    console.log(
      `resident size: step 100 ${early >> 20} MiB, step 1000 ${late >> 20} MiB (${(100 * (late / early - 1)).toFixed(2)}%)`,
    );
  }
  await backend.close();
}
