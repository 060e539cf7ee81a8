// The WebAssembly backend beside its roof, other WebAssembly libraries, and the native backend: node dist/bench/wasm.js [--json FILE] [--no-peers].
// Products on the shapes of training and decoding; then steps of training and decoded tokens on both backends in turns, whose ratio is held
// against that of the roofs. Results go to bench/results/wasm.json.
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { type Backend, openBackend } from '../ts/backend/index.js';
import { backendName, type Context, compete, type Entrant, ours, rate } from './context.js';
import { DECODE_SIZES, decodeWork } from './decode.js';
import { type Contender, interleave } from './measure.js';
import { Peers } from './peers.js';
import { JAVASCRIPT_PEERS } from './peers_javascript.js';
import { columns, figure, type Result, table } from './result.js';
import { type Reading, RoofMeter } from './roof.js';
import { TimedRows } from './rows.js';
import { stepModel } from './step_model.js';
import { STEP_SIZES } from './step_sizes.js';

const ROUNDS = 3;
/** A step and a token on WebAssembly may take the ratio of the roofs times this. */
const ALLOWANCE = 1.25;

const SHAPES = [
  [256, 256, 256, 'NN'],
  [1024, 1024, 1024, 'NN'],
  // The three products of a layer, twice, and logits.
  [2048, 1024, 256, 'NT'],
  [2048, 256, 1024, 'NN'],
  [1024, 256, 2048, 'TN'],
  [4096, 192, 64, 'NT'],
  [4096, 64, 192, 'NN'],
  [192, 64, 4096, 'TN'],
  [1024, 4096, 128, 'NT'],
  // Decoding: one row, eight rows.
  [1, 4096, 1024, 'NT'],
  [1, 4096, 1024, 'NN'],
  [8, 4096, 1024, 'NT'],
] as const;

async function product(context: Context, [m, n, k, transposes]: (typeof SHAPES)[number]): Promise<Result[]> {
  const { threads } = context.backend.capabilities;
  const [transA, transB] = [transposes[0] === 'T' ? 1 : 0, transposes[1] === 'T' ? 1 : 0];
  const dims = { batch: 1, m, n, k, transA, transB, lda: transA ? m : k, ldb: transB ? k : n, ldc: n, precision: 0 };
  const mine = new TimedRows(context.backend, [{ op: 'gemm', dims, scalars: { alpha: 1 } }]);
  const flops = 2 * m * n * k;
  const entrants: Entrant[] = [ours(context, mine.contender)];
  for (const peer of JAVASCRIPT_PEERS) {
    const process = await context.peers.javascript(peer);
    if (process === undefined) continue;
    const calls = Math.max(1, Math.min(500, Math.ceil(1e8 / flops)));
    const request = { m, n, k, transA, transB, bf16: 0, calls, samples: 3 };
    const backend = context.peers.found[peer.name]!;
    entrants.push({ ...process.contender(peer.name, request), peer: peer.name, backend });
  }
  const shape = `${m}x${n}x${k} ${transposes}`;
  const work = {
    name: `gemm ${shape} ${threads}t`,
    op: 'gemm',
    shape,
    dtype: 'fp32',
    ...rate(flops, 4 * (m * k + k * n + m * n), 'fp32'),
  };
  try {
    return await compete(context, work, entrants);
  } finally {
    mine.free();
  }
}

interface Ratio {
  readonly name: string;
  readonly threads: number;
  /** Tokens a second. */
  readonly native: number;
  readonly wasm: number;
  readonly nativeOverWasm: number;
  /** Of the fp32 roofs of both. */
  readonly roofs: number;
  readonly target: number;
}

interface Work extends Contender {
  readonly dispose: () => void;
}

/** One contender for each backend, seconds a token; undefined, and said why, where one of them cannot. */
async function ratio(
  name: string,
  backends: readonly [native: Backend, wasm: Backend],
  roofs: number,
  make: (backend: Backend) => Promise<Work>,
): Promise<Ratio | undefined> {
  const works: Work[] = [];
  try {
    for (const backend of backends) works.push(await make(backend));
    const [native, wasm] = await interleave(name, works, ROUNDS);
    const failure = native!.failure ?? wasm!.failure;
    if (failure !== undefined) throw new Error(failure);
    return {
      name,
      threads: backends[0].capabilities.threads,
      native: 1 / native!.median,
      wasm: 1 / wasm!.median,
      nativeOverWasm: wasm!.median / native!.median,
      roofs,
      target: ALLOWANCE * roofs,
    };
  } catch (error) {
    console.log(`skipped: ${name}: ${(error as Error).message}`);
    // What failed is told by the next fence too, and would fail the next measurement.
    for (const backend of backends) await backend.fence().catch(() => {});
    return undefined;
  } finally {
    for (const work of works) work.dispose();
  }
}

async function trainingWork(backend: Backend, { sizes }: (typeof STEP_SIZES)[number]): Promise<Work> {
  const { step, batch, dispose } = stepModel(backend, {
    ...sizes,
    slices: 0,
    experts: 1,
    groups: 1,
    dtype: 'fp32',
  });
  let t = 0;
  const seconds = async () => {
    const began = performance.now();
    await step.run(batch, 1e-3, ++t);
    return (performance.now() - began) / 1000 / (sizes.batch * sizes.time);
  };
  const turn = async () => {
    if (t === 0) await seconds();
    return [await seconds(), await seconds()];
  };
  return { name: backendName(backend), turn, dispose };
}

async function decodingWork(backend: Backend, size: (typeof DECODE_SIZES)[number]): Promise<Work> {
  const { turn, dispose } = await decodeWork(backend, size, false);
  return { name: backendName(backend), turn, dispose };
}

async function measureThreads(threads: number, withPeers: boolean) {
  const wasm = openBackend({ backend: 'wasm', threads });
  const native = openBackend({ backend: 'cpu', threads });
  const [meter, nativeMeter] = [new RoofMeter(wasm), new RoofMeter(native)];
  const peers = new Peers(threads, withPeers);
  const skip: Context['skip'] = (what, why) => console.log(`skipped: ${what}: ${why}`);
  const context: Context = { backend: wasm, meter, peers, rounds: ROUNDS, quick: false, skip };
  try {
    const roofs: Record<string, Reading> = {
      [backendName(wasm)]: await meter.measure(9),
      [backendName(native)]: await nativeMeter.measure(9),
    };
    for (const [name, { fp32, read }] of Object.entries(roofs))
      console.log(`roof of ${name}, ${threads}t: fp32 ${figure(fp32)} GFLOP/s, read ${figure(read)} GB/s`);
    const results: Result[] = [];
    for (const shape of SHAPES) results.push(...(await product(context, shape)));
    const fp32 = Object.values(roofs).map((roof) => roof.fp32);
    const apart = fp32[1]! / fp32[0]!;
    const ratios: Ratio[] = [];
    const add = (found: Ratio | undefined) => found !== undefined && ratios.push(found);
    for (const size of STEP_SIZES.slice(0, 2))
      add(await ratio(`step ${size.name}`, [native, wasm], apart, (backend) => trainingWork(backend, size)));
    for (const size of DECODE_SIZES.slice(0, 2))
      add(await ratio(`decode ${size.name}`, [native, wasm], apart, (backend) => decodingWork(backend, size)));
    return { threads, roofs, peers: peers.found, results, ratios };
  } finally {
    peers.close();
    meter.dispose();
    nativeMeter.dispose();
    await native.close();
    await wasm.close();
  }
}

const { values } = parseArgs({
  options: {
    json: { type: 'string', default: 'bench/results/wasm.json' },
    'no-peers': { type: 'boolean', default: false },
  },
});
const began = performance.now();
const runs = [];
for (const threads of availableParallelism() > 1 ? [1, 2] : [1])
  runs.push(await measureThreads(threads, !values['no-peers']));
console.log(`\n${table(runs.flatMap((run) => run.results))}\n`);
const ratios = runs.flatMap((run) => run.ratios);
if (ratios.length > 0) {
  const lines = ratios.map((row) => [
    `${row.name} ${row.threads}t`,
    ...[row.native, row.wasm, row.nativeOverWasm, row.roofs, row.target].map(figure),
  ]);
  console.log(`${columns([['tokens/s', 'native', 'wasm', 'ratio', 'of roofs', 'at most'], ...lines])}\n`);
}
for (const run of runs)
  for (const [name, found] of Object.entries(run.peers)) console.log(`${name}, ${run.threads}t: ${found}`);
const machine = {
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: cpus().length,
  node: process.version,
  seconds: Math.round((performance.now() - began) / 1000),
};
writeFileSync(values.json, `${JSON.stringify({ machine, runs }, null, 1)}\n`);
console.log(`${values.json}, ${machine.seconds} s`);
