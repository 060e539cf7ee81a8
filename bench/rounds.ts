// Whether a host survives what it does to the library: worker threads terminated in the middle of a step, processes that
// exit in the middle of one, over and over, with the resident size of the host after every round.
//   node --expose-gc dist/bench/rounds.js [--rounds 200] [--backend wasm] [--cold] [--json bench/results/rounds.json]
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { openBackend } from '../ts/index.js';
import type { Job, JobData } from './rounds_job.js';
import { writeServiceModel } from './service_model.js';

const JOB = fileURLToPath(new URL('./rounds_job.js', import.meta.url));

/** Starts a worker, waits until it is at work, and terminates it up to 5 ms later. Throws when it ends by itself. */
export async function workerRound(data: JobData): Promise<void> {
  const worker = new Worker(JOB, { workerData: data });
  await new Promise<void>((resolve, reject) => {
    worker.once('message', () => resolve());
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`the worker ended by itself with ${code}`)));
  });
  worker.removeAllListeners();
  worker.on('error', () => {});
  await sleep(5 * Math.random());
  await worker.terminate();
}

/** The exit code, or the signal, of a process that exits with `code` in the middle of a step. */
export function processRound({ job, model, backend }: JobData, code: number): Promise<number | string> {
  const child = spawn(process.execPath, [JOB, job, model, String(code), backend], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (status, signal) => resolve(status ?? signal ?? 'unknown'));
  });
}

/** Resident MiB after a collection. */
function resident(): number {
  globalThis.gc?.();
  return process.memoryUsage().rss / 2 ** 20;
}

/** By least squares. */
export function slope(values: readonly number[]): number {
  const [x, y] = [(values.length - 1) / 2, values.reduce((a, b) => a + b, 0) / values.length];
  let [up, down] = [0, 0];
  values.forEach((value, i) => {
    up += (i - x) * (value - y);
    down += (i - x) ** 2;
  });
  return up / down;
}

export interface Rounds {
  readonly job: Job;
  readonly rounds: number;
  /** MiB after every round. */
  readonly resident: readonly number[];
  /** MiB in 100 rounds, by least squares over the second half. */
  readonly slope: number;
  readonly seconds: number;
}

/** So many worker rounds, one after the other. */
export async function workerRounds(data: JobData, rounds: number): Promise<Rounds> {
  const began = performance.now();
  const sizes: number[] = [];
  for (let i = 0; i < rounds; i++) {
    await workerRound(data);
    sizes.push(Math.round(resident() * 100) / 100);
  }
  return {
    job: data.job,
    rounds,
    resident: sizes,
    slope: Math.round(10_000 * slope(sizes.slice(rounds / 2))) / 100,
    seconds: Math.round((performance.now() - began) / 1000),
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string' },
      json: { type: 'string' },
      jobs: { type: 'string' },
      backend: { type: 'string', default: 'cpu' },
      cold: { type: 'boolean', default: false },
    },
  });
  const rounds = Number(values.rounds ?? 200);
  const { json } = values;
  const backend = values.backend as JobData['backend'];
  // A host that has opened the backend once keeps the WebAssembly module for all its threads (docs/wasm.md); --cold has not.
  if (!values.cold) await openBackend({ backend }).close();
  const workers: Rounds[] = [];
  const processes = { rounds: 0, wrong: [] as (number | string)[] };
  // After every part: the whole takes minutes.
  const save = () => {
    if (json !== undefined) writeFileSync(json, `${JSON.stringify({ workers, processes }, null, 1)}\n`);
  };
  const folder = mkdtempSync(path.join(tmpdir(), 'sweetspot-rounds-'));
  const model = path.join(folder, 'model');
  try {
    await writeServiceModel(model, { width: 64, layers: 2, heads: 4, vocab: 512, contextLength: 128 });
    for (const job of (values.jobs ?? 'nothing,training,generation').split(',') as Job[]) {
      const found = await workerRounds({ job, backend, model }, rounds);
      workers.push(found);
      save();
      const [first, last] = [found.resident[0]!, found.resident.at(-1)!];
      console.log(
        `worker, ${job}: ${rounds} rounds in ${found.seconds} s, ${first.toFixed(0)} to ${last.toFixed(0)} MiB, slope ${found.slope} MiB in 100 rounds`,
      );
    }
    for (let i = 0; i < rounds; i++) {
      const code = i % 100;
      const found = await processRound({ job: i % 2 === 0 ? 'training' : 'generation', backend, model }, code);
      processes.rounds++;
      if (found !== code) processes.wrong.push(found);
    }
    console.log(
      `process.exit in the middle of a step: ${processes.rounds} rounds, ${processes.wrong.length} wrong exit codes`,
    );
    save();
    if (processes.wrong.length > 0) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();
