// Values for operands. A generator gets the case's own random sequence, so every run and every machine sees the same bytes.

import { OPS } from '../../ts/backend/ops.gen.js';
import { type Kind, rawKind, widthOf } from '../support/oracle/memory.js';
import type { Case, Draw, Generator } from './case.js';

/** Uniform in [low, high). Ranges around zero cancel in sums; prefer a shifted one where an op returns few large sums. */
export const uniform =
  (low: number, high: number): Generator =>
  ({ random, count }) =>
    Array.from({ length: count }, () => low + (high - low) * random());

/** Whole numbers from low to high. */
export const integers =
  (low: number, high: number): Generator =>
  ({ random, count }) =>
    Array.from({ length: count }, () => low + Math.floor((high - low + 1) * random()));

/** These numbers, repeated from the start as long as needed. */
export const repeat =
  (values: readonly number[]): Generator =>
  ({ count }) =>
    Array.from({ length: count }, (_, i) => values[i % values.length]!);

/** `generator` with each of `values` put at some place; later ones may land on earlier ones. */
export const sprinkle =
  (values: readonly number[], generator: Generator = uniform(-1, 1)): Generator =>
  (draw) => {
    const out = Array.from(generator(draw));
    if (out.length > 0) for (const value of values) out[Math.floor(draw.random() * out.length)] = value;
    return out;
  };

/** Ids of a table with dims[name] rows; `absent` of them, on average, are -1. */
export const idsOf =
  (name: string, absent = 0): Generator =>
  ({ random, count, dims }) =>
    Array.from({ length: count }, () => (random() < absent ? -1 : Math.floor(random() * dims[name]!)));

/** Rising from 0 to dims[end] at random places, so that some groups are empty. */
export const offsetsTo =
  (end: string): Generator =>
  ({ random, count, dims }) => {
    const inner = Array.from({ length: Math.max(0, count - 2) }, () => Math.floor(random() * (dims[end]! + 1)));
    return [0, ...inner.sort((a, b) => a - b), dims[end]!].slice(0, Math.max(count, 1));
  };

/**
 * Inputs and inouts of a case, float32 or int32 as the table says (raw operands as float32, or int32 where they are that).
 * The sequence depends on the op and the name of the case alone.
 */
export function drawInputs(item: Case): Record<string, Float32Array | Int32Array> {
  const spec = OPS[item.op];
  const extents = spec.extents(spec.dims.map((dim) => item.dims[dim]!));
  const random = sequence(`${item.op} ${item.name}`);
  const drawn: Record<string, Float32Array | Int32Array> = {};
  spec.operands.forEach((operand, i) => {
    if (operand.role === 'out' || (operand.optional && !item.present.includes(operand.name))) return;
    const raw = operand.dtype === 'raw';
    const kind = raw ? rawKind(operand.name, item.dims) : operand.dtype;
    const count = Math.max(0, extents[i]!) / (raw ? widthOf(kind as Kind) : 1);
    const draw: Draw = { random, count, dims: item.dims, scalars: item.scalars, drawn };
    const values = (item.inputs[operand.name] ?? uniform(-1, 1))(draw);
    if (values.length !== count)
      throw new Error(`${item.op} ${item.name}: ${values.length} values for ${operand.name}`);
    drawn[operand.name] = kind === 'i32' ? Int32Array.from(values) : Float32Array.from(values);
  });
  return drawn;
}

/** Uniform numbers in [0, 1) from a text: FNV-1a for the seed, then a 32-bit counter through a mixing function. */
export function sequence(text: string): () => number {
  let state = 2166136261;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 16777619);
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 4294967296;
  };
}
