// Which backend runs, and why. SWEETSPOT_BACKEND, SWEETSPOT_ISA, SWEETSPOT_THREADS and SWEETSPOT_CUDA_MATMUL stand in for
// options not given. 'auto' is the CPU: a GPU computes only when it is asked for by name.
import { availableParallelism } from 'node:os';
import { type CudaInfo, loadAddon, type NativeAddon } from '../../bindings/load.js';
import type { Backend } from './backend.js';
import { SweetspotError } from './errors.js';
import { NativeBackend } from './native.js';

/** Which backend to open, and how it computes. */
export interface BackendOptions {
  /** 'auto' (default) takes the CPU; a name takes that one or throws. */
  readonly backend?: 'auto' | 'cpu' | 'cuda' | undefined;
  /** Instruction set of the CPU kernels: one of listIsas(). Default: the best this machine runs. */
  readonly isa?: string | undefined;
  /** Compute threads of the CPU. Default: one a core, at most 16. Results do not depend on it. */
  readonly threads?: number | undefined;
  /**
   * How CUDA multiplies matrices; sums are float32 in all of them. 'fp32' (default) rounds like the CPU, 'tf32' and
   * 'bf16' use tensor cores with factors of 11 and 8 significant bits.
   */
  readonly matmul?: 'fp32' | 'tf32' | 'bf16' | undefined;
}

/** ISAs the CPU backend can run here, best first; empty when there is no addon. */
export function listIsas(): string[] {
  const result = loadAddon();
  return 'addon' in result ? result.addon.cpuIsas() : [];
}

/** The CUDA device, or why there is none; undefined when there is no addon. */
export function cudaInfo(): CudaInfo | undefined {
  const result = loadAddon();
  if (!('addon' in result)) return undefined;
  // An addon built before there was CUDA; it works, so the CPU must go on.
  if (result.addon.cudaInfo === undefined) return { library: '', reason: 'the addon is old: build it again' };
  return result.addon.cudaInfo();
}

/**
 * Opens a backend. Throws SWEETSPOT_BACKEND_UNAVAILABLE, with every cause and a remedy, when it cannot be had, and
 * SWEETSPOT_USAGE for an ISA, thread count or precision that makes no sense.
 */
export function openBackend(options: BackendOptions = {}): Backend {
  const wanted = options.backend ?? process.env['SWEETSPOT_BACKEND'] ?? 'auto';
  if (wanted !== 'auto' && wanted !== 'cpu' && wanted !== 'cuda') {
    throw new SweetspotError('SWEETSPOT_BACKEND_UNAVAILABLE', {
      what: `there is no backend '${wanted}'`,
      expected: 'auto, cpu or cuda',
      fix: 'leave --backend and SWEETSPOT_BACKEND unset',
    });
  }
  const result = loadAddon();
  if (!('addon' in result)) {
    throw new SweetspotError('SWEETSPOT_BACKEND_UNAVAILABLE', {
      what: 'the native addon could not be loaded',
      found: result.failures.join('; '),
      fix: 'install CMake and a C++20 compiler, then run `npm rebuild sweetspot` (in a checkout: `npm run build`); the log is in build/install.json',
    });
  }
  return wanted === 'cuda' ? openCuda(result.addon, options) : openCpu(result.addon, options);
}

function openCpu(addon: NativeAddon, options: BackendOptions): Backend {
  const isas = addon.cpuIsas();
  const isa = options.isa ?? process.env['SWEETSPOT_ISA'] ?? isas[0]!;
  if (!isas.includes(isa)) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `the instruction set '${isa}' cannot be used here`,
      expected: `one of ${isas.join(', ')}`,
      fix: 'choose one of these with isa, --isa or SWEETSPOT_ISA',
    });
  }
  const given = options.threads ?? process.env['SWEETSPOT_THREADS'];
  const threads = given === undefined ? Math.min(availableParallelism(), 16) : Number(given);
  if (!Number.isInteger(threads) || threads < 1 || threads > 256) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'the number of threads is out of range',
      expected: 'a whole number from 1 to 256',
      found: String(given),
    });
  }
  return new NativeBackend('cpu', { isa, threads }, new addon.Device('cpu', threads, isa));
}

function openCuda(addon: NativeAddon, options: BackendOptions): Backend {
  const matmul = options.matmul ?? process.env['SWEETSPOT_CUDA_MATMUL'] ?? 'fp32';
  if (!['fp32', 'tf32', 'bf16'].includes(matmul)) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `CUDA cannot multiply in '${matmul}'`,
      expected: 'fp32, tf32 or bf16',
      fix: 'choose one of these with matmul or SWEETSPOT_CUDA_MATMUL',
    });
  }
  const info = cudaInfo()!;
  const unavailable = (found: string, cause?: unknown) =>
    new SweetspotError('SWEETSPOT_BACKEND_UNAVAILABLE', {
      what: 'CUDA cannot be used',
      found,
      fix: 'use the CPU (leave --backend and SWEETSPOT_BACKEND unset), or check the NVIDIA driver and, for the library, build with nvcc 12 or later and SWEETSPOT_CUDA=ON',
      cause,
    });
  if (info.reason !== undefined) throw unavailable(info.reason);
  try {
    // One thread feeds the device.
    return new NativeBackend('cuda', { isa: info.arch, threads: 1 }, new addon.Device('cuda', 1, matmul));
  } catch (cause) {
    throw unavailable((cause as Error).message, cause);
  }
}

export { type CudaInfo, loadAddon } from '../../bindings/load.js';
export type { Backend, BufferId, Capabilities, ProgramId, RowList } from './backend.js';
export { type ErrorCode, SweetspotError } from './errors.js';
