// The WebAssembly backend in Node.
import { WasmDevice } from '../../bindings/wasm/device.js';
import { spawnThread, type WasmIsa, wasmIsas, wasmModule } from '../../bindings/wasm/node.js';
import type { Backend } from './backend.js';
import { checkRows } from './check.js';
import { DeviceBackend } from './device.js';
import { SweetspotError } from './errors.js';
import { unavailable } from './survey.js';

export interface WasmOptions {
  /** 'relaxed' or 'simd'. Default: the best this Node runs. */
  readonly isa?: string | undefined;
  /** Compute threads. Results do not depend on it. */
  readonly threads: number;
  /** Whether memory is shared between threads, as more than one need. Default: true; false is what a page without isolation has. */
  readonly shared?: boolean | undefined;
}

/** Throws SWEETSPOT_BACKEND_UNAVAILABLE when no module runs here, and SWEETSPOT_USAGE for an ISA that is not there. */
export function openWasm({ isa, threads, shared = true }: WasmOptions): Backend {
  const { isas, failures } = wasmIsas(shared);
  if (isas.length === 0) throw unavailable(['wasm'], new Error(failures.join('; ')));
  if (isa !== undefined && !isas.includes(isa as WasmIsa)) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `the WebAssembly instruction set '${isa}' cannot be used here`,
      expected: `one of ${isas.join(', ')}`,
      ...(failures.length > 0 && { found: failures.join('; ') }),
      fix: 'choose one of these with isa, --isa or SWEETSPOT_ISA',
    });
  }
  const chosen = (isa ?? isas[0]) as WasmIsa;
  const device = new WasmDevice({
    module: wasmModule(chosen, shared),
    threads: shared ? threads : 1,
    shared,
    spawn: spawnThread,
    check: checkRows,
  });
  return new DeviceBackend('wasm', { isa: chosen, threads: shared ? threads : 1 }, device);
}
