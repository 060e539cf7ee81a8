// Rows of the op table as things to time: operands in buffers of their own, the row repeated in one Program so that the
// hand-over to the stream does not count.
import type { Backend } from '../ts/backend/index.js';
import { OPS, type OpName } from '../ts/backend/ops.gen.js';
import { encodeRow } from '../ts/backend/rows.js';
import { Prng } from '../ts/tensor/prng.js';
import type { Contender } from './measure.js';

/** A sample of at least this many seconds: the clock and the fence are then under 1% of it. */
const SAMPLE = 4e-3;
const TURN_SAMPLES = 5;

export interface RowSpec {
  readonly op: OpName;
  /** Dims that are not given are 0: the plain form of the op. */
  readonly dims: Readonly<Record<string, number>>;
  readonly scalars?: Readonly<Record<string, number>>;
  /** Optional operands that the row has. */
  readonly present?: readonly string[];
  /** Values of inputs; float32 inputs without any are random, int32 inputs zero. */
  readonly inputs?: Readonly<Record<string, Float32Array | Int32Array>>;
}

const pattern = (() => {
  let made: Uint8Array | undefined;
  return () => {
    const random = new Prng('bench');
    made ??= new Uint8Array(Float32Array.from({ length: 1 << 18 }, () => random.normal()).buffer);
    return made;
  };
})();

/** Rows of one kind on their own buffers; `free` gives them back. */
export class TimedRows {
  readonly #buffers: number[] = [];
  readonly #words: Uint32Array;
  #program: { readonly id: number; readonly calls: number } | undefined;

  constructor(
    readonly backend: Backend,
    specs: readonly RowSpec[],
    readonly name = 'sweetspot',
  ) {
    this.#words = concatenate(specs.map((spec) => this.#row(spec)));
  }

  /** Seconds of all the rows once, one turn's worth of samples after a warm-up. */
  async turn(): Promise<number[]> {
    this.#program ??= await this.#calibrated();
    const { id, calls } = this.#program;
    await this.#seconds(id);
    const samples: number[] = [];
    for (let i = 0; i < TURN_SAMPLES; i++) samples.push((await this.#seconds(id)) / calls);
    return samples;
  }

  get contender(): Contender {
    return { name: this.name, turn: () => this.turn() };
  }

  free(): void {
    if (this.#program !== undefined) this.backend.release(this.#program.id);
    for (const buffer of this.#buffers.splice(0)) this.backend.free(buffer);
  }

  async #seconds(id: number): Promise<number> {
    const began = performance.now();
    this.backend.run(id);
    await this.backend.fence();
    return (performance.now() - began) / 1000;
  }

  async #calibrated(): Promise<{ id: number; calls: number }> {
    const once = this.backend.compile({ words: this.#words });
    await this.#seconds(once);
    const seconds = Math.max(await this.#seconds(once), 2e-6);
    this.backend.release(once);
    const calls = Math.max(1, Math.min(2000, Math.ceil(SAMPLE / seconds)));
    const words = concatenate(Array.from({ length: calls }, () => this.#words));
    return { id: this.backend.compile({ words }), calls };
  }

  #row({ op, dims, scalars, present = [], inputs = {} }: RowSpec): Uint32Array {
    const spec = OPS[op];
    const all = Object.fromEntries(spec.dims.map((dim) => [dim, dims[dim] ?? 0]));
    const extents = spec.extents(spec.dims.map((dim) => all[dim]!));
    const places: Record<string, { buffer: number; offset: number }> = {};
    spec.operands.forEach((operand, i) => {
      if (operand.optional && !present.includes(operand.name)) return;
      const bytes = Math.max(0, extents[i]!) * (operand.dtype === 'raw' ? 1 : 4);
      const buffer = this.backend.alloc(bytes);
      this.#buffers.push(buffer);
      places[operand.name] = { buffer, offset: 0 };
      const given = inputs[operand.name];
      if (given !== undefined) this.backend.write(buffer, 0, bytesOf(given).subarray(0, bytes));
      else if (operand.dtype !== 'i32' && operand.role !== 'out') this.#fill(buffer, bytes);
    });
    return encodeRow(op, places as never, all as never, (scalars ?? {}) as never);
  }

  #fill(buffer: number, bytes: number): void {
    const values = pattern();
    for (let at = 0; at < bytes; at += values.length)
      this.backend.write(buffer, at, values.subarray(0, Math.min(values.length, bytes - at)));
  }
}

/** Bytes that a row must read and write at least once. */
export function rowBytes({ op, dims, present = [] }: RowSpec): number {
  const spec = OPS[op];
  const extents = spec.extents(spec.dims.map((dim) => dims[dim] ?? 0));
  return spec.operands.reduce((sum, operand, i) => {
    if (operand.optional && !present.includes(operand.name)) return sum;
    return sum + Math.max(0, extents[i]!) * (operand.dtype === 'raw' ? 1 : 4) * (operand.role === 'inout' ? 2 : 1);
  }, 0);
}

const bytesOf = (values: Float32Array | Int32Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

export function concatenate(parts: readonly Uint32Array[]): Uint32Array {
  const all = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
