// The memory plan: one arena for all temporaries of a Program. A storage lives from the row that first writes it to the
// row that last touches it; storages whose lives do not overlap share memory, and an output may take over the memory of an
// input that dies at that row when the op table allows it.

import type { TapeRow } from '../autograd/tape.js';
import { OPS } from '../backend/ops.gen.js';
import type { Storage, TemporaryStorage, Tensor } from '../tensor/tensor.js';

export interface Plan {
  /** Byte offset of every temporary storage in the arena. */
  readonly offsets: ReadonlyMap<Storage, number>;
  /** Size of the arena. */
  readonly arenaBytes: number;
  /** What the temporaries would take without sharing. */
  readonly sumBytes: number;
}

interface Life {
  begin: number;
  end: number;
  readonly bytes: number;
  readonly members: TemporaryStorage[];
}

const align = (bytes: number): number => Math.ceil(bytes / 64) * 64;

export function planMemory(rows: readonly TapeRow[], outputs: Iterable<Tensor>): Plan {
  const lives = new Map<Storage, Life>();
  let sumBytes = 0;
  const touch = (tensor: Tensor, row: number) => {
    const storage = tensor.storage;
    if (storage.kind !== 'temporary') return;
    const life = lives.get(storage);
    if (life !== undefined) life.end = row;
    else {
      lives.set(storage, { begin: row, end: row, bytes: align(storage.bytes), members: [storage] });
      sumBytes += align(storage.bytes);
    }
  };
  rows.forEach((row, i) => {
    for (const operand of row.operands) if (operand !== undefined) touch(operand, i);
  });
  for (const tensor of outputs) touch(tensor, rows.length);

  // Take-overs, in row order, so that chains form.
  rows.forEach((row, i) => {
    OPS[row.op].operands.forEach((spec, at) => {
      const out = row.operands[at];
      if (spec.role !== 'out' || out?.storage.kind !== 'temporary' || out.offset !== 0) return;
      const mine = lives.get(out.storage)!;
      if (mine.begin !== i || mine.members[0] !== out.storage) return;
      for (const name of spec.inplace) {
        const source = row.operands[OPS[row.op].operands.findIndex((operand) => operand.name === name)];
        if (source?.storage.kind !== 'temporary' || source.offset !== 0 || source.storage.bytes !== out.storage.bytes)
          continue;
        const theirs = lives.get(source.storage)!;
        const others = row.operands.filter((operand, j) => {
          if (operand === undefined || j === at || lives.get(operand.storage) !== theirs) return false;
          return !spec.inplace.includes(OPS[row.op].operands[j]!.name);
        });
        if (theirs.end !== i || theirs === mine || others.length > 0) continue;
        theirs.end = mine.end;
        theirs.members.push(...mine.members);
        for (const member of mine.members) lives.set(member, theirs);
        break;
      }
    });
  });

  // Big ones first, each at the lowest place free during its life.
  const offsets = new Map<Storage, number>();
  const placed: { begin: number; end: number; from: number; to: number }[] = [];
  let arenaBytes = 0;
  const order = [...new Set(lives.values())].sort((a, b) => b.bytes - a.bytes || a.begin - b.begin);
  for (const life of order) {
    const busy = placed.filter((p) => p.begin <= life.end && life.begin <= p.end).sort((a, b) => a.from - b.from);
    let from = 0;
    for (const p of busy) {
      if (p.from - from >= life.bytes) break;
      from = Math.max(from, p.to);
    }
    placed.push({ begin: life.begin, end: life.end, from, to: from + life.bytes });
    arenaBytes = Math.max(arenaBytes, from + life.bytes);
    for (const member of life.members) offsets.set(member, from);
  }
  return { offsets, arenaBytes, sumBytes };
}
