// The safetensors format, both ways: eight bytes with the length of a JSON header (little endian), the header, the data.
// The header names each tensor's dtype, shape and [begin, end) in the data; together they cover the data exactly.
// A file may come from anybody, so the reader believes nothing before it has checked it against the size of the file.
// To add a dtype: a line in `DTYPE_BYTES`, under its name in the format.
// Format: https://github.com/huggingface/safetensors (README, "Format").

import { createHash, type Hash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { ioError, SweetspotError } from '../backend/errors.js';
import { saveFileAtomic, writeFileAtomic } from './atomic.js';
import { atOnce, type Pieces, politely } from './pieces.js';

/** Bytes of one element. */
const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

export interface SafetensorsTensor {
  readonly dtype: SafetensorsDtype;
  /** Row-major; [] is a scalar. */
  readonly shape: readonly number[];
  /** Elements, little endian. */
  readonly data: Uint8Array;
}

export interface SafetensorsFile {
  readonly metadata: Record<string, string>;
  /** In the order of the data. */
  readonly tensors: Map<string, SafetensorsTensor>;
}

/** 16 MiB name about a hundred thousand tensors; a longer header is more likely damage than a model. */
const DEFAULT_MAX_HEADER_BYTES = 2 ** 24;
/** Node refuses a single read of 2^31 bytes or more; a read and hash of this one take a few milliseconds. */
const LARGEST_READ = 2 ** 22;

/**
 * Writes tensors as one file, whole or not at all. Elements that need wider alignment come first, then by name, so every
 * tensor is aligned to its own dtype and equal input gives equal bytes.
 *
 * @param tensors by name; the data is written as it lies in memory, so it must be little endian
 * @param metadata free text for readers. The key `sha256` belongs to the writer: one passed in is left out.
 * @param options.checksum also store the SHA-256 of the data, which `readSafetensors` then verifies. Default false.
 * @throws SweetspotError SWEETSPOT_USAGE when a tensor's bytes do not fit its dtype and shape; SWEETSPOT_IO
 */
export function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, SafetensorsTensor>>,
  metadata: Readonly<Record<string, string>> = {},
  options: { readonly checksum?: boolean } = {},
): void {
  writeFileAtomic(path, atOnce(layOut(path, tensors, metadata, options)));
}

/** The same beside other work of the event loop: hashes in pieces, and the disk is waited for elsewhere. */
export async function saveSafetensors(
  path: string,
  tensors: Readonly<Record<string, SafetensorsTensor>>,
  metadata: Readonly<Record<string, string>> = {},
  options: { readonly checksum?: boolean } = {},
): Promise<void> {
  await saveFileAtomic(path, await politely(layOut(path, tensors, metadata, options)));
}

/** What the file holds, part by part. */
function* layOut(
  path: string,
  tensors: Readonly<Record<string, SafetensorsTensor>>,
  metadata: Readonly<Record<string, string>>,
  options: { readonly checksum?: boolean },
): Pieces<Uint8Array[]> {
  const entries = Object.entries(tensors);
  for (const [name, tensor] of entries) checkTensor(path, name, tensor);
  entries.sort(([a, x], [b, y]) => DTYPE_BYTES[y.dtype] - DTYPE_BYTES[x.dtype] || (a < b ? -1 : 1));

  const notes = Object.entries(metadata).filter(([key]) => key !== 'sha256');
  const wrong = notes.find(([, value]) => typeof value !== 'string');
  if (wrong !== undefined) {
    throw usageError(path, `a string as metadata ${brief(wrong[0])}`, brief(wrong[1]));
  }
  if (options.checksum === true) {
    const hash = createHash('sha256');
    for (const [, { data }] of entries) {
      for (let at = 0; at < data.byteLength; at += LARGEST_READ) {
        hash.update(data.subarray(at, at + LARGEST_READ));
        yield;
      }
    }
    notes.push(['sha256', hash.digest('hex')]);
  }

  // Joined by hand because an object would move keys that look like numbers to the front, and trip over "__proto__".
  const fields = notes.length > 0 ? [`"__metadata__":${joinObject(notes)}`] : [];
  let offset = 0;
  for (const [name, { dtype, shape, data }] of entries) {
    const end = offset + data.byteLength;
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [offset, end] })}`);
    offset = end;
  }
  const header = Buffer.from(`{${fields.join(',')}}`);
  const padded = Math.ceil(header.byteLength / 8) * 8;
  const head = Buffer.alloc(8 + padded, ' ');
  head.writeBigUInt64LE(BigInt(padded), 0);
  header.copy(head, 8);
  return [head, ...entries.map(([, { data }]) => data)];
}

/**
 * Reads a whole file. Every tensor gets a buffer of its own (offset 0, so any typed array can be laid over it). The
 * memory used is bounded by the size of the file.
 *
 * @param options.maxHeaderBytes refuse a longer header. Default 16 MiB.
 * @throws SweetspotError SWEETSPOT_CORRUPT when anything in the file contradicts the format or its checksum;
 *   SWEETSPOT_INPUT when there is no such file or a tensor does not fit into memory; SWEETSPOT_IO
 */
export function readSafetensors(path: string, options: { readonly maxHeaderBytes?: number } = {}): SafetensorsFile {
  return atOnce(readingSafetensors(path, options));
}

/** The same, piece by piece. */
export function* readingSafetensors(
  path: string,
  options: { readonly maxHeaderBytes?: number } = {},
): Pieces<SafetensorsFile> {
  const maxHeaderBytes = options.maxHeaderBytes ?? DEFAULT_MAX_HEADER_BYTES;
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    throw ioError(`cannot open ${path}`, cause);
  }
  try {
    const size = fstatSync(file).size;
    if (size < 8) throw corrupt(path, 'at least 8 bytes', `${size}`);
    const length = Number(Buffer.from(yield* readBytes(path, file, 0, 8)).readBigUInt64LE());
    if (length > size - 8) throw corrupt(path, `a header within the ${size} bytes of the file`, `${length} bytes`);
    if (length > maxHeaderBytes) {
      throw corrupt(path, `a header of at most ${maxHeaderBytes} bytes (option maxHeaderBytes)`, `${length} bytes`);
    }
    const { metadata, entries } = parseHeader(path, yield* readBytes(path, file, 8, length), size - 8 - length);
    const hash = metadata['sha256'] === undefined ? undefined : createHash('sha256');
    const tensors = new Map<string, SafetensorsTensor>();
    for (const { name, dtype, shape, begin, end } of entries) {
      const data = yield* readBytes(path, file, 8 + length + begin, end - begin, hash);
      tensors.set(name, { dtype, shape, data });
    }
    const digest = hash?.digest('hex');
    if (digest !== metadata['sha256']) throw corrupt(path, `data with SHA-256 ${metadata['sha256']}`, `${digest}`);
    return { metadata, tensors };
  } catch (cause) {
    throw ioError(`cannot read ${path}`, cause);
  } finally {
    closeSync(file);
  }
}

interface Entry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** Everything that can be checked without touching the data. Entries come back in the order of the data. */
function parseHeader(
  path: string,
  bytes: Uint8Array,
  dataBytes: number,
): { metadata: Record<string, string>; entries: Entry[] } {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (cause) {
    throw corrupt(path, 'a header of JSON in UTF-8', cause instanceof Error ? cause.message : String(cause));
  }
  if (!isObject(header)) throw corrupt(path, 'a JSON object as header', brief(header));
  const twice = duplicateKey(text);
  if (twice !== undefined) throw corrupt(path, 'every name once', `${brief(twice)} twice`);

  let metadata: Record<string, string> = {};
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name !== '__metadata__') entries.push(parseEntry(path, name, value));
    else if (isObject(value) && Object.values(value).every((v) => typeof v === 'string')) {
      metadata = value as Record<string, string>;
    } else throw corrupt(path, 'an object of strings as __metadata__', brief(value));
  }

  // Empty tensors lie between two others, hence the second key.
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let offset = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== offset) throw corrupt(path, `tensor ${brief(name)} to begin at ${offset}`, `${begin}`);
    offset = end;
  }
  if (offset !== dataBytes) throw corrupt(path, `${offset} bytes of data, as the header says`, `${dataBytes}`);
  return { metadata, entries };
}

function parseEntry(path: string, name: string, value: unknown): Entry {
  const tensor = `tensor ${brief(name)}`;
  if (!isObject(value)) throw corrupt(path, `an object for ${tensor}`, brief(value));
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) throw corrupt(path, dtypesFor(tensor), brief(dtype));
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw corrupt(path, `a shape of whole numbers for ${tensor}`, brief(shape));
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw corrupt(path, `two data_offsets for ${tensor}`, brief(offsets));
  }
  const [begin, end] = offsets as [number, number];
  if (end - begin !== byteLength(dtype, shape)) {
    throw corrupt(path, sizeOf(tensor, dtype, shape), `bytes ${begin} to ${end}`);
  }
  return { name, dtype, shape, begin, end };
}

/**
 * The first key that occurs twice in one object of `text`, which is known to be JSON; JSON.parse would silently keep the
 * last one. A string is a key exactly when a colon follows.
 */
function duplicateKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '{') open.push(new Set());
    else if (c === '}') open.pop();
    else if (c === '"') {
      const start = i++;
      for (; text[i] !== '"'; i++) if (text[i] === '\\') i++;
      let next = i + 1;
      while (text[next] === ' ' || text[next] === '\n' || text[next] === '\r' || text[next] === '\t') next++;
      if (text[next] !== ':') continue;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      const keys = open.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

/** Reads exactly `length` bytes into a buffer of their own. */
function* readBytes(path: string, file: number, position: number, length: number, hash?: Hash): Pieces<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(length);
  } catch (cause) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `${path} holds a tensor of ${length} bytes, more than memory can give`,
      cause,
    });
  }
  for (let done = 0; done < length; ) {
    const got = readSync(file, bytes, done, Math.min(length - done, LARGEST_READ), position + done);
    if (got === 0) throw corrupt(path, `${position + length} bytes`, `its end at ${position + done}`);
    hash?.update(bytes.subarray(done, done + got));
    done += got;
    yield;
  }
  return bytes;
}

function checkTensor(path: string, name: string, { dtype, shape, data }: SafetensorsTensor): void {
  const tensor = `tensor ${brief(name)}`;
  if (name === '__metadata__') throw usageError(path, 'another name', 'a tensor named __metadata__');
  if (!isDtype(dtype)) throw usageError(path, dtypesFor(tensor), brief(dtype));
  if (!shape.every(isCount)) throw usageError(path, `a shape of whole numbers for ${tensor}`, brief(shape));
  if (data.byteLength !== byteLength(dtype, shape)) {
    throw usageError(path, sizeOf(tensor, dtype, shape), `${data.byteLength} bytes`);
  }
}

/** Bytes of a tensor, or undefined when the product passes 2^53 on the way, even if a later dimension is 0. */
function byteLength(dtype: SafetensorsDtype, shape: readonly number[]): number | undefined {
  let bytes: number = DTYPE_BYTES[dtype];
  for (const dimension of shape) {
    bytes *= dimension;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

function sizeOf(tensor: string, dtype: SafetensorsDtype, shape: readonly number[]): string {
  return `${byteLength(dtype, shape) ?? 'fewer than 2^53'} bytes for ${tensor}, ${dtype}${brief(shape)}`;
}

function dtypesFor(tensor: string): string {
  return `${tensor} of one of ${Object.keys(DTYPE_BYTES).join(', ')}`;
}

function joinObject(entries: readonly (readonly [string, string])[]): string {
  return `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isDtype(value: unknown): value is SafetensorsDtype {
  return typeof value === 'string' && Object.hasOwn(DTYPE_BYTES, value);
}

/** A whole number from 0 up; -0, which JSON can spell, is not one. */
function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && ((value as number) > 0 || Object.is(value, 0));
}

function brief(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 80);
}

function corrupt(path: string, expected: string, found: string): SweetspotError {
  return new SweetspotError('SWEETSPOT_CORRUPT', {
    what: `${path} is not a whole safetensors file`,
    expected,
    found,
    fix: 'get or make the file again',
  });
}

function usageError(path: string, expected: string, found: string): SweetspotError {
  return new SweetspotError('SWEETSPOT_USAGE', { what: `cannot write ${path}`, expected, found });
}
