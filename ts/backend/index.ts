// Which backend runs, and why. SWEETSPOT_BACKEND, SWEETSPOT_ISA and SWEETSPOT_THREADS stand in for options not given.
import { availableParallelism } from 'node:os';
import { loadAddon } from '../../bindings/load.js';
import type { Backend } from './backend.js';
import { SweetspotError } from './errors.js';
import { NativeBackend } from './native.js';

export interface BackendOptions {
  /** 'auto' (default) takes the best there is; a name takes that one or throws. */
  readonly backend?: 'auto' | 'cpu' | undefined;
  /** Instruction set of the CPU kernels: one of listIsas(). Default: the best this machine runs. */
  readonly isa?: string | undefined;
  /** Compute threads. Default: one a core, at most 16. Results do not depend on it. */
  readonly threads?: number | undefined;
}

/** ISAs the CPU backend can run here, best first; empty when there is no addon. */
export function listIsas(): string[] {
  const result = loadAddon();
  return 'addon' in result ? result.addon.cpuIsas() : [];
}

/**
 * Opens a backend. Throws SWEETSPOT_BACKEND_UNAVAILABLE, with every cause and a remedy, when it cannot be had, and
 * SWEETSPOT_USAGE for an ISA or thread count that makes no sense.
 */
export function openBackend(options: BackendOptions = {}): Backend {
  const wanted = options.backend ?? process.env['SWEETSPOT_BACKEND'] ?? 'auto';
  if (wanted !== 'auto' && wanted !== 'cpu') {
    throw new SweetspotError('SWEETSPOT_BACKEND_UNAVAILABLE', {
      what: `there is no backend '${wanted}'`,
      expected: 'auto or cpu',
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
  const isas = result.addon.cpuIsas();
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
  return new NativeBackend('cpu', { isa, threads }, new result.addon.Device('cpu', threads, isa));
}

export { loadAddon } from '../../bindings/load.js';
export type { Backend, BufferId, Capabilities, ProgramId, RowList } from './backend.js';
export { type ErrorCode, SweetspotError } from './errors.js';
