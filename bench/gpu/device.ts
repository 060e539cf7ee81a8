// What the parts of gpu_bench share: options, the shapes, the list of results, and a CUDA device that times rows.
//
// A time is that of a Program of many equal rows, divided: launches from a graph follow each other without gaps. Inputs are
// random numbers, all from one pool on the device: a block from the host, repeated. So a sample of any result can be
// computed again on the host.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Backend, openBackend, type RowList } from '../../ts/backend/index.js';
import type { OpName } from '../../ts/backend/ops.gen.js';
import { encodeRow, type Place, type RowDims, type RowOperands, type RowScalars } from '../../ts/backend/rows.js';
import { Prng } from '../../ts/tensor/prng.js';
import { concatenate } from '../rows.js';

export type Matmul = 'fp32' | 'tf32' | 'bf16';

export const { values: flags } = parseArgs({
  options: {
    /** Tiny shapes, for the emulator. */
    small: { type: 'boolean', default: false },
    /** Parts, separated by commas; default all. */
    only: { type: 'string', default: '' },
    /** Name of the file of results in $OUT. */
    file: { type: 'string', default: 'gpu_bench.json' },
    /** Keeps what is in it. */
    append: { type: 'boolean', default: false },
  },
});

/** A product of the list; `step` says how often a training step has it, 0 for others. */
export interface ProductShape {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Whether a and b are stored transposed: NN, NT or TN. */
  readonly layout: string;
  readonly step: number;
}
export interface Shapes {
  readonly model: Readonly<Record<'vocabulary' | 'width' | 'inner' | 'layers' | 'heads' | 'time', number>>;
  /** Windows of a step: the first that fit into memory are taken. */
  readonly sequences: readonly number[];
  readonly bank: { readonly experts: number; readonly slices: number; readonly clusters: readonly number[] };
  readonly products: readonly ProductShape[];
  readonly routing: Readonly<Record<'tokens' | 'experts' | 'k' | 'width' | 'inner', number>>;
  readonly attention: Readonly<Record<'batch' | 'time' | 'heads' | 'headDim', number>>;
  readonly memory: { readonly floats: number; readonly matrix: number; readonly groups: readonly number[] };
  readonly repeats: { readonly runs: number; readonly flops: number; readonly bytes: number };
}

/** Also read by peer.py. */
export const shapes: Shapes = JSON.parse(
  readFileSync(new URL(`../../../bench/gpu/shapes${flags.small ? '_small' : ''}.json`, import.meta.url), 'utf8'),
);

const file = process.env['OUT'] === undefined ? undefined : path.join(process.env['OUT'], flags.file);
const results: object[] =
  flags.append && file !== undefined && existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : [];

/** The file is written at once: a run that is cut short keeps what it has. */
export function report(result: object): void {
  results.push(result);
  console.log(JSON.stringify(result));
  if (file !== undefined) writeFileSync(file, JSON.stringify(results, null, 1));
}

export const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
export const round = (value: number) => Number(value.toPrecision(4));

/** Rows of one kind in a Program, so that it takes some milliseconds. */
export const repeats = (work: number, wanted: number) => Math.max(1, Math.min(200, Math.round(wanted / work)));

export function row<K extends OpName>(
  op: K,
  operands: RowOperands<K>,
  dims: RowDims<K>,
  scalars: RowScalars<K>,
): Uint32Array {
  return encodeRow(op, operands, dims, scalars);
}

/** Floats of the block that the pool repeats: a prime times the alignment of places, so that no rows of a matrix repeat. */
const BLOCK = 16 * 65521;

export class Device implements AsyncDisposable {
  readonly backend: Backend;
  readonly block: Float32Array;
  readonly #buffers: number[] = [];
  #pool: { readonly buffer: number; readonly floats: number } | undefined;

  constructor(matmul: Matmul = 'fp32') {
    this.backend = openBackend({ backend: 'cuda', matmul });
    const random = new Prng('bench');
    this.block = Float32Array.from({ length: BLOCK }, () => random.normal());
  }

  /** Random numbers: float i of the pool is block[i % BLOCK]. The pool holds as many as the first caller says. */
  pool(floats: number): number {
    if (this.#pool !== undefined && this.#pool.floats >= floats) return this.#pool.buffer;
    const buffer = this.backend.alloc(floats * 4);
    const first = Math.min(floats, BLOCK);
    this.backend.write(buffer, 0, new Uint8Array(this.block.buffer, 0, first * 4));
    const copies: Uint32Array[] = [];
    for (let have = first; have < floats; have *= 2) {
      const n = Math.min(have, floats - have);
      const [x, y] = [
        { buffer, offset: 0 },
        { buffer, offset: have * 4 },
      ];
      copies.push(row('cast', { x, y }, { n, from: 0, to: 0 }, {}));
    }
    this.once(copies);
    this.#pool = { buffer, floats };
    return buffer;
  }

  /** Zeros, freed by `free`. */
  place(bytes: number): Place {
    const buffer = this.backend.alloc(bytes);
    this.#buffers.push(buffer);
    return { buffer, offset: 0 };
  }

  floats(values: readonly number[]): Place {
    return this.#written(new Uint8Array(Float32Array.from(values).buffer));
  }

  ints(values: readonly number[]): Place {
    return this.#written(new Uint8Array(Int32Array.from(values).buffer));
  }

  #written(bytes: Uint8Array): Place {
    const place = this.place(bytes.length);
    this.backend.write(place.buffer, 0, bytes);
    return place;
  }

  /** Queues some rows once. */
  once(rows: readonly Uint32Array[]): void {
    if (rows.length === 0) return;
    const program = this.backend.compile({ words: concatenate(rows) });
    this.backend.run(program);
    this.backend.release(program);
  }

  /** Median seconds of `count` rows `words`, for one. */
  async seconds(count: number, words: Uint32Array): Promise<number> {
    return (await this.programSeconds({ words: concatenate(Array.from({ length: count }, () => words)) })) / count;
  }

  async programSeconds(list: RowList): Promise<number> {
    const program = this.backend.compile(list);
    const times: number[] = [];
    for (let i = 0; i < shapes.repeats.runs + 1; i++) {
      await this.backend.fence();
      const began = performance.now();
      this.backend.run(program);
      await this.backend.fence();
      if (i > 0) times.push((performance.now() - began) / 1000);
    }
    this.backend.release(program);
    return median(times);
  }

  async readFloat({ buffer, offset }: Place, i: number): Promise<number> {
    const at = offset + i * 4;
    const bytes = await this.backend.read(buffer, at, 4);
    return new DataView(bytes.buffer, bytes.byteOffset).getFloat32(0, true);
  }

  free(): void {
    for (const buffer of this.#buffers.splice(0)) this.backend.free(buffer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.backend.close();
  }
}
