// The check of rows that the addon does in C++ (native/core/stream.cc), for devices without it.
import type { CheckedRows } from '../../bindings/wasm/device.js';
import { ABSENT, ALIGNMENT, opOfCode } from './rows.js';

/** Walks the rows of a Program. Throws a plain Error that names row, op and operand. */
export function checkRows(
  words: Uint32Array,
  check: (buffer: number, offset: number, bytes: number, what: string) => void,
): CheckedRows {
  const rows: number[] = [];
  const operands: number[] = [];
  const buffers = new Set<number>();
  for (let at = 0; at < words.length; ) {
    const where = `row ${rows.length}`;
    const spec = opOfCode(words[at]! & 0xffff);
    if (spec === undefined) throw new Error(`${where}: unknown opcode ${words[at]! & 0xffff}`);
    const length = words[at]! >>> 16;
    if (length !== spec.words || length > words.length - at)
      throw new Error(`${where}: ${spec.name} has ${length} words`);
    const firstDim = at + 1 + 2 * spec.operands.length;
    const extents = spec.extents([...words.subarray(firstDim, firstDim + spec.dims.length)]);
    spec.operands.forEach((operand, i) => {
      const word = at + 1 + 2 * i;
      const name = `${where}: ${spec.name} ${operand.name}`;
      const buffer = words[word]!;
      operands.push(word);
      if (buffer === ABSENT) {
        if (!operand.optional) throw new Error(`${name} is missing`);
        return;
      }
      const bytes = Math.max(extents[i]!, 0) * (operand.dtype === 'raw' ? 1 : 4);
      check(buffer, words[word + 1]! * ALIGNMENT, bytes, name);
      buffers.add(buffer);
    });
    rows.push(at);
    at += length;
  }
  return { rows: Uint32Array.from(rows), operands: Uint32Array.from(operands), buffers };
}
