// Which backend runs, and why. SWEETSPOT_BACKEND, SWEETSPOT_ISA, SWEETSPOT_THREADS and SWEETSPOT_CUDA_MATMUL stand in for
// options not given. 'auto' is the CPU and, where there is no addon, WebAssembly: a GPU computes only when it is asked for by name.
import { availableParallelism } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { loadAddon, type NativeAddon } from '../../bindings/load.js';
import type { Backend } from './backend.js';
import { DeviceBackend } from './device.js';
import { SweetspotError } from './errors.js';
import { BACKENDS, type BackendName, surveyBackend, unavailable } from './survey.js';
import { openWasm } from './wasm.js';

/** Which backend to open, and how it computes. */
export interface BackendOptions {
  /** 'auto' (default) takes the CPU or, without an addon, WebAssembly; a name takes that one or throws. */
  readonly backend?: 'auto' | BackendName | undefined;
  /** Instruction set of the CPU kernels: one of listIsas(). Of WebAssembly: 'simd' or 'relaxed'. Default: the best this machine runs. */
  readonly isa?: string | undefined;
  /** Compute threads of CPU and WebAssembly. Default: one a core, at most 16. Results do not depend on it. */
  readonly threads?: number | undefined;
  /**
   * How CUDA multiplies matrices; sums are float32 in all of them. 'fp32' (default) rounds like the CPU, 'tf32' and
   * 'bf16' use tensor cores with factors of 11 and 8 significant bits.
   */
  readonly matmul?: 'fp32' | 'tf32' | 'bf16' | undefined;
}

/**
 * Opens a backend. Throws SWEETSPOT_BACKEND_UNAVAILABLE, with every cause and numbered remedies, when it cannot be had, and
 * SWEETSPOT_USAGE for an ISA, thread count or precision that makes no sense.
 */
export function openBackend(options: BackendOptions = {}): Backend {
  const wanted = chosenBackend(options.backend);
  if (wanted === 'wasm') return openWasmBackend(options);
  const result = loadAddon();
  if ('addon' in result) return wanted === 'cuda' ? openCuda(result.addon, options) : openCpu(result.addon, options);
  if (wanted !== 'auto') throw unavailable([wanted]);
  if (surveyBackend('wasm').reasons.length > 0) throw unavailable(['cpu', 'wasm']);
  const backend = openWasmBackend(options);
  warnOfFallback(result.failures);
  return backend;
}

/** What is asked for: the option, else SWEETSPOT_BACKEND, else 'auto'. Throws SWEETSPOT_BACKEND_UNAVAILABLE for an unknown name. */
export function chosenBackend(option?: string): 'auto' | BackendName {
  const wanted = option ?? (process.env['SWEETSPOT_BACKEND'] || 'auto');
  if (wanted === 'auto' || (BACKENDS as readonly string[]).includes(wanted)) return wanted as 'auto' | BackendName;
  throw new SweetspotError('SWEETSPOT_BACKEND_UNAVAILABLE', {
    what: `there is no backend '${wanted}'`,
    expected: `auto, ${BACKENDS.join(', ')}`,
    fix: 'leave --backend and SWEETSPOT_BACKEND unset',
  });
}

let warned = false;

/** Once a process. Worker threads know nothing of each other and stay silent. */
function warnOfFallback(failures: readonly string[]): void {
  if (warned || !isMainThread) return;
  warned = true;
  process.emitWarning('no native addon could be loaded: WebAssembly computes, several times slower', {
    type: 'SweetspotWarning',
    code: 'SWEETSPOT_FALLBACK',
    detail: [...failures, 'see `npx sweetspot doctor`; backend: "wasm" asks for this and does not warn'].join('\n'),
  });
}

function openCpu(addon: NativeAddon, options: BackendOptions): Backend {
  const isas = addon.cpuIsas();
  const isa = options.isa ?? (process.env['SWEETSPOT_ISA'] || isas[0]!);
  if (!isas.includes(isa)) throw unknownIsa(isa, isas);
  const threads = threadsOf(options);
  return new DeviceBackend('cpu', { isa, threads }, new addon.Device('cpu', threads, isa));
}

function openWasmBackend(options: BackendOptions): Backend {
  // SWEETSPOT_ISA names an ISA of the CPU as a rule, and falling back must not fail for it.
  const { variants } = surveyBackend('wasm');
  const isa = options.isa ?? variants.find((variant) => variant === process.env['SWEETSPOT_ISA']);
  return openWasm({ isa, threads: threadsOf(options) });
}

function unknownIsa(isa: string, isas: readonly string[]): SweetspotError {
  return new SweetspotError('SWEETSPOT_USAGE', {
    what: `the instruction set '${isa}' cannot be used here`,
    expected: `one of ${isas.join(', ')}`,
    fix: 'choose one of these with isa, --isa or SWEETSPOT_ISA',
  });
}

function threadsOf(options: BackendOptions): number {
  const given = options.threads ?? (process.env['SWEETSPOT_THREADS'] || undefined);
  const threads = given === undefined ? Math.min(availableParallelism(), 16) : Number(given);
  if (!Number.isInteger(threads) || threads < 1 || threads > 256) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'the number of threads is out of range',
      expected: 'a whole number from 1 to 256',
      found: String(given),
    });
  }
  return threads;
}

function openCuda(addon: NativeAddon, options: BackendOptions): Backend {
  const matmul = options.matmul ?? (process.env['SWEETSPOT_CUDA_MATMUL'] || 'fp32');
  if (!['fp32', 'tf32', 'bf16'].includes(matmul)) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `CUDA cannot multiply in '${matmul}'`,
      expected: 'fp32, tf32 or bf16',
      fix: 'choose one of these with matmul or SWEETSPOT_CUDA_MATMUL',
    });
  }
  const info = addon.cudaInfo();
  if (info.reason !== undefined) throw unavailable(['cuda']);
  try {
    // One thread feeds the device.
    return new DeviceBackend('cuda', { isa: info.arch, threads: 1 }, new addon.Device('cuda', 1, matmul));
  } catch (cause) {
    throw unavailable(['cuda'], cause);
  }
}

export { type AddonSource, type CudaInfo, loadAddon, packageRoot } from '../../bindings/load.js';
export type { Backend, BufferId, Capabilities, ProgramId, RowList } from './backend.js';
export { type ErrorCode, SweetspotError } from './errors.js';
export { type BackendName, type BackendReport, cudaInfo, listIsas, surveyBackends } from './survey.js';
