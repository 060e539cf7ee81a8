// The WebAssembly backend.
import type { Backend } from './backend.js';
import { SweetspotError } from './errors.js';

export interface WasmInfo {
  /** Variants of the modules that this engine runs, best first: 'relaxed', 'simd'. */
  readonly variants: readonly string[];
  /** Why it cannot be used; absent when it can. */
  readonly reason?: string;
}

export interface WasmOptions {
  /** One of the variants. Default: the best. */
  readonly isa?: string | undefined;
  readonly threads: number;
}

export function wasmInfo(): WasmInfo {
  return { variants: [], reason: 'its kernels are not part of this version' };
}

export function openWasm(_options: WasmOptions): Backend {
  throw new SweetspotError('SWEETSPOT_BACKEND_UNAVAILABLE', { what: wasmInfo().reason! });
}
