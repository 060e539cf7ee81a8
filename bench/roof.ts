// The roofs of this machine: independent multiply-adds and reads of memory, by the diagnostic ops. The machine may be shared,
// so they are measured again beside every case, and a share is of the better of the two readings around it.
import { type Backend, openBackend } from '../ts/backend/index.js';
import { encodeRow } from '../ts/backend/rows.js';
import type { Roof } from './result.js';

/** GFLOP/s and GB/s on all threads of the backend. */
export interface Reading {
  readonly fp32: number;
  readonly bf16: number | null;
  readonly read: number;
}

const ITERATIONS = 200_000;
/** Far larger than the caches. */
const READ_BYTES = 1 << 28;

export class RoofMeter {
  readonly #backend: Backend;
  readonly #y: number;
  readonly #x: number;
  readonly #fma: number;
  readonly #read: number;
  readonly #bf16: number;

  constructor(backend: Backend) {
    this.#backend = backend;
    this.#y = backend.alloc(64);
    this.#x = backend.alloc(READ_BYTES);
    // Pages that were never written may all be one.
    const block = new Uint8Array(1 << 24).fill(1);
    for (let at = 0; at < READ_BYTES; at += block.length) backend.write(this.#x, at, block);
    const y = { buffer: this.#y, offset: 0 };
    const x = { buffer: this.#x, offset: 0 };
    this.#fma = backend.compile({ words: encodeRow('roof_fma', { y }, { iterations: ITERATIONS }, {}) });
    this.#read = backend.compile({ words: encodeRow('roof_read', { x, y }, { n: READ_BYTES / 4 }, {}) });
    this.#bf16 = backend.compile({ words: encodeRow('roof_bf16', { y }, { iterations: ITERATIONS }, {}) });
  }

  async measure(repeats = 3): Promise<Reading> {
    // 0 where the kernels have no instruction for it.
    const bf16 = await this.#flops(this.#bf16, repeats);
    return {
      fp32: await this.#flops(this.#fma, repeats),
      bf16: bf16 > 0 ? bf16 : null,
      read: READ_BYTES / 1e9 / (await this.#seconds(this.#read, repeats)),
    };
  }

  dispose(): void {
    for (const program of [this.#fma, this.#read, this.#bf16]) this.#backend.release(program);
    this.#backend.free(this.#y);
    this.#backend.free(this.#x);
  }

  /** The op says how much it did: the best of some runs. */
  async #flops(program: number, repeats: number): Promise<number> {
    const seconds = await this.#seconds(program, repeats);
    const bytes = await this.#backend.read(this.#y, 0, 4);
    return new Float32Array(bytes.buffer, bytes.byteOffset, 1)[0]! / seconds;
  }

  async #seconds(program: number, repeats: number): Promise<number> {
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < repeats; i++) {
      const began = performance.now();
      this.#backend.run(program);
      await this.#backend.fence();
      best = Math.min(best, (performance.now() - began) / 1000);
    }
    return best;
  }
}

export const better = (a: Reading, b: Reading): Reading => ({
  fp32: Math.max(a.fp32, b.fp32),
  bf16: a.bf16 === null || b.bf16 === null ? null : Math.max(a.bf16, b.bf16),
  read: Math.max(a.read, b.read),
});

/** Roofs on one thread and on all: the head of a report. */
export async function machineRoof(all: RoofMeter, isa: string): Promise<Roof> {
  const one = openBackend({ backend: 'cpu', isa, threads: 1 });
  const meter = new RoofMeter(one);
  const [single, full] = [await meter.measure(9), await all.measure(9)];
  meter.dispose();
  await one.close();
  return {
    fp32: full.fp32,
    fp32OneThread: single.fp32,
    bf16: full.bf16,
    bf16OneThread: single.bf16,
    read: full.read,
    readOneThread: single.read,
  };
}
