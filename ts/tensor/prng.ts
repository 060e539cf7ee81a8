// Seeded random numbers, the same on every machine. Every random choice of the library (initialisation, sampling,
// shuffling) takes one of these, and its state is a few plain numbers so that a checkpoint can hold it.
// Independent streams: `new Prng(hashSeed(seed, 'sampler', step))`, never one generator shared by two purposes.
// To add a distribution: build it on `next` or `bits` only, and keep whatever it remembers inside `PrngState`.
// Sources: xoshiro128** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), splitmix32
// with the 32-bit finalizer of MurmurHash3 (Appleby) for seeding.

import { SweetspotError } from '../backend/errors.js';

/** What `Prng.state` returns: plain JSON. */
export interface PrngState {
  /** Four words of 32 bits, not all zero. */
  readonly words: readonly [number, number, number, number];
  /** The second value of a Box-Muller pair, not yet handed out. */
  readonly spare: number | null;
}

export class Prng {
  readonly #words = new Uint32Array(4);
  #spare: number | null = null;

  /** @param seed an integer in [0, 2^32) is used as it is; any other finite number or string goes through `hashSeed` */
  constructor(seed: number | string) {
    let state = typeof seed === 'number' && seed >>> 0 === seed ? seed : hashSeed(seed);
    for (let i = 0; i < 4; i++) {
      state = (state + 0x9e3779b9) >>> 0;
      this.#words[i] = mix(state);
    }
  }

  /** 32 uniform bits as an integer in [0, 2^32). */
  bits(): number {
    const s = this.#words;
    const b = s[1]!;
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= b << 9;
    s[3] = rotate(s[3]!, 11);
    return result;
  }

  /** Uniform in [0, 1), all 53 bits of the mantissa random. */
  next(): number {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53;
  }

  /**
   * Uniform integer in [0, n), without bias (values past the last whole multiple of n are drawn again).
   * @throws SweetspotError SWEETSPOT_USAGE unless n is an integer in 1..2^32
   */
  int(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
      throw new SweetspotError('SWEETSPOT_USAGE', {
        what: 'cannot draw an integer below n',
        expected: 'an integer n from 1 to 2^32',
        found: String(n),
      });
    }
    const limit = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const value = this.bits();
      if (value < limit) return value % n;
    }
  }

  /** Normal with mean 0 and variance 1 (Box-Muller; values come in pairs, the second is kept for the next call). */
  normal(): number {
    if (this.#spare !== null) {
      const value = this.#spare;
      this.#spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.next()));
    const angle = 2 * Math.PI * this.next();
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** Shuffles in place (Fisher-Yates) and returns the same array: every order is equally likely. */
  shuffle<A extends { readonly length: number; [index: number]: unknown }>(array: A): A {
    const items: { [index: number]: unknown } = array;
    for (let i = array.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      const held = items[i];
      items[i] = items[j];
      items[j] = held;
    }
    return array;
  }

  /** A copy of the state; `fromState` continues with the same numbers, also after JSON. */
  state(): PrngState {
    const s = this.#words;
    return { words: [s[0]!, s[1]!, s[2]!, s[3]!], spare: this.#spare };
  }

  /** @throws SweetspotError SWEETSPOT_CORRUPT when `state` is not what `state()` returns */
  static fromState(state: PrngState): Prng {
    const { words, spare } = (state ?? {}) as Partial<PrngState>;
    const wordsValid = Array.isArray(words) && words.length === 4 && words.every((word) => word >>> 0 === word);
    if (!wordsValid || words.every((word) => word === 0) || !(spare === null || Number.isFinite(spare))) {
      throw new SweetspotError('SWEETSPOT_CORRUPT', {
        what: 'the saved state of a random generator is damaged',
        expected: '{"words": four integers of 32 bits, not all 0, "spare": a number or null}',
        found: String(JSON.stringify(state)).slice(0, 200),
      });
    }
    const prng = new Prng(0);
    prng.#words.set(words);
    prng.#spare = spare as number | null;
    return prng;
  }
}

/**
 * One 32-bit seed from any number of parts. The order, the type and the borders of the parts all count: ('ab', 'c'),
 * ('a', 'bc') and ('abc') differ, and so do 1 and '1'.
 * @throws SweetspotError SWEETSPOT_USAGE when a number is NaN or infinite
 */
export function hashSeed(...parts: readonly (string | number)[]): number {
  let hash = mix(parts.length + 0x9e3779b9);
  for (const part of parts) {
    if (typeof part === 'number' && !Number.isFinite(part)) {
      throw new SweetspotError('SWEETSPOT_USAGE', {
        what: 'cannot make a seed',
        expected: 'strings and finite numbers',
        found: String(part),
      });
    }
    const text = typeof part === 'number' ? `n${part}` : `s${part}`;
    hash = mix(hash ^ text.length);
    for (let i = 0; i < text.length; i++) hash = mix(Math.imul(hash, 31) + text.charCodeAt(i));
  }
  return hash;
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}

/** A bijection of 32 bits in which every input bit flips about half of the output bits. */
function mix(word: number): number {
  let h = word | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
