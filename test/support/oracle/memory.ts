// Memory of the oracle: buffers that keep what a row stored as float64, so that a whole Program runs without rounding
// between its rows, and that still read and write as bytes. An arena may hold floats now and ids a row later, so the
// type belongs to the last store of a word, not to the place.

/** How a word is to be understood. bf16 and f16 take two bytes an element, the others four. */
export type Kind = 'f32' | 'i32' | 'bf16' | 'f16';

/** By the number that cast rows use. */
export const KINDS: readonly Kind[] = ['f32', 'bf16', 'f16', 'i32'];

/** What a raw operand holds, by the dim that says so. */
export const rawKind = (operand: string, dims: Readonly<Record<string, number>>): Kind =>
  KINDS[dims[operand === 'x' ? 'from' : operand === 'y' ? 'to' : 'dtype']!]!;

export const widthOf = (kind: Kind): number => (kind === 'f32' || kind === 'i32' ? 4 : 2);

const BYTES = 0;
const F32 = 1;
const I32 = 2;

export class OracleBuffer {
  readonly #raw: Uint8Array;
  readonly #view: DataView;
  readonly #values: Float64Array;
  readonly #state: Uint8Array;

  constructor(readonly bytes: number) {
    const words = Math.ceil(bytes / 4);
    this.#raw = new Uint8Array(words * 4);
    this.#view = new DataView(this.#raw.buffer);
    this.#values = new Float64Array(words);
    this.#state = new Uint8Array(words);
  }

  /** A copy of `count` elements from byte `offset`. Words stored as bytes or as another kind are reinterpreted. */
  load(offset: number, count: number, kind: Kind): Float64Array {
    const out = new Float64Array(count);
    if (kind === 'bf16' || kind === 'f16') {
      this.#flush(offset, count * 2);
      for (let i = 0; i < count; i++) out[i] = decodeHalf(this.#view.getUint16(offset + 2 * i, true), kind);
      return out;
    }
    const state = kind === 'f32' ? F32 : I32;
    const first = offset / 4;
    for (let i = 0; i < count; i++) {
      const word = first + i;
      if (this.#state[word] === state) out[i] = this.#values[word]!;
      else {
        this.#flush(word * 4, 4);
        out[i] = kind === 'f32' ? this.#view.getFloat32(word * 4, true) : this.#view.getInt32(word * 4, true);
      }
    }
    return out;
  }

  /** Keeps values as they are; halves are rounded to nearest even, their memory being the only place they have. */
  store(offset: number, values: ArrayLike<number>, kind: Kind): void {
    if (kind === 'bf16' || kind === 'f16') {
      const view = new DataView(new ArrayBuffer(values.length * 2));
      for (let i = 0; i < values.length; i++) view.setUint16(2 * i, encodeHalf(values[i]!, kind), true);
      this.storeBytes(offset, new Uint8Array(view.buffer));
      return;
    }
    this.#values.set(values, offset / 4);
    this.#state.fill(kind === 'f32' ? F32 : I32, offset / 4, offset / 4 + values.length);
  }

  loadBytes(offset: number, length: number): Uint8Array {
    this.#flush(offset, length);
    return this.#raw.slice(offset, offset + length);
  }

  storeBytes(offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#flush(offset, bytes.length);
    this.#raw.set(bytes, offset);
    this.#state.fill(BYTES, Math.floor(offset / 4), Math.ceil((offset + bytes.length) / 4));
  }

  /** Brings the bytes of words that hold values up to date; the values stay. */
  #flush(offset: number, length: number): void {
    for (let word = Math.floor(offset / 4); word < Math.ceil((offset + length) / 4); word++) {
      if (this.#state[word] === F32) this.#view.setFloat32(word * 4, this.#values[word]!, true);
      else if (this.#state[word] === I32) this.#view.setInt32(word * 4, this.#values[word]!, true);
    }
  }
}

/** Significand bits stored, exponent bias: bf16 is the upper half of a float32, f16 is IEEE binary16. */
const layoutOf = (kind: 'bf16' | 'f16') => (kind === 'bf16' ? { bits: 7, bias: 127 } : { bits: 10, bias: 15 });

export function decodeHalf(word: number, kind: 'bf16' | 'f16'): number {
  const { bits, bias } = layoutOf(kind);
  const sign = word & 0x8000 ? -1 : 1;
  const exponent = (word & 0x7fff) >> bits;
  const fraction = word & ((1 << bits) - 1);
  if (exponent === 2 * bias + 1) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0
    ? sign * fraction * 2 ** (1 - bias - bits)
    : sign * (fraction + (1 << bits)) * 2 ** (exponent - bias - bits);
}

/** Round to nearest, ties to even; past the largest number to infinity. */
export function encodeHalf(value: number, kind: 'bf16' | 'f16'): number {
  const { bits, bias } = layoutOf(kind);
  const infinity = (2 * bias + 1) << bits;
  if (Number.isNaN(value)) return infinity | (1 << (bits - 1));
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Infinity) return sign | infinity;
  const exponent = size === 0 ? 1 - bias : Math.max(exponentOf(size), 1 - bias);
  const quanta = size / 2 ** (exponent - bits);
  const down = Math.floor(quanta);
  const rest = quanta - down;
  const rounded = rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
  // A significand that rounds up to 2^(bits+1) carries into the exponent, and from the largest one into infinity.
  return sign | Math.min(rounded + ((exponent + bias - 1) << bits), infinity);
}

/** e with 2^e <= value < 2^(e+1), for value > 0; the logarithm alone is off by one beside powers of two. */
function exponentOf(value: number): number {
  let exponent = Math.floor(Math.log2(value));
  if (2 ** exponent > value) exponent--;
  if (2 ** (exponent + 1) <= value) exponent++;
  return exponent;
}
