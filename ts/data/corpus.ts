// A corpus: documents as token ids, in a folder or in memory, behind one interface. The folder holds
//   manifest.json    sizes and the hash of the tokenizer
//   tokenizer.json   the tokenizer itself
//   tokens.bin       every document as [endOfText, t1 ... tn], one after the other; u16 if the vocabulary allows, else u32
//   documents.idx    where each document starts in tokens.bin, counted in tokens, and the end of the last; u64
//   documents.bytes  UTF-8 bytes of each document's text, for bits per byte; u32
// All numbers are little-endian, like every processor Node runs on today.
// tokens.bin is read by position through a small cache of blocks and not mapped into memory: Node has no mmap, and a
// mapped file that someone truncates kills the process, where a short read is an error with a name.
// To add a file derived from a corpus (embeddings, clusters): write it beside these with `writeFileAtomic` and put
// `tokenizerHash` and `documents` in its head; the manifest stays as it is.

import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ioError, SweetspotError } from '../backend/errors.js';
import { createFolderAtomic, writeFileAtomic } from '../io/atomic.js';
import * as z from '../vendor/zod.js';
import { Pace, readDocuments } from './readers.js';
import { type DataProgress, Tokenizer, trainTokenizer } from './tokenizer.js';

export interface CorpusManifest {
  readonly format: 'sweetspot-corpus';
  readonly version: 1;
  readonly documents: number;
  /** Markers included. */
  readonly tokens: number;
  /** UTF-8 bytes of all the text. */
  readonly bytes: number;
  readonly vocabSize: number;
  readonly tokenizerHash: string;
  readonly dtype: 'u16' | 'u32';
}

const manifestSchema: z.ZodType<CorpusManifest> = z.object({
  format: z.literal('sweetspot-corpus'),
  version: z.literal(1),
  documents: z.int().positive(),
  tokens: z.int().positive(),
  bytes: z.int().nonnegative(),
  vocabSize: z.int().positive(),
  tokenizerHash: z.string().regex(/^[0-9a-f]{64}$/),
  dtype: z.enum(['u16', 'u32']),
});

/** What a corpus folder holds. */
export interface CorpusSummary extends Omit<CorpusManifest, 'format' | 'version'> {
  /** Absolute. */
  readonly path: string;
}

/** What to make a corpus of, and how. */
export interface BuildCorpusOptions {
  /** Files and folders, as `readDocuments` takes them. */
  readonly input: string | readonly string[];
  /** The folder to make; must not exist. */
  readonly out: string;
  /** For a new tokenizer. Default 4096. */
  readonly vocabSize?: number | undefined;
  /** Use this one instead of training: a Tokenizer, a tokenizer.json, or a corpus or model folder. */
  readonly tokenizer?: Tokenizer | string | undefined;
  /** A new tokenizer is trained on so many bytes of text from the start of the input. Default 50e6. */
  readonly trainBytes?: number | undefined;
  /** Ends the work with SWEETSPOT_ABORTED; nothing is left behind. */
  readonly signal?: AbortSignal | undefined;
  /** Called several times a second. */
  readonly onProgress?: ((progress: DataProgress) => void) | undefined;
}

/** Where tokens lie: a file or an array. `read` is given a range inside the corpus. */
export interface TokenSource {
  read(start: number, length: number, out: Int32Array | Uint32Array, at: number): void;
  close(): void;
}

export interface CorpusParts {
  /** For messages. */
  readonly name: string;
  readonly tokenizer: Tokenizer;
  /** Token offsets of the documents and the end: documents + 1. */
  readonly offsets: Float64Array;
  readonly bytes: Uint32Array;
  readonly source: TokenSource;
}

/** Documents as token ids, in a folder or in memory. */
export class Corpus {
  readonly #parts: CorpusParts;
  #open = true;

  /** For `open`, `fromTexts` and `domainCorpus`, which are what to call: the parts are trusted. */
  constructor(parts: CorpusParts) {
    this.#parts = parts;
  }

  /** Number of documents. */
  get documents(): number {
    return this.#parts.bytes.length;
  }

  /** Number of tokens stored, the marker before each document included. */
  get tokens(): number {
    return this.#parts.offsets[this.documents]!;
  }

  /** Equal hashes mean equal ids. */
  get tokenizerHash(): string {
    return this.#parts.tokenizer.hash;
  }

  /** The tokenizer that made the tokens. */
  tokenizer(): Tokenizer {
    return this.#parts.tokenizer;
  }

  /** Where document `i` starts, in tokens; `offset(documents)` is the end. */
  offset(i: number): number {
    const offset = this.#parts.offsets[i];
    if (offset === undefined) throw this.#outside('document', i, this.documents);
    return offset;
  }

  /** UTF-8 bytes of the text of document `i`. */
  bytes(i: number): number {
    const bytes = this.#parts.bytes[i];
    if (bytes === undefined) throw this.#outside('document', i, this.documents - 1);
    return bytes;
  }

  /** Document `i` as it is stored: [endOfText, t1 ... tn]. */
  document(i: number): Uint32Array {
    const start = this.offset(i);
    const tokens = new Uint32Array(this.offset(i + 1) - start);
    this.#read(start, tokens.length, tokens, 0);
    return tokens;
  }

  /**
   * Copies tokens [start, start + length) to `out[at ...]`.
   * @throws SweetspotError SWEETSPOT_USAGE when the range is not inside the corpus and `out`, or the corpus is closed;
   *   SWEETSPOT_CORRUPT when the file holds ids past the vocabulary or became shorter
   */
  read(start: number, length: number, out: Int32Array, at: number): void {
    this.#read(start, length, out, at);
  }

  /** Closes the file; a corpus in memory has nothing to close. Safe to call twice. */
  close(): void {
    if (this.#open) this.#parts.source.close();
    this.#open = false;
  }

  /** `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #read(start: number, length: number, out: Int32Array | Uint32Array, at: number): void {
    if (!this.#open) throw new SweetspotError('SWEETSPOT_USAGE', { what: `${this.#parts.name} is closed` });
    // Also true for NaN, which fails every comparison.
    if (!(start >= 0 && length >= 0 && start + length <= this.tokens)) {
      throw this.#outside('token', `${start} to ${start + length}`, this.tokens);
    }
    if (!(at >= 0 && at + length <= out.length)) {
      throw new SweetspotError('SWEETSPOT_USAGE', {
        what: 'the tokens do not fit in the array given',
        expected: `room for ${length} from index ${at}`,
        found: `an array of ${out.length}`,
      });
    }
    this.#parts.source.read(start, length, out, at);
  }

  #outside(what: string, found: unknown, last: number): SweetspotError {
    return new SweetspotError('SWEETSPOT_USAGE', {
      what: `${this.#parts.name} has no such ${what}`,
      expected: `0 to ${last}`,
      found: String(found),
    });
  }

  /**
   * Opens a corpus folder and checks it: every file is there with the size the manifest says, the index is in order,
   * the tokenizer is the one the tokens were made with. Ids are compared with the vocabulary as they are read.
   *
   * @throws SweetspotError SWEETSPOT_INPUT when there is no corpus; SWEETSPOT_CORRUPT when a file is damaged;
   *   SWEETSPOT_MISMATCH when the tokenizer is another one; SWEETSPOT_IO
   */
  static open(dir: string): Corpus {
    const manifest = readManifest(dir);
    const { documents, tokens, dtype } = manifest;
    const tokenizer = Tokenizer.load(join(dir, 'tokenizer.json'));
    if (tokenizer.hash !== manifest.tokenizerHash || tokenizer.vocabSize !== manifest.vocabSize) {
      throw new SweetspotError('SWEETSPOT_MISMATCH', {
        what: `${join(dir, 'tokenizer.json')} is not the tokenizer that made the tokens of this corpus`,
        expected: `${manifest.vocabSize} tokens, hash ${manifest.tokenizerHash}`,
        found: `${tokenizer.vocabSize} tokens, hash ${tokenizer.hash}`,
        fix: 'restore tokenizer.json, or build the corpus again',
      });
    }
    const index = new BigUint64Array(readExactly(join(dir, 'documents.idx'), (documents + 1) * 8));
    const offsets = Float64Array.from(index, Number);
    const rising = offsets.every((offset, i) => i === 0 || offset > offsets[i - 1]!);
    if (!rising || offsets[0] !== 0 || offsets[documents] !== tokens) {
      throw corrupt(join(dir, 'documents.idx'), `offsets that rise from 0 to ${tokens}`, 'others');
    }
    const bytes = new Uint32Array(readExactly(join(dir, 'documents.bytes'), documents * 4));
    const total = bytes.reduce((sum, size) => sum + size, 0);
    if (total !== manifest.bytes) {
      throw corrupt(join(dir, 'documents.bytes'), `${manifest.bytes} bytes of text in all`, String(total));
    }
    const source = new TokenFile(join(dir, 'tokens.bin'), tokens, dtype, manifest.vocabSize);
    return new Corpus({ name: `the corpus ${dir}`, tokenizer, offsets, bytes, source });
  }

  /** A corpus in memory, one document a text, with the interface of one on disk. */
  static fromTexts(texts: Iterable<string>, tokenizer: Tokenizer): Corpus {
    const documents = Array.from(texts, (text) => ({ tokens: tokenizer.encode(text), bytes: Buffer.byteLength(text) }));
    return memoryCorpus(documents, tokenizer);
  }
}

/** `tokens` without the marker, which is put before each document here. */
function memoryCorpus(documents: readonly { tokens: Uint32Array; bytes: number }[], tokenizer: Tokenizer): Corpus {
  const offsets = new Float64Array(documents.length + 1);
  for (const [i, { tokens }] of documents.entries()) offsets[i + 1] = offsets[i]! + 1 + tokens.length;
  const all = new Uint32Array(offsets[documents.length]!);
  for (const [i, { tokens }] of documents.entries()) {
    all[offsets[i]!] = tokenizer.endOfText;
    all.set(tokens, offsets[i]! + 1);
  }
  const bytes = Uint32Array.from(documents, (document) => document.bytes);
  const read: TokenSource['read'] = (start, length, out, at) => out.set(all.subarray(start, start + length), at);
  return new Corpus({ name: 'the corpus in memory', tokenizer, offsets, bytes, source: { read, close: () => {} } });
}

/**
 * Reads text into memory as a corpus: the specialization data of a domain.
 *
 * @param input files and folders, as `readDocuments` takes them
 * @param options.maxTokens stop at this many stored tokens, markers included; the last document is cut. Default: all
 * @throws SweetspotError as `readDocuments`; SWEETSPOT_USAGE when `maxTokens` is not an integer of 2 or more
 */
export async function domainCorpus(
  input: string | readonly string[],
  tokenizer: Tokenizer,
  options: { readonly maxTokens?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<Corpus> {
  const { maxTokens = Number.POSITIVE_INFINITY, signal } = options;
  if (!(maxTokens >= 2) || (maxTokens !== Number.POSITIVE_INFINITY && !Number.isInteger(maxTokens))) {
    throw usage('cannot read a domain: maxTokens', 'an integer of 2 or more', maxTokens);
  }
  const pace = new Pace(signal);
  const documents: { tokens: Uint32Array; bytes: number }[] = [];
  let stored = 0;
  for await (const { text } of readDocuments(input, { signal })) {
    const room = maxTokens - stored - 1;
    if (room < 1) break;
    const whole = await encodePolitely(text, tokenizer, pace, room);
    const { length } = whole;
    const tokens = length > room ? whole.slice(0, room) : whole;
    documents.push({ tokens, bytes: length > room ? tokenizer.byteLength(tokens) : Buffer.byteLength(text) });
    stored += 1 + tokens.length;
  }
  return memoryCorpus(documents, tokenizer);
}

/** One document in memory as a corpus. Throws SWEETSPOT_ABORTED when `signal` fires. */
export async function textCorpus(text: string, tokenizer: Tokenizer, signal?: AbortSignal): Promise<Corpus> {
  const tokens = await encodePolitely(text, tokenizer, new Pace(signal));
  return memoryCorpus([{ tokens, bytes: Buffer.byteLength(text) }], tokenizer);
}

/** Ids of a text of any length, beside other work of the event loop; stops somewhere after `enough` of them. */
export async function encodePolitely(
  text: string,
  tokenizer: Tokenizer,
  pace: Pace,
  enough = Number.POSITIVE_INFINITY,
): Promise<Uint32Array> {
  const pieces: Uint32Array[] = [];
  let length = 0;
  for (const piece of tokenizer.encodePieces(text)) {
    pieces.push(piece);
    length += piece.length;
    if (length > enough) break;
    await pace.breathe();
  }
  const whole = new Uint32Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/**
 * Builds a corpus folder from text. Reads the input twice, once to train the tokenizer and once to encode, a document at
 * a time; the folder appears when it is complete and not before.
 *
 * @throws SweetspotError SWEETSPOT_EXISTS when `out` exists; SWEETSPOT_USAGE for options out of range; as
 *   `readDocuments`, `trainTokenizer` and `Tokenizer.load`; SWEETSPOT_IO when the disk refuses
 */
export async function buildCorpus(options: BuildCorpusOptions): Promise<CorpusSummary> {
  const { input, out, vocabSize, trainBytes = 50e6, signal, onProgress } = options;
  if (!(trainBytes > 0)) throw usage('cannot build a corpus: trainBytes', 'a number above 0', trainBytes);
  const given = typeof options.tokenizer === 'string' ? Tokenizer.load(options.tokenizer) : options.tokenizer;
  if (given !== undefined && vocabSize !== undefined && vocabSize !== given.vocabSize) {
    throw usage('cannot build a corpus: vocabSize', `${given.vocabSize}, the size of the given tokenizer`, vocabSize);
  }
  for (const path of typeof input === 'string' ? [input] : input) {
    try {
      statSync(path);
    } catch (cause) {
      throw ioError(`cannot read ${path}`, cause);
    }
  }
  let manifest: CorpusManifest | undefined;
  await createFolderAtomic(out, async (dir) => {
    const head = firstBytes(readDocuments(input, { signal }), trainBytes);
    const tokenizer = given ?? (await trainTokenizer(head, { vocabSize: vocabSize ?? 4096, signal, onProgress }));
    tokenizer.save(join(dir, 'tokenizer.json'));
    manifest = await writeTokens(dir, tokenizer, options);
  });
  const { documents, tokens, bytes, vocabSize: size, tokenizerHash, dtype } = manifest!;
  return { path: resolve(out), documents, tokens, bytes, vocabSize: size, tokenizerHash, dtype };
}

/** Texts until `limit` bytes; the last one is cut, by characters, so it may pass the limit a little. */
async function* firstBytes(documents: AsyncIterable<{ readonly text: string }>, limit: number) {
  let left = limit;
  for await (const { text } of documents) {
    const size = Buffer.byteLength(text);
    yield size <= left ? text : text.slice(0, left);
    left -= size;
    if (left <= 0) return;
  }
}

async function writeTokens(dir: string, tokenizer: Tokenizer, options: BuildCorpusOptions): Promise<CorpusManifest> {
  const { input, signal, onProgress } = options;
  const dtype = tokenizer.vocabSize <= 65536 ? 'u16' : 'u32';
  const stored = (ids: ArrayLike<number>) => (dtype === 'u16' ? Uint16Array.from(ids) : Uint32Array.from(ids));
  const marker = stored([tokenizer.endOfText]);
  await using tokenFile = await Appender.create(join(dir, 'tokens.bin'));
  await using indexFile = await Appender.create(join(dir, 'documents.idx'));
  await using bytesFile = await Appender.create(join(dir, 'documents.bytes'));
  const pace = new Pace(signal);
  let [documents, tokens, bytes] = [0, 0, 0];
  const turn = async () => {
    const rest = pace.breathe();
    if (rest === undefined) return;
    await rest;
    onProgress?.({ stage: 'encode', done: bytes });
  };
  for await (const { text } of readDocuments(input, { signal })) {
    await indexFile.append(BigUint64Array.of(BigInt(tokens)));
    await tokenFile.append(marker);
    tokens++;
    for (const piece of tokenizer.encodePieces(text)) {
      await tokenFile.append(stored(piece));
      tokens += piece.length;
      await turn();
    }
    const size = Buffer.byteLength(text);
    await bytesFile.append(Uint32Array.of(size));
    bytes += size;
    documents++;
  }
  await indexFile.append(BigUint64Array.of(BigInt(tokens)));
  for (const file of [tokenFile, indexFile, bytesFile]) await file.flush();
  onProgress?.({ stage: 'encode', done: bytes, total: bytes });
  const manifest: CorpusManifest = {
    format: 'sweetspot-corpus',
    version: 1,
    documents,
    tokens,
    bytes,
    vocabSize: tokenizer.vocabSize,
    tokenizerHash: tokenizer.hash,
    dtype,
  };
  writeFileAtomic(join(dir, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  return manifest;
}

/** Writes a file from its start to its end in large pieces. */
class Appender {
  readonly #file: FileHandle;
  #pending: Uint8Array[] = [];
  #size = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async create(path: string): Promise<Appender> {
    return new Appender(await open(path, 'wx'));
  }

  async append(data: Uint16Array | Uint32Array | BigUint64Array): Promise<void> {
    this.#pending.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    this.#size += data.byteLength;
    if (this.#size >= 1 << 20) await this.flush();
  }

  async flush(): Promise<void> {
    const all = Buffer.concat(this.#pending);
    this.#pending = [];
    this.#size = 0;
    await this.#file.appendFile(all);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

const BLOCK_BYTES = 1 << 16;
const CACHED_BLOCKS = 64;

/** tokens.bin, read by blocks; the blocks used last stay in memory. */
class TokenFile implements TokenSource {
  readonly #path: string;
  readonly #file: number;
  readonly #tokens: number;
  readonly #wide: boolean;
  readonly #vocabSize: number;
  /** In order of use, the oldest first. */
  readonly #blocks = new Map<number, Uint16Array | Uint32Array>();

  constructor(path: string, tokens: number, dtype: 'u16' | 'u32', vocabSize: number) {
    this.#path = path;
    this.#tokens = tokens;
    this.#wide = dtype === 'u32';
    this.#vocabSize = vocabSize;
    const size = tokens * (this.#wide ? 4 : 2);
    checkSize(path, size);
    try {
      this.#file = openSync(path, 'r');
    } catch (cause) {
      throw ioError(`cannot read ${path}`, cause);
    }
  }

  read(start: number, length: number, out: Int32Array | Uint32Array, at: number): void {
    const perBlock = BLOCK_BYTES / (this.#wide ? 4 : 2);
    for (let done = 0; done < length; ) {
      const index = Math.floor((start + done) / perBlock);
      const block = this.#block(index, perBlock);
      const from = start + done - index * perBlock;
      const count = Math.min(length - done, perBlock - from);
      for (let i = 0; i < count; i++) {
        const id = block[from + i]!;
        // Kernels use ids as row numbers and trust them.
        if (id >= this.#vocabSize) {
          throw corrupt(this.#path, `ids below ${this.#vocabSize}`, `${id} at token ${start + done + i}`);
        }
        out[at + done + i] = id;
      }
      done += count;
    }
  }

  close(): void {
    this.#blocks.clear();
    closeSync(this.#file);
  }

  #block(index: number, perBlock: number): Uint16Array | Uint32Array {
    let block = this.#blocks.get(index);
    if (block !== undefined) {
      this.#blocks.delete(index);
    } else {
      const length = Math.min(perBlock, this.#tokens - index * perBlock);
      block = this.#wide ? new Uint32Array(length) : new Uint16Array(length);
      this.#fill(block, index * BLOCK_BYTES);
      if (this.#blocks.size >= CACHED_BLOCKS) this.#blocks.delete(this.#blocks.keys().next().value!);
    }
    this.#blocks.set(index, block);
    return block;
  }

  #fill(block: Uint16Array | Uint32Array, position: number): void {
    try {
      for (let done = 0; done < block.byteLength; ) {
        const count = readSync(this.#file, block, done, block.byteLength - done, position + done);
        if (count === 0)
          throw corrupt(this.#path, 'the size it had when it was opened', `an end at ${position + done}`);
        done += count;
      }
    } catch (cause) {
      throw ioError(`cannot read ${this.#path}`, cause);
    }
  }
}

function readManifest(dir: string): CorpusManifest {
  const path = join(dir, 'manifest.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw ioError(`cannot read ${path}`, cause);
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `${dir} is not a corpus folder`,
      expected: 'a folder with a manifest.json',
      fix: 'build the corpus first, or check the path',
      cause,
    });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw corrupt(path, 'JSON', (cause as Error).message);
  }
  const parsed = manifestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const { path: field, message } = parsed.error.issues[0]!;
  throw corrupt(path, 'the manifest of a sweetspot-corpus, version 1', `${field.join('.') || 'the whole'}: ${message}`);
}

function checkSize(path: string, expected: number): void {
  let size: number;
  try {
    size = statSync(path).size;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw ioError(`cannot read ${path}`, cause);
    throw corrupt(path, `${expected} bytes`, 'no such file');
  }
  if (size !== expected) throw corrupt(path, `${expected} bytes`, `${size} bytes`);
}

function readExactly(path: string, size: number): ArrayBuffer {
  checkSize(path, size);
  try {
    return new Uint8Array(readFileSync(path)).buffer;
  } catch (cause) {
    throw ioError(`cannot read ${path}`, cause);
  }
}

function corrupt(path: string, expected: string, found: string): SweetspotError {
  return new SweetspotError('SWEETSPOT_CORRUPT', {
    what: `${path} is damaged`,
    expected,
    found,
    fix: 'build the corpus again',
  });
}

function usage(what: string, expected: string, found: unknown): SweetspotError {
  return new SweetspotError('SWEETSPOT_USAGE', { what, expected, found: String(found) });
}
