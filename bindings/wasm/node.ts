// The WebAssembly modules of this package and threads to run them in Node. Modules: dist/assembly/<isa>[-threads].wasm.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { packageRoot } from '../load.js';
import type { Command, Reply, Spawn } from './protocol.js';

/** Vector instructions a module may use, best first: relaxed SIMD has fused multiply-add. */
export type WasmIsa = 'relaxed' | 'simd';

const modules = new Map<string, Uint8Array | string>();

/** The bytes of a module, or why this engine cannot run them. */
function bytesOf(isa: WasmIsa, threads: boolean): Uint8Array | string {
  const file = `${isa}${threads ? '-threads' : ''}.wasm`;
  let found = modules.get(file);
  if (found === undefined) {
    try {
      const bytes = readFileSync(path.join(packageRoot(), 'dist', 'assembly', file));
      found = WebAssembly.validate(bytes) ? bytes : `${file}: this Node has no ${isa} instructions for WebAssembly`;
    } catch (error) {
      found = `${file}: ${(error as Error).message}`;
    }
    modules.set(file, found);
  }
  return found;
}

/** Which modules, for memory that is shared or not, run here, best first, and why others do not. */
export function wasmIsas(shared = true): { readonly isas: readonly WasmIsa[]; readonly failures: readonly string[] } {
  const all = (['relaxed', 'simd'] as const).map((isa) => ({ isa, found: bytesOf(isa, shared) }));
  return {
    isas: all.flatMap(({ isa, found }) => (typeof found === 'string' ? [] : [isa])),
    failures: all.flatMap(({ found }) => (typeof found === 'string' ? [found] : [])),
  };
}

const compiled = new Map<string, WebAssembly.Module>();

/**
 * A module that wasmIsas() has named. With `threads` its memory is shared. It is kept: as long as one thread of a process has it, others do
 * not compile it again, and Node loses nothing when they end (docs/wasm.md).
 */
export function wasmModule(isa: WasmIsa, threads: boolean): WebAssembly.Module {
  const key = `${isa} ${threads}`;
  let module = compiled.get(key);
  if (module === undefined) {
    const found = bytesOf(isa, threads);
    if (typeof found === 'string') throw new Error(found);
    module = new WebAssembly.Module(found as BufferSource);
    compiled.set(key, module);
  }
  return module;
}

export const spawnThread: Spawn = (start, reply, failed) => {
  const worker = new Worker(new URL('./thread.js', import.meta.url), {
    workerData: start,
    // What the host was started with (loaders, inspectors) is none of the thread's business.
    execArgv: [],
    name: `sweetspot ${start.role}`,
  });
  worker.on('message', (message: Reply) => reply(message));
  worker.on('error', (error) => failed(error.message));
  // After close() this says nothing new.
  worker.on('exit', (code) => failed(`it exited with ${code}`));
  worker.unref();
  return {
    post: (command: Command, transfer) => worker.postMessage(command, transfer as ArrayBuffer[]),
    hold: (alive) => (alive ? worker.ref() : worker.unref()),
    terminate: () => void worker.terminate(),
  };
};
