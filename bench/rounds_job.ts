// What a round of rounds.ts ends in the middle of: training or generation without end, in a worker thread or in a process.
// Says 'running' once steps follow each other. A process ends itself then, a moment later, with the code it was given.
//   node dist/bench/rounds_job.js training MODEL 7
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { type BackendOptions, createEngine, openBackend } from '../ts/index.js';
import { stepModel } from './step_model.js';

/** 'nothing' is a thread without the library, to compare with. */
export type Job = 'training' | 'generation' | 'nothing';

export interface JobData {
  readonly job: Job;
  readonly backend: NonNullable<BackendOptions['backend']>;
  /** Model folder, for generation. */
  readonly model: string;
}

/** Steps that have passed when a round may end. */
const RUNNING = 3;

/** Steps of milliseconds, so that a round ends inside one. */
const STEP = { vocab: 512, width: 64, inner: 176, layers: 2, heads: 4, time: 64, batch: 16 } as const;

async function training({ backend }: JobData, running: () => void): Promise<never> {
  const bank = { slices: 0, experts: 1, groups: 1, dtype: 'fp32' } as const;
  const { step, batch } = stepModel(openBackend({ backend }), { ...STEP, ...bank });
  let previous: Promise<unknown> = Promise.resolve();
  for (let t = 1; ; t++) {
    const next = step.run(batch, 1e-3, t);
    await previous;
    previous = next;
    if (t === RUNNING) running();
  }
}

async function generation({ backend, model }: JobData, running: () => void): Promise<void> {
  const engine = await createEngine({ model, backend: { backend }, sequences: 2 });
  let pieces = 0;
  const caller = async (seed: number) => {
    for await (const _ of engine.generate('The whale', { maxTokens: 1e9, temperature: 1, seed }))
      if (++pieces === RUNNING) running();
  };
  await Promise.all([caller(1), caller(2), engine.perplexity('The whale '.repeat(1000))]);
}

async function run(data: JobData, running: () => void): Promise<void> {
  if (data.job === 'training') await training(data, running);
  else if (data.job === 'generation') await generation(data, running);
  else {
    running();
    await new Promise((resolve) => setTimeout(resolve, 2 ** 30));
  }
}

if (!isMainThread) {
  await run(workerData as JobData, () => parentPort!.postMessage('running'));
} else if (process.argv[4] !== undefined) {
  const [, , job, model, code, backend = 'cpu'] = process.argv;
  await run({ job, model, backend } as JobData, () => setTimeout(() => process.exit(Number(code)), 5 * Math.random()));
}
