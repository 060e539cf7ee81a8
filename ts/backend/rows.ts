// Rows as words and back: the only place that knows the layout in TypeScript. `opcode | length << 16`, two words an
// operand (buffer, offset / 64), one a dim, one a scalar (float bits).
import { SweetspotError } from './errors.js';
import { OPS, type OpName, type OpRows, type OpSpec } from './ops.gen.js';

/** A place in device memory; `offset` in bytes, a multiple of 64. */
export interface Place {
  readonly buffer: number;
  readonly offset: number;
}

export type RowOperands<K extends OpName> = { readonly [P in OpRows[K]['required']]: Place } & {
  readonly [P in OpRows[K]['optional']]?: Place | undefined;
};
export type RowDims<K extends OpName> = { readonly [P in OpRows[K]['dims']]: number };
export type RowScalars<K extends OpName> = { readonly [P in OpRows[K]['scalars']]: number };

/** Offsets are stored in units of this many bytes. */
export const ALIGNMENT = 64;
/** Stands for the buffer of an operand that is not there. */
export const ABSENT = 0xffffffff;

const byCode = new Map<number, OpSpec>(Object.values(OPS).map((spec) => [spec.code, spec]));
const floatWord = new Float32Array(1);
const wordOfFloat = new Uint32Array(floatWord.buffer);

/** The op of an opcode, if there is one. */
export const opOfCode = (code: number): OpSpec | undefined => byCode.get(code);

/** Words of one row. Throws SWEETSPOT_PROGRAM for a missing operand, an unaligned offset or a dim that is not a u32. */
export function encodeRow<K extends OpName>(
  op: K,
  operands: RowOperands<K>,
  dims: RowDims<K>,
  scalars: RowScalars<K>,
): Uint32Array {
  const spec = OPS[op];
  const words = new Uint32Array(spec.words);
  const bad = (what: string): never => {
    throw new SweetspotError('SWEETSPOT_PROGRAM', { what: `${op}: ${what}` });
  };
  let at = 0;
  words[at++] = spec.code | (spec.words << 16);
  const places = operands as Readonly<Record<string, Place | undefined>>;
  for (const operand of spec.operands) {
    const place = places[operand.name];
    if (place === undefined) {
      if (!operand.optional) bad(`operand ${operand.name} is missing`);
      words[at++] = ABSENT;
      words[at++] = 0;
    } else {
      if (place.offset % ALIGNMENT !== 0)
        bad(`offset ${place.offset} of ${operand.name} is not a multiple of ${ALIGNMENT}`);
      words[at++] = place.buffer;
      words[at++] = place.offset / ALIGNMENT;
    }
  }
  const values = dims as Readonly<Record<string, number>>;
  for (const dim of spec.dims) {
    const value = values[dim]!;
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) bad(`${dim} is ${value}`);
    words[at++] = value;
  }
  const floats = scalars as Readonly<Record<string, number>>;
  for (const scalar of spec.scalars) {
    floatWord[0] = floats[scalar]!;
    words[at++] = wordOfFloat[0]!;
  }
  return words;
}

export interface DecodedRow {
  readonly spec: OpSpec;
  readonly operands: readonly (Place | undefined)[];
  readonly dims: readonly number[];
  readonly scalars: readonly number[];
}

/** Rows of a word list, in order. Throws SWEETSPOT_PROGRAM on an unknown opcode or a wrong length. */
export function* decodeRows(words: Uint32Array): Generator<DecodedRow> {
  let at = 0;
  while (at < words.length) {
    const spec = byCode.get(words[at]! & 0xffff);
    const length = words[at]! >>> 16;
    if (spec === undefined || length !== spec.words || at + length > words.length) {
      throw new SweetspotError('SWEETSPOT_PROGRAM', { what: `word ${at} does not begin a row`, found: `${words[at]}` });
    }
    let next = at + 1;
    const operands = spec.operands.map(() => {
      const buffer = words[next++]!;
      const offset = words[next++]! * ALIGNMENT;
      return buffer === ABSENT ? undefined : { buffer, offset };
    });
    const dims = spec.dims.map(() => words[next++]!);
    const scalars = spec.scalars.map(() => {
      wordOfFloat[0] = words[next++]!;
      return floatWord[0]!;
    });
    yield { spec, operands, dims, scalars };
    at += length;
  }
}

/** "rms_norm x:f32[512,256] w:f32[256] -> y:f32[512,256] rstd:f32[512] (eps 0.00001)"; `nameOf` may name an operand. */
export function printRow(row: DecodedRow, nameOf?: (place: Place) => string | undefined): string {
  const shapes = row.spec.shapes(row.dims);
  const texts = row.spec.operands.map((operand, i) => {
    const place = row.operands[i];
    if (place === undefined) return undefined;
    const name = nameOf?.(place);
    return `${operand.name}${name === undefined ? '' : `=${name}`}:${operand.dtype}[${shapes[i]!.join(',')}]`;
  });
  const pick = (out: boolean) =>
    texts.filter((text, i) => text !== undefined && (row.spec.operands[i]!.role === 'in') !== out).join(' ');
  const extra = [
    ...row.spec.dims.flatMap((dim, i) =>
      /^(trans|inverse|from|to)/.test(dim) && row.dims[i] ? [`${dim} ${row.dims[i]}`] : [],
    ),
    ...row.spec.scalars.map((scalar, i) => `${scalar} ${Number(row.scalars[i]!.toPrecision(6))}`),
  ];
  return `${row.spec.name} ${pick(false)} -> ${pick(true)}${extra.length > 0 ? ` (${extra.join(', ')})` : ''}`;
}
