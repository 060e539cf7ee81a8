// What native/cuda/copies.cu decides about a Program, once more: which factors are read in bf16, which outputs are written
// in it, and which copies take a kernel of their own. For counting bytes without a device; no result depends on it.
import { readFileSync } from 'node:fs';
import type { RowList } from '../../ts/backend/index.js';
import { type DecodedRow, decodeRows } from '../../ts/backend/rows.js';

interface Copy {
  readonly buffer: number;
  readonly begin: number;
  readonly end: number;
  readonly first: number;
  last: number;
  readonly written: boolean;
  used: boolean;
  kept: boolean;
  direct: boolean;
  inPlace: boolean;
}

/** Bytes that a row moves, each operand once, and those of the copies that are made before and after it. */
export interface Moved {
  readonly row: DecodedRow;
  readonly bytes: number;
  readonly rounding: number;
}

/** Operand that an op writes in bf16 itself, by op; from the source, so that it cannot be out of date. */
function directOutputs(): Map<string, number> {
  const source = readFileSync(new URL('../../../native/cuda/copies.cu', import.meta.url), 'utf8');
  const body = /int direct_output\(Op op\) \{([\s\S]*?)\n\}/.exec(source)?.[1] ?? '';
  const outputs = new Map<string, number>();
  let waiting: string[] = [];
  for (const [, op, index] of body.matchAll(/case Op::(\w+):|return (-?\d+);/g)) {
    if (op !== undefined) waiting.push(op);
    else {
      for (const name of waiting) outputs.set(name, Number(index));
      waiting = [];
    }
  }
  return outputs;
}

/** Operands that a row multiplies in bf16. */
function factors({ spec, dims }: DecodedRow): readonly number[] {
  if (dims[spec.dims.indexOf('precision')] !== 1) return [];
  return spec.name === 'attention' ? [0] : [0, 1];
}

const UNITS: Readonly<Record<string, number>> = { raw: 1 };

export class Copies {
  readonly #direct = directOutputs();
  readonly #copies: Copy[] = [];
  readonly #rows: readonly DecodedRow[];
  #live: Copy[] = [];

  constructor(readonly program: RowList) {
    this.#rows = [...decodeRows(program.words)];
    this.#rows.forEach((row, i) => {
      this.#walk(row, i);
    });
    for (const copy of this.#copies) if (copy.used) this.#decide(copy);
  }

  rows(): Moved[] {
    return this.#rows.map((row, i) => {
      const bf16 = factors(row);
      let bytes = 0;
      this.#each(row, (operand, role, range) => {
        const size = range.end - range.begin;
        if (role === 'in') bytes += bf16.includes(operand) ? size / 2 : size;
        else if (role === 'inout') bytes += 2 * size;
        else {
          const copy = this.#copies.find(
            (c) => c.first === i && c.direct && c.buffer === range.buffer && c.begin === range.begin,
          );
          bytes += copy === undefined ? size : (copy.kept ? size : 0) + size / 2;
        }
      });
      const made = this.#copies.filter((copy) => copy.used && !copy.direct && copy.first === i);
      return { row, bytes, rounding: made.reduce((sum, { begin, end }) => sum + 1.5 * (end - begin), 0) };
    });
  }

  /** Bytes of the copies that lie apart: each at the lowest free place during its life, the largest first. */
  bytes(): number {
    const size = ({ begin, end }: Copy) => Math.ceil((end - begin) / 2 / 256) * 256;
    const placed: { copy: Copy; at: number }[] = [];
    let all = 0;
    const apart = this.#copies.filter(({ used, inPlace }) => used && !inPlace).sort((a, b) => size(b) - size(a));
    for (const copy of apart) {
      let at = 0;
      for (const there of placed) {
        if (there.copy.last < copy.first || copy.last < there.copy.first) continue;
        if (at + size(copy) <= there.at) break;
        at = Math.max(at, there.at + size(there.copy));
      }
      all = Math.max(all, at + size(copy));
      placed.push({ copy, at });
      placed.sort((a, b) => a.at - b.at);
    }
    return all;
  }

  #each(
    row: DecodedRow,
    body: (operand: number, role: string, range: { buffer: number; begin: number; end: number }) => void,
  ): void {
    const extents = row.spec.extents(row.dims);
    row.operands.forEach((place, i) => {
      const { role, dtype } = row.spec.operands[i]!;
      if (place === undefined || extents[i]! <= 0) return;
      body(i, role, {
        buffer: place.buffer,
        begin: place.offset,
        end: place.offset + extents[i]! * (UNITS[dtype] ?? 4),
      });
    });
  }

  #walk(row: DecodedRow, at: number): void {
    const bf16 = factors(row);
    const overlapping = (range: { buffer: number; begin: number; end: number }) =>
      this.#live.filter((c) => c.buffer === range.buffer && range.begin < c.end && c.begin < range.end);
    this.#each(row, (operand, role, range) => {
      if (role === 'out') return;
      const keep = () => {
        for (const copy of overlapping(range)) copy.kept = true;
      };
      if (!bf16.includes(operand)) return keep();
      let copy = overlapping(range).find((c) => c.begin <= range.begin && range.end <= c.end);
      if (copy === undefined) {
        keep();
        copy = this.#add(at, range, false);
      }
      copy.used = true;
      copy.last = at;
    });
    this.#each(row, (_, role, range) => {
      if (role === 'in') return;
      const gone = overlapping(range);
      for (const copy of gone) if (!(range.begin <= copy.begin && copy.end <= range.end)) copy.kept = true;
      this.#live = this.#live.filter((copy) => !gone.includes(copy));
      this.#add(at, range, true);
    });
  }

  #add(at: number, range: { buffer: number; begin: number; end: number }, written: boolean): Copy {
    const { arena, kept = [] } = this.program;
    let needed = !written || range.buffer !== arena;
    for (let i = 0; i < kept.length; i += 2) if (range.begin < kept[i + 1]! && kept[i]! < range.end) needed = true;
    const copy = { ...range, first: at, last: at, written, used: false, kept: needed, direct: false, inPlace: false };
    this.#copies.push(copy);
    this.#live.push(copy);
    return copy;
  }

  #decide(copy: Copy): void {
    if (!copy.written) return;
    const row = this.#rows[copy.first]!;
    const output = this.#direct.get(row.spec.name);
    let shared = false;
    this.#each(row, (operand, role, range) => {
      if (range.buffer !== copy.buffer) return;
      if (operand === output && range.begin <= copy.begin && copy.end <= range.end) copy.direct = true;
      if (role !== 'out' && range.begin < copy.end && copy.begin < range.end) shared = true;
    });
    if (!copy.direct) copy.kept = true;
    else copy.inPlace = !copy.kept && !shared;
  }
}
