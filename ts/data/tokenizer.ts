// Byte-level byte pair encoding, in the format every other tool reads: `tokenizer.json` of Hugging Face. Ids: special
// tokens first (`<|endoftext|>` is 0), then the 256 byte symbols, then the learned tokens in order. Any text can be
// encoded and comes back unchanged. The algorithm is in `bpe.ts`.
// To accept one more kind of tokenizer.json: extend `parse` and, if it cuts words differently, `wordEnd` in `bpe.ts`.

import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ioError, SweetspotError } from '../backend/errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { applyMerges, BYTE_SYMBOLS, learnMerges, PairTable, SYMBOL_BYTES, wordEnd } from './bpe.js';
import { Pace } from './readers.js';

/** Stands before every document and is what a model writes after one. */
export const END_OF_TEXT = '<|endoftext|>';
const FEWEST_TOKENS = 256;
/** Words of this many characters or fewer are remembered with their ids, up to `CACHE_WORDS` of them. */
const CACHE_LONGEST = 32;
const CACHE_WORDS = 1 << 17;

/** What long work over text reports: at most about a hundred times a second. */
export interface DataProgress {
  /** `read` and `encode` count bytes of text, `merge` counts tokens of the vocabulary. */
  readonly stage: 'read' | 'merge' | 'encode';
  /** Bytes or tokens done. */
  readonly done: number;
  /** Left out when it cannot be known beforehand. */
  readonly total?: number;
}

/** How large a tokenizer to train. */
export interface TrainTokenizerOptions {
  /** Size wanted, specials and bytes included; at least 256 + the number of specials. */
  readonly vocabSize: number;
  /** Default `['<|endoftext|>']`, which must come first. */
  readonly specialTokens?: readonly string[];
  /** A pair seen less often is not merged. Default 2. */
  readonly minFrequency?: number;
  /** Ends the work with SWEETSPOT_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Called several times a second. */
  readonly onProgress?: ((progress: DataProgress) => void) | undefined;
}

/** What a tokenizer is made of, checked: by `parse` when it comes from a file, by construction when it was trained. */
export interface TokenizerModel {
  /** Symbols (or the text of a special token) by id. */
  readonly tokens: readonly string[];
  readonly merges: readonly (readonly [left: number, right: number])[];
  readonly specials: ReadonlySet<number>;
}

/** Byte-level BPE with the words of GPT-2, and the tokenizer.json that other tools load. */
export class Tokenizer {
  /** V: ids are 0 to V - 1. */
  readonly vocabSize: number;
  /** The id of `<|endoftext|>`: 0, unless a loaded file says otherwise. */
  readonly endOfText: number;
  /** SHA-256 (hex) of special tokens, vocabulary and merges: equal hashes mean equal ids for every text. */
  readonly hash: string;
  readonly #model: TokenizerModel;
  readonly #ranks: PairTable;
  readonly #results: Int32Array;
  readonly #byteIds: Int32Array;
  readonly #bytes: readonly Uint8Array[];
  readonly #cache = new Map<string, readonly number[]>();
  readonly #encoder = new TextEncoder();
  #utf8 = new Uint8Array(256);
  #word = new Int32Array(256);
  #ids = new Uint32Array(1 << 12);
  #length = 0;

  /** For `trainTokenizer` and `fromJSON`, which are what to call: the model is trusted. */
  constructor(model: TokenizerModel) {
    const { tokens, merges, specials } = model;
    const idOf = new Map(tokens.map((token, id) => [token, id]));
    this.#model = model;
    this.vocabSize = tokens.length;
    this.endOfText = idOf.get(END_OF_TEXT)!;
    this.#byteIds = Int32Array.from(BYTE_SYMBOLS, (symbol) => idOf.get(symbol)!);
    this.#ranks = new PairTable(merges.length);
    this.#results = Int32Array.from(merges, ([left, right]) => idOf.get(tokens[left]! + tokens[right]!)!);
    for (const [rank, [left, right]] of merges.entries()) this.#ranks.set(left, right, rank);
    this.#bytes = tokens.map((token, id) =>
      specials.has(id) ? this.#encoder.encode(token) : Uint8Array.from(token, (symbol) => SYMBOL_BYTES.get(symbol)!),
    );
    const canonical = JSON.stringify({ specials: [...specials].sort((a, b) => a - b), vocab: tokens, merges });
    this.hash = createHash('sha256').update(canonical).digest('hex');
  }

  /**
   * Ids of ordinary text, without any marker. The name of a special token inside the text is text like any other, so
   * what a user types cannot end a document (Hugging Face's `encode` would make it the special token).
   * Half surrogate pairs, which UTF-8 cannot hold, become U+FFFD.
   */
  encode(text: string): Uint32Array {
    this.#length = 0;
    this.#append(text, 0, text.length);
    return this.#ids.slice(0, this.#length);
  }

  /** `encode` in pieces of about 4 thousand characters, for callers that must not block; joined, they are equal. */
  *encodePieces(text: string): Generator<Uint32Array> {
    for (let at = 0; at < text.length; ) {
      this.#length = 0;
      at = this.#append(text, at, at + (1 << 12));
      yield this.#ids.slice(0, this.#length);
    }
  }

  /**
   * Text of `ids`. Bytes that are not valid UTF-8 (a text cut inside a character) become U+FFFD.
   * @param options.skipSpecialTokens leave special tokens out (default) or write their names
   * @throws SweetspotError SWEETSPOT_USAGE when an id is not in the vocabulary
   */
  decode(ids: ArrayLike<number>, options: { readonly skipSpecialTokens?: boolean } = {}): string {
    const decoder = this.streamDecoder(options);
    return decoder.push(ids) + decoder.end();
  }

  /** Decodes ids as they come: a character is handed out when its last byte has arrived, never in parts. */
  streamDecoder(options: { readonly skipSpecialTokens?: boolean } = {}): StreamDecoder {
    const skip = options.skipSpecialTokens ?? true;
    return new StreamDecoder((id) => (skip && this.#model.specials.has(id) ? new Uint8Array(0) : this.#bytesOf(id)));
  }

  /** UTF-8 bytes that `ids` stand for; special tokens count 0. Throws like `decode`. */
  byteLength(ids: ArrayLike<number>): number {
    let total = 0;
    for (let i = 0; i < ids.length; i++) {
      if (!this.#model.specials.has(ids[i]!)) total += this.#bytesOf(ids[i]!).length;
    }
    return total;
  }

  /** The content of a tokenizer.json (version 1.0), as Hugging Face writes it. */
  toJSON(): object {
    const { tokens, merges, specials } = this.#model;
    // Without a prototype, a token may be called `__proto__`.
    const vocab: Record<string, number> = Object.create(null);
    for (const [id, token] of tokens.entries()) vocab[token] = id;
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
    return {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [...specials].map((id) => ({ id, content: tokens[id]!, ...flags })),
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab,
        merges: merges.map(([left, right]) => `${tokens[left]!} ${tokens[right]!}`),
      },
    };
  }

  /** Writes tokenizer.json, whole or not at all. Throws like `writeFileAtomic`. */
  save(path: string): void {
    writeFileAtomic(path, `${JSON.stringify(this, null, 2)}\n`);
  }

  /**
   * A tokenizer from the content of a tokenizer.json.
   *
   * @param name what to call it in errors
   * @throws SweetspotError SWEETSPOT_CORRUPT when it is not a sound tokenizer.json; SWEETSPOT_INPUT when it is one of a
   *   kind that is not supported: anything but byte-level BPE with GPT-2's words and `<|endoftext|>`
   */
  static fromJSON(json: unknown, name = 'tokenizer.json'): Tokenizer {
    return new Tokenizer(parse(json, name));
  }

  /**
   * Reads a tokenizer.json.
   *
   * @param path a tokenizer.json, or a folder that holds one (a corpus, a model)
   * @throws SweetspotError as `fromJSON`; SWEETSPOT_INPUT when there is no such file; SWEETSPOT_IO
   */
  static load(path: string): Tokenizer {
    let file = path;
    let text: string;
    try {
      if (statSync(path).isDirectory()) file = join(path, 'tokenizer.json');
      text = readFileSync(file, 'utf8');
    } catch (cause) {
      throw ioError(`cannot read the tokenizer ${file}`, cause);
    }
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      throw new SweetspotError('SWEETSPOT_CORRUPT', {
        what: `${file} is not JSON`,
        found: (cause as Error).message,
        fix: 'the file is damaged or cut short: restore it from where it came',
        cause,
      });
    }
    return Tokenizer.fromJSON(json, file);
  }

  #bytesOf(id: number): Uint8Array {
    const bytes = this.#bytes[id];
    if (bytes !== undefined) return bytes;
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'cannot decode a token',
      expected: `an id from 0 to ${this.vocabSize - 1}`,
      found: String(id),
      fix: 'decode with the tokenizer that encoded the text',
    });
  }

  /** Encodes the words that start in [start, stop) to the end of `#ids` and returns where the last one ends. */
  #append(text: string, start: number, stop: number): number {
    const last = Math.min(stop, text.length);
    let at = start;
    while (at < last) {
      const end = wordEnd(text, at);
      const word = text.slice(at, end);
      const ids = this.#cache.get(word) ?? this.#encodeWord(word);
      if (this.#length + ids.length > this.#ids.length) {
        const larger = new Uint32Array(2 * (this.#length + ids.length));
        larger.set(this.#ids);
        this.#ids = larger;
      }
      for (let i = 0; i < ids.length; i++) this.#ids[this.#length++] = ids[i]!;
      at = end;
    }
    return at;
  }

  #encodeWord(word: string): ArrayLike<number> {
    if (this.#utf8.length < word.length * 3) {
      this.#utf8 = new Uint8Array(word.length * 3);
      this.#word = new Int32Array(word.length * 3);
    }
    const bytes = this.#encoder.encodeInto(word, this.#utf8).written;
    for (let i = 0; i < bytes; i++) this.#word[i] = this.#byteIds[this.#utf8[i]!]!;
    const length = applyMerges(this.#word, bytes, this.#ranks, this.#results);
    const ids = this.#word.subarray(0, length);
    if (word.length > CACHE_LONGEST) return ids;
    const kept = Array.from(ids);
    if (this.#cache.size >= CACHE_WORDS) this.#cache.clear();
    this.#cache.set(flat(word), kept);
    return kept;
  }
}

/** See `Tokenizer.streamDecoder`. */
export class StreamDecoder {
  readonly #bytesOf: (id: number) => Uint8Array;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(bytesOf: (id: number) => Uint8Array) {
    this.#bytesOf = bytesOf;
  }

  /** Text that became complete with these ids; may be empty. Throws like `Tokenizer.decode`. */
  push(ids: number | ArrayLike<number>): string {
    const parts = Array.from(typeof ids === 'number' ? [ids] : ids, this.#bytesOf);
    return this.#decoder.decode(Buffer.concat(parts), { stream: true });
  }

  /** What is left at the end: U+FFFD for a character that never became complete, else nothing. */
  end(): string {
    return this.#decoder.decode();
  }
}

/**
 * Trains a tokenizer. The same texts give the same tokenizer, in whatever order they come. Memory grows with the number
 * of different words. Text with too few pairs gives a smaller vocabulary: see `vocabSize` of the result.
 *
 * @throws SweetspotError SWEETSPOT_USAGE for options out of range; SWEETSPOT_ABORTED when `signal` fires; whatever
 *   `texts` throws
 */
export async function trainTokenizer(
  texts: AsyncIterable<string> | Iterable<string>,
  options: TrainTokenizerOptions,
): Promise<Tokenizer> {
  const { vocabSize, specialTokens = [END_OF_TEXT], minFrequency = 2, signal, onProgress } = options;
  checkTrainOptions(vocabSize, specialTokens, minFrequency);
  const pace = new Pace(signal);
  const counts = new Map<string, number>();
  let bytes = 0;
  for await (const text of texts) {
    for (let at = 0, words = 0; at < text.length; words++) {
      const end = wordEnd(text, at);
      const word = text.slice(at, end);
      const count = counts.get(word);
      counts.set(count === undefined ? flat(word) : word, (count ?? 0) + 1);
      at = end;
      if ((words & 1023) === 1023) await pace.breathe();
    }
    bytes += Buffer.byteLength(text);
    const rest = pace.breathe();
    if (rest === undefined) continue;
    await rest;
    onProgress?.({ stage: 'read', done: bytes });
  }
  onProgress?.({ stage: 'read', done: bytes, total: bytes });
  const progress = (done: number, total: number) => onProgress?.({ stage: 'merge', done, total });
  const { tokens, merges } = await learnMerges(counts, {
    specialTokens,
    vocabSize,
    minFrequency,
    pace,
    onProgress: (done) => progress(done, vocabSize),
  });
  progress(tokens.length, tokens.length);
  return new Tokenizer({ tokens, merges, specials: new Set(specialTokens.keys()) });
}

function checkTrainOptions(vocabSize: number, specialTokens: readonly string[], minFrequency: number): void {
  const usage = (what: string, expected: string, found: unknown) =>
    new SweetspotError('SWEETSPOT_USAGE', { what, expected, found: String(found) });
  const fewest = FEWEST_TOKENS + specialTokens.length;
  if (!Number.isInteger(vocabSize) || vocabSize < fewest || vocabSize > 2 ** 24) {
    throw usage('cannot train a tokenizer: vocabSize', `an integer from ${fewest} to 2^24`, vocabSize);
  }
  if (!Number.isInteger(minFrequency) || minFrequency < 1) {
    throw usage('cannot train a tokenizer: minFrequency', 'an integer of 1 or more', minFrequency);
  }
  const distinct = new Set(specialTokens).size === specialTokens.length;
  const named = specialTokens.every((token) => typeof token === 'string' && token !== '' && !SYMBOL_BYTES.has(token));
  if (specialTokens[0] !== END_OF_TEXT || !distinct || !named) {
    const expected = `${END_OF_TEXT} first, all different, none empty or a single character`;
    throw usage('cannot train a tokenizer: specialTokens', expected, JSON.stringify(specialTokens));
  }
}

/** A slice of 13 characters or more keeps the whole text it came from in memory; this copy does not. */
function flat(word: string): string {
  return word.length < 13 ? word : Buffer.from(word, 'utf16le').toString('utf16le');
}

/** Checks everything about a tokenizer.json that encoding and decoding rely on. */
function parse(json: unknown, name: string): TokenizerModel {
  const corrupt = (what: string, found?: unknown) =>
    new SweetspotError('SWEETSPOT_CORRUPT', {
      what: `${name} is damaged: ${what}`,
      ...(found === undefined ? {} : { found: String(JSON.stringify(found)).slice(0, 120) }),
      fix: 'restore the file from where it came',
    });
  const supported = (holds: boolean, expected: string, found: unknown) => {
    if (holds) return;
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `${name} is a tokenizer of another kind`,
      expected,
      found: String(JSON.stringify(found)).slice(0, 120),
      fix: 'train a tokenizer, or use one with the layout of GPT-2',
    });
  };
  const isObject = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === 'object';
  const unset = (value: unknown) => value === undefined || value === null || value === false || value === '';

  if (!isObject(json) || !isObject(json['model'])) throw corrupt('it has no model');
  const { model, pre_tokenizer: cut, decoder, post_processor: after, added_tokens: added } = json;
  const type = (value: unknown) => (isObject(value) ? value['type'] : value);
  supported(type(model) === 'BPE', 'a model of type BPE', type(model));
  supported(type(cut) === 'ByteLevel', 'pre_tokenizer ByteLevel', cut);
  const { add_prefix_space: prefix = true, use_regex: regex = true } = cut as Record<string, unknown>;
  supported(prefix === false && regex === true, 'add_prefix_space false and use_regex true', cut);
  supported(type(decoder) === 'ByteLevel', 'decoder ByteLevel', decoder);
  supported(unset(json['normalizer']), 'no normalizer', json['normalizer']);
  supported(unset(after) || type(after) === 'ByteLevel', 'no post_processor that adds tokens', after);
  const altering = ['dropout', 'unk_token', 'continuing_subword_prefix', 'end_of_word_suffix', 'fuse_unk'];
  for (const key of [...altering, 'byte_fallback', 'ignore_merges']) {
    supported(unset(model[key]), `a model without ${key}`, { [key]: model[key] });
  }

  const { vocab, merges } = model;
  if (!isObject(vocab) || !Array.isArray(merges)) throw corrupt('the model has no vocab or no merges');
  const idOf = new Map<string, unknown>(Object.entries(vocab));
  const specials = new Set<number>();
  if (!unset(added) && !Array.isArray(added)) throw corrupt('added_tokens is not a list', added);
  for (const entry of (added as unknown[] | undefined) ?? []) {
    if (!isObject(entry) || typeof entry['content'] !== 'string' || !Number.isInteger(entry['id'])) {
      throw corrupt('an added token has no id or no content', entry);
    }
    const { id, content } = entry as { id: number; content: string };
    supported(entry['special'] === true, 'added tokens that are special', content);
    if ((idOf.get(content) ?? id) !== id) throw corrupt('an added token has two ids', content);
    idOf.set(content, id);
    specials.add(id);
  }
  const tokens = new Array<string>(idOf.size);
  for (const [token, id] of idOf) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= idOf.size) {
      throw corrupt(`the ids are not 0 to ${idOf.size - 1}`, { [token]: id });
    }
    if (tokens[id as number] !== undefined) throw corrupt('two tokens have one id', [tokens[id as number], token]);
    if (!specials.has(id as number) && ![...token].every((symbol) => SYMBOL_BYTES.has(symbol))) {
      throw corrupt('a token is not made of byte symbols', token);
    }
    tokens[id as number] = token;
  }
  supported(specials.has(idOf.get(END_OF_TEXT) as number), `a special token ${END_OF_TEXT}`, [...specials]);
  for (const symbol of BYTE_SYMBOLS) {
    if (!idOf.has(symbol) || specials.has(idOf.get(symbol) as number)) throw corrupt('a byte has no token', symbol);
  }
  const seen = new Set<string>();
  const pairs = merges.map((merge: unknown): [number, number] => {
    const pair: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    if (!Array.isArray(pair) || pair.length !== 2) throw corrupt('a merge is not a pair', merge);
    const [left, right, whole] = [pair[0], pair[1], `${pair[0]}${pair[1]}`].map((token) => idOf.get(token)) as number[];
    if (left === undefined || right === undefined || whole === undefined || pair.includes('')) {
      throw corrupt('a merge names a token that is not in the vocabulary', merge);
    }
    if ([left, right, whole].some((id) => specials.has(id))) throw corrupt('a merge makes a special token', merge);
    const key = `${left} ${right}`;
    if (seen.has(key)) throw corrupt('a merge is listed twice', merge);
    seen.add(key);
    return [left, right];
  });
  return { tokens, merges: pairs, specials };
}
