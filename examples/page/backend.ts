// The WebAssembly backend in a page: the modules and the text of the thread are part of the page (scripts/build-page.mjs), so
// nothing is loaded. Several threads need shared memory, which browsers give to pages served with
// Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp; any other page has one thread.
import { WasmDevice } from '../../bindings/wasm/device.js';
import type { Reply, Spawn } from '../../bindings/wasm/protocol.js';
import type { Backend } from '../../ts/backend/backend.js';
import { checkRows } from '../../ts/backend/check.js';
import { DeviceBackend } from '../../ts/backend/device.js';

/** What the build puts into the page. */
export interface Parts {
  /** WebAssembly modules by name, as base64. */
  readonly modules: Readonly<Record<string, string>>;
  /** JavaScript of thread.ts. */
  readonly thread: string;
}

const MOST_THREADS = 8;

export async function openPageBackend({ modules, thread }: Parts): Promise<Backend> {
  const shared = globalThis.crossOriginIsolated;
  const threads = shared ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  for (const isa of ['relaxed', 'simd']) {
    const bytes = Uint8Array.from(atob(modules[shared ? `${isa}-threads` : isa]!), (c) => c.charCodeAt(0));
    if (!WebAssembly.validate(bytes)) continue;
    const module = await WebAssembly.compile(bytes);
    const url = URL.createObjectURL(new Blob([thread], { type: 'text/javascript' }));
    const device = new WasmDevice({ module, threads, shared, spawn: spawner(url), check: checkRows });
    return new DeviceBackend('wasm', { isa, threads }, device);
  }
  throw new Error('this browser has no SIMD for WebAssembly: any browser from 2023 on has');
}

const spawner =
  (url: string): Spawn =>
  (start, reply, failed) => {
    const worker = new Worker(url);
    worker.onmessage = ({ data }: MessageEvent<Reply>) => reply(data);
    worker.onerror = (event) => failed(event.message);
    worker.postMessage(start);
    return {
      post: (command, transfer) => worker.postMessage(command, transfer as Transferable[]),
      hold: () => {},
      terminate: () => worker.terminate(),
    };
  };
