// All benches as one call: what main.ts does between its flags and its exit code, and what the tests run.
import { cpus, totalmem } from 'node:os';
import { openBackend } from '../ts/backend/index.js';
import { boundaryCases } from './boundary.js';
import type { BenchCase, Context } from './context.js';
import { decodeCases } from './decode.js';
import { gemmCases } from './gemm.js';
import { kernelCases } from './kernels.js';
import { opCases } from './ops.js';
import { type BenchOptions, selectCases } from './options.js';
import { Peers } from './peers.js';
import type { Report, Result } from './result.js';
import { figure } from './result.js';
import { machineRoof, RoofMeter } from './roof.js';
import { stepCases } from './step.js';

export const CASES: readonly BenchCase[] = [
  ...gemmCases,
  ...kernelCases,
  ...opCases,
  ...stepCases,
  ...decodeCases,
  ...boundaryCases,
];

/** All threads reach less than this part of what they should: somebody else computes here. */
const BUSY = 0.75;

/** Runs what the options choose. Throws RangeError when they choose nothing. */
export async function runBenches(options: BenchOptions): Promise<Report> {
  const began = performance.now();
  const chosen = selectCases(CASES, options);
  if (chosen.length === 0) throw new RangeError(`no case has ${options.filter.join(' or ')} in its name: see --list`);
  const backend = openBackend({ backend: 'cpu', isa: options.isa, threads: options.threads });
  const { isa, threads } = backend.capabilities;
  const meter = new RoofMeter(backend);
  const peers = new Peers(threads, options.peers);
  const skip: Context['skip'] = (what, why) => console.log(`skipped: ${what}: ${why}`);
  const context: Context = { backend, meter, peers, rounds: options.rounds, quick: options.quick, skip };
  try {
    const roof = await machineRoof(meter, isa);
    console.log(
      `roof of ${isa}, 1 thread / ${threads}: fp32 ${figure(roof.fp32OneThread)} / ${figure(roof.fp32)} GFLOP/s; ` +
        `bf16 ${roof.bf16 === null ? 'absent' : `${figure(roof.bf16OneThread!)} / ${figure(roof.bf16)} GFLOP/s`}; ` +
        `read ${figure(roof.readOneThread)} / ${figure(roof.read)} GB/s`,
    );
    if (roof.fp32 < BUSY * threads * roof.fp32OneThread)
      console.log(
        `${threads} threads reach only ${figure(roof.fp32 / roof.fp32OneThread)} times one: the machine is busy`,
      );
    const results: Result[] = [];
    for (const item of chosen) {
      try {
        results.push(...(await item.run(context)));
      } catch (error) {
        skip(item.name, (error as Error).message);
      }
    }
    const machine = {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryMB: Math.round(totalmem() / 2 ** 20),
      node: process.version,
      isa,
      threads,
      peers: peers.found,
      seconds: Math.round((performance.now() - began) / 1000),
    };
    return { machine, roof, results };
  } finally {
    peers.close();
    meter.dispose();
    await backend.close();
  }
}
