// A case in memory: operands one after the other in one buffer, with a guard before and after each. Guards and outputs
// begin as NaN, so a read past an operand, a missed write and a write past an operand all show.
import { OPS, type Role } from '../../ts/backend/ops.gen.js';
import { ALIGNMENT, encodeRow } from '../../ts/backend/rows.js';
import { encodeHalf, type Kind, rawKind, widthOf } from '../support/oracle/memory.js';
import type { Case, Values } from './case.js';

/** A quiet NaN with a pattern of its own; as an int32 it is past every table. */
const GUARD = 0x7fc5a5a5;
const GUARD_BYTES = 128;

export interface Span {
  readonly name: string;
  readonly role: Role;
  readonly kind: Kind;
  /** Bytes from the start of the buffer. */
  readonly offset: number;
  /** Elements. */
  readonly count: number;
  readonly bytes: number;
}

export interface Layout {
  /** The buffer before the run. */
  readonly image: Uint8Array;
  readonly spans: readonly Span[];
  /** The one row, given the buffer's id. */
  readonly words: (buffer: number) => Uint32Array;
}

/** `sharing` puts an output on the memory of an input: { y: 'x' }. */
export function layOut(item: Case, inputs: Values, sharing: Readonly<Record<string, string>> = {}): Layout {
  const spec = OPS[item.op];
  const extents = spec.extents(spec.dims.map((dim) => item.dims[dim]!));
  const spans: Span[] = [];
  let end = item.base + GUARD_BYTES;
  spec.operands.forEach((operand, i) => {
    if (operand.optional && !item.present.includes(operand.name)) return;
    const raw = operand.dtype === 'raw';
    const kind: Kind = raw ? rawKind(operand.name, item.dims) : (operand.dtype as Kind);
    const count = Math.max(0, extents[i]!) / (raw ? widthOf(kind) : 1);
    const bytes = count * widthOf(kind);
    const host = spans.find((span) => span.name === sharing[operand.name]);
    spans.push({ name: operand.name, role: operand.role, kind, offset: host?.offset ?? end, count, bytes });
    if (host === undefined) end = roundUp(end + bytes) + GUARD_BYTES;
  });

  const image = new Uint8Array(end);
  new Uint32Array(image.buffer).fill(GUARD);
  for (const span of spans) {
    const values = inputs[span.name];
    if (values !== undefined) image.set(toBytes(values, span.kind), span.offset);
  }
  const words = (buffer: number) => {
    const places = Object.fromEntries(spans.map((span) => [span.name, { buffer, offset: span.offset }]));
    return encodeRow(item.op, places as never, item.dims as never, item.scalars as never);
  };
  return { image, spans, words };
}

/** Bytes that no operand may change: guards, alignment gaps and inputs; the first one that differs, in words. */
export function trespass(layout: Layout, after: Uint8Array): string | undefined {
  const writable = new Uint8Array(after.length);
  for (const span of layout.spans) if (span.role !== 'in') writable.fill(1, span.offset, span.offset + span.bytes);
  for (let i = 0; i < after.length; i++) {
    if (writable[i] === 1 || after[i] === layout.image[i]) continue;
    const near = layout.spans.findLast((span) => span.offset <= i);
    if (near === undefined) return `byte ${i}, before the first operand, was written`;
    return i < near.offset + near.bytes
      ? `input ${near.name} was changed at byte ${i - near.offset}`
      : `byte ${i - near.offset} of ${near.name}, which has ${near.bytes}, was written`;
  }
  return undefined;
}

function toBytes(values: Float32Array | Int32Array, kind: Kind): Uint8Array {
  if (kind === 'f32' || kind === 'i32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return new Uint8Array(Uint16Array.from(values, (value) => encodeHalf(value, kind)).buffer);
}

const roundUp = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
