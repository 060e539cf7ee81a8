// What tests of Programs on a GPU share: rows run as one Program and as Programs of their own.
import { type Backend, cudaInfo } from '../../ts/backend/index.js';
import type { Case } from '../conformance/case.js';
import { CASES } from '../conformance/cases/index.js';
import { sequence } from '../conformance/generators.js';
import type { Span } from '../conformance/layout.js';

/** Of the cases of an op, every so-manieth. */
const STEP = 7;
/** Bytes of the largest case that is worth the time of an emulation. */
const MOST = 1 << 20;

export const available = 'name' in (cudaInfo() ?? {});

/** Rows over the buffers of one run: the arena and one for everything else. */
export type Rows = (arena: number, rest: number) => Uint32Array[];

export interface Setting {
  readonly arena: Uint8Array;
  readonly rest: Uint8Array;
  readonly rows: Rows;
  /** Bytes of the arena that are read afterwards; undefined: every row is a Program of its own and has no arena. */
  readonly kept?: readonly number[] | undefined;
  readonly runs?: number;
}

/** Arena and rest after the runs. */
export async function after(
  backend: Backend,
  { arena, rest, rows, kept, runs = 1 }: Setting,
): Promise<[Uint8Array, Uint8Array]> {
  const [first, second] = [backend.alloc(arena.length), backend.alloc(rest.length)];
  backend.write(first, 0, arena);
  backend.write(second, 0, rest);
  const words = rows(first, second);
  const programs =
    kept === undefined
      ? words.map((row) => backend.compile({ words: row }))
      : [backend.compile({ words: Uint32Array.from(words.flatMap((row) => [...row])), arena: first, kept })];
  for (let run = 0; run < runs; run++) for (const program of programs) backend.run(program);
  await backend.fence();
  const images = await Promise.all([
    backend.read(first, 0, arena.length),
    backend.read(second, 0, rest.length),
  ] as const);
  for (const program of programs) backend.release(program);
  backend.free(first);
  backend.free(second);
  return images;
}

export function numbers(count: number, name: string): Uint8Array {
  const random = sequence(name);
  return new Uint8Array(Float32Array.from({ length: count }, () => 2 * random() - 1).buffer);
}

export const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
export const bytesOf = (image: Uint8Array, { offset, bytes }: Span) => image.subarray(offset, offset + bytes);
export const round = (floats: number): number => Math.ceil(floats / 16) * 64;

/** Some cases of an op, none of them large. */
export function someCases(op: keyof typeof CASES): Case[] {
  const cases: readonly Case[] = CASES[op];
  return cases.filter((item, i) => item.bytes < MOST && (i % STEP === 0 || i > cases.length - 30));
}
