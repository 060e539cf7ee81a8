// What a case of the conformance suite is. Cases are data: one file an op in cases/, read by the runner, the coverage table
// and the benchmarks. To add cases: extend the list of the op's file. To add an op: a file in cases/ and a line in
// cases/index.ts.
import { OPS, type OpRows } from '../../ts/backend/ops.gen.js';
import type { RowDims, RowScalars } from '../../ts/backend/rows.js';
import type { OracleName } from '../support/oracle/op.js';

export type Values = Readonly<Record<string, Float32Array | Int32Array>>;

/** What a generator may look at: its own size, the case, and the operands drawn before it in the order of the table. */
export interface Draw {
  /** Uniform in [0, 1), the same sequence in every run. */
  readonly random: () => number;
  readonly count: number;
  readonly dims: Readonly<Record<string, number>>;
  readonly scalars: Readonly<Record<string, number>>;
  readonly drawn: Values;
}
export type Generator = (draw: Draw) => ArrayLike<number>;

export interface Case {
  readonly op: OracleName;
  /** Unique within the op: dims, scalars, optional operands, label. */
  readonly name: string;
  readonly dims: Readonly<Record<string, number>>;
  readonly scalars: Readonly<Record<string, number>>;
  /** Optional operands that the row has. */
  readonly present: readonly string[];
  readonly inputs: Readonly<Record<string, Generator>>;
  /** Bytes before the first operand, a multiple of 64: moves all operands against cache lines and pages. */
  readonly base: number;
  /** Worth timing; everything else is too small to mean anything. */
  readonly large: boolean;
  /** Additions and multiplications of the definition; exp, log, sqrt and division count as one. */
  readonly flops: number;
  /** Bytes that must be read and written at least once. */
  readonly bytes: number;
  /** Terms in the longest sum behind an output: float32 error grows with it. */
  readonly length: number;
}

type Names<K extends OracleName> = OpRows[K]['required'] | OpRows[K]['optional'];

export interface CaseEntry<K extends OracleName> {
  readonly dims: RowDims<K>;
  readonly scalars?: RowScalars<K>;
  readonly with?: readonly OpRows[K]['optional'][];
  readonly inputs?: { readonly [P in Names<K>]?: Generator };
  readonly base?: number;
  readonly label?: string;
  readonly large?: true;
}

export interface OpCases<K extends OracleName> {
  readonly op: K;
  readonly flops: (dims: RowDims<K>) => number;
  /** Default: every operand once, an inout one twice. */
  readonly bytes?: (dims: RowDims<K>) => number;
  readonly length: (dims: RowDims<K>) => number;
  /** For entries without their own; ops without scalars need none. */
  readonly scalars?: RowScalars<K>;
  /** For entries without their own. Default: uniform in [-1, 1). */
  readonly inputs?: { readonly [P in Names<K>]?: Generator };
  readonly list: readonly CaseEntry<K>[];
}

/** Fills in what entries leave out. Equal entries get numbered names, and so different inputs. */
export function defineCases<K extends OracleName>(all: OpCases<K>): Case[] {
  const names = new Map<string, number>();
  return all.list.map((entry) => {
    const dims = entry.dims as Readonly<Record<string, number>>;
    const scalars = (entry.scalars ?? all.scalars ?? {}) as Readonly<Record<string, number>>;
    const present: readonly string[] = entry.with ?? [];
    const base = entry.base ?? 0;
    const words = [
      ...Object.entries({ ...dims, ...scalars }).map(([key, value]) => `${key}=${value}`),
      ...present.map((operand) => `+${operand}`),
      ...(base > 0 ? [`base=${base}`] : []),
      ...(entry.label === undefined ? [] : [`(${entry.label})`]),
    ].join(' ');
    const times = (names.get(words) ?? 0) + 1;
    names.set(words, times);
    const name = times === 1 ? words : `${words} #${times}`;
    return {
      op: all.op,
      name,
      dims,
      scalars,
      present,
      inputs: { ...all.inputs, ...entry.inputs } as Readonly<Record<string, Generator>>,
      base,
      large: entry.large ?? false,
      flops: all.flops(entry.dims),
      bytes: all.bytes?.(entry.dims) ?? bytesOf(all.op, dims, present),
      length: Math.max(1, all.length(entry.dims)),
    };
  });
}

function bytesOf(op: OracleName, dims: Readonly<Record<string, number>>, present: readonly string[]): number {
  const spec = OPS[op];
  const extents = spec.extents(spec.dims.map((dim) => dims[dim]!));
  let bytes = 0;
  spec.operands.forEach((operand, i) => {
    if (operand.optional && !present.includes(operand.name)) return;
    const size = Math.max(0, extents[i]!) * (operand.dtype === 'raw' ? 1 : 4);
    bytes += operand.role === 'inout' ? 2 * size : size;
  });
  return bytes;
}

/** Lengths from nothing to past two of the widest vectors, each at three offsets. */
export function sweep<T>(make: (n: number, base: number) => T, from = 0): T[] {
  return range(from, 33).flatMap((n) => [0, 64, 192].map((base) => make(n, base)));
}

/** Lengths of rows that kernels keep in registers, of every size that there is a kernel for, and two that are too long. */
export const WIDE = [132, 260, 516, 772, 1004, 1500, 3000, 5000, 8000, 9000, 33_000];

/** from, from + 1, ..., to */
export const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Every way to take one of each. */
export function product<A, B>(as: readonly A[], bs: readonly B[]): [A, B][] {
  return as.flatMap((a) => bs.map((b): [A, B] => [a, b]));
}
