// From files to documents, one at a time: plain text (a file is a document), JSON lines (a line is a document), either of
// them gzipped, and folders of these. Memory holds one document and one chunk of file, however large the input is.
// Every complaint names the file, and the line where there is one.
// To add a format: give it a row in `FORMATS` and, unless it is plain text or JSON lines, a generator beside those two.

import { constants } from 'node:buffer';
import { createReadStream, type Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import { ioError, SweetspotError } from '../backend/errors.js';

/** A text and where it came from. */
export interface Document {
  /** The whole text. */
  readonly text: string;
  /** The file, with `:line` for JSON lines. */
  readonly source: string;
}

interface Format {
  readonly suffix: string;
  readonly lines: boolean;
  readonly gzip: boolean;
}

const FORMATS: readonly Format[] = [
  { suffix: '.txt', lines: false, gzip: false },
  { suffix: '.md', lines: false, gzip: false },
  { suffix: '.jsonl', lines: true, gzip: false },
  { suffix: '.txt.gz', lines: false, gzip: true },
  { suffix: '.md.gz', lines: false, gzip: true },
  { suffix: '.jsonl.gz', lines: true, gzip: true },
];

const CHUNK = 1 << 18;
const NEWLINE = 0x0a;
/** A JavaScript string holds no more; a document is never longer in characters than in bytes. */
const LONGEST_DOCUMENT = constants.MAX_STRING_LENGTH;

/**
 * Reads every document of the inputs, in order.
 *
 * - A folder is walked depth first in sorted order; files with a known ending are read (.txt .md .jsonl, each also
 *   with .gz), others are passed over, and so are names that start with a dot and links to folders.
 * - A .jsonl file holds one JSON object a line, with a string `text`; other fields are ignored, blank lines skipped.
 * - Any other file is one document of UTF-8 text; a name ending in .gz is unpacked first.
 * - Documents of nothing but white space are skipped.
 *
 * @param inputs paths of files and folders
 * @throws SweetspotError SWEETSPOT_INPUT naming file and line when an input is missing, gives no document at all,
 *   is binary or not UTF-8, has a broken line or a broken gzip stream; SWEETSPOT_IO when the system refuses;
 *   SWEETSPOT_ABORTED when `signal` fires
 */
export async function* readDocuments(
  inputs: string | readonly string[],
  options: { readonly signal?: AbortSignal | undefined } = {},
): AsyncGenerator<Document, void, undefined> {
  const paths = typeof inputs === 'string' ? [inputs] : inputs;
  if (paths.length === 0) throw inputError('there is no text to read', { expected: 'at least one file or folder' });
  const pace = new Pace(options.signal);
  for (const path of paths) {
    let found = false;
    for await (const file of listFiles(path)) {
      const format = formatOf(file);
      const chunks = readChunks(file, format.gzip);
      for await (const document of format.lines ? readLines(file, chunks) : readWhole(file, chunks)) {
        await pace.breathe();
        if (!/\S/.test(document.text)) continue;
        found = true;
        yield document;
      }
    }
    if (!found) {
      throw inputError(`${path} holds no document`, {
        expected: `text, or a folder with files ending in ${FORMATS.map((format) => format.suffix).join(' ')}`,
        fix: 'check the path and that the files are not empty',
      });
    }
  }
}

/**
 * Keeps long work polite: call `breathe` after every small piece of it. It returns nothing until ten milliseconds have
 * passed, then a promise that lets the event loop turn once; the moment to report progress, too.
 */
export class Pace {
  readonly #signal: AbortSignal | undefined;
  #last = performance.now();

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** @throws SweetspotError SWEETSPOT_ABORTED when the signal has fired */
  breathe(): Promise<void> | undefined {
    if (this.#signal?.aborted) throw abortedError(this.#signal);
    return performance.now() - this.#last < 10 ? undefined : this.#turn();
  }

  async #turn(): Promise<void> {
    await setImmediate();
    this.#last = performance.now();
    if (this.#signal?.aborted) throw abortedError(this.#signal);
  }
}

function abortedError(signal: AbortSignal): SweetspotError {
  return new SweetspotError('SWEETSPOT_ABORTED', { what: 'the work was interrupted', cause: signal.reason });
}

function inputError(what: string, parts: { expected?: string; found?: string; fix?: string; cause?: unknown } = {}) {
  return new SweetspotError('SWEETSPOT_INPUT', { what, ...parts });
}

/** A path of the user may have any name; without a known ending it is plain text. */
function formatOf(path: string): Format {
  const name = basename(path).toLowerCase();
  const known = FORMATS.find((format) => name.endsWith(format.suffix));
  return known ?? { suffix: '', lines: false, gzip: name.endsWith('.gz') };
}

async function* listFiles(path: string): AsyncGenerator<string> {
  let entries: Dirent[];
  try {
    const stats = await stat(path);
    if (stats.isFile()) {
      yield path;
      return;
    }
    if (!stats.isDirectory()) {
      throw inputError(`cannot read ${path}`, { expected: 'a file or a folder', found: 'a device or a pipe' });
    }
    entries = await readdir(path, { withFileTypes: true });
  } catch (cause) {
    throw ioError(`cannot read ${path}`, cause);
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const inside = join(path, entry.name);
    if (entry.isDirectory()) {
      yield* listFiles(inside);
    } else if (formatOf(inside).suffix !== '') {
      // A link to a folder may lead back here, so only links to files are followed.
      if (entry.isFile() || (entry.isSymbolicLink() && (await stat(inside).catch(() => null))?.isFile())) yield inside;
    }
  }
}

async function* readChunks(path: string, gzip: boolean): AsyncGenerator<Buffer> {
  const file = createReadStream(path, { highWaterMark: CHUNK });
  const unpack = gzip ? createGunzip({ chunkSize: CHUNK }) : undefined;
  if (unpack !== undefined) {
    file.on('error', (error) => unpack.destroy(error));
    file.pipe(unpack);
  }
  try {
    for await (const chunk of unpack ?? file) yield chunk as Buffer;
  } catch (cause) {
    if (!String((cause as NodeJS.ErrnoException).code).startsWith('Z_')) throw ioError(`cannot read ${path}`, cause);
    throw inputError(`${path} is not a whole gzip file`, {
      found: (cause as Error).message,
      fix: 'copy or pack the file again',
      cause,
    });
  } finally {
    file.destroy();
    unpack?.destroy();
  }
}

async function* readWhole(path: string, chunks: AsyncIterable<Buffer>): AsyncGenerator<Document> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > LONGEST_DOCUMENT) throw tooLong(path);
    parts.push(chunk);
  }
  yield { text: decodeUtf8(path, Buffer.concat(parts), 1), source: path };
}

async function* readLines(path: string, chunks: AsyncIterable<Buffer>): AsyncGenerator<Document> {
  let pending: Buffer[] = [];
  let pendingSize = 0;
  let line = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const tail = chunk.subarray(start, end);
      const bytes = pendingSize === 0 ? tail : Buffer.concat([...pending, tail]);
      pending = [];
      pendingSize = 0;
      start = end + 1;
      const document = parseLine(path, ++line, bytes);
      if (document !== undefined) yield document;
    }
    if (start === chunk.length) continue;
    pending.push(chunk.subarray(start));
    pendingSize += chunk.length - start;
    if (pendingSize > LONGEST_DOCUMENT) throw tooLong(`${path}:${line + 1}`);
  }
  if (pendingSize === 0) return;
  const document = parseLine(path, line + 1, Buffer.concat(pending));
  if (document !== undefined) yield document;
}

function parseLine(path: string, line: number, bytes: Buffer): Document | undefined {
  const source = `${path}:${line}`;
  const json = decodeUtf8(path, bytes, line);
  if (!/\S/.test(json)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw inputError(`${source} is not JSON`, {
      expected: 'one object {"text": "..."} a line',
      found: (cause as Error).message,
      fix: 'correct or remove the line; a file cut short ends in such a line',
      cause,
    });
  }
  const text = value !== null && typeof value === 'object' ? (value as { text?: unknown }).text : undefined;
  if (typeof text !== 'string') {
    throw inputError(`${source} has no text`, {
      expected: 'an object with a string "text"',
      found: json.length > 80 ? `${json.slice(0, 80)}...` : json,
    });
  }
  return { text, source };
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** @param line the number of the first line in `bytes`, for the message */
function decodeUtf8(path: string, bytes: Uint8Array, line: number): string {
  const zero = bytes.indexOf(0);
  if (zero >= 0) {
    throw inputError(`${path} is not text: line ${line + countNewlines(bytes.subarray(0, zero))} holds a NUL byte`, {
      expected: 'UTF-8 text',
      fix: 'convert it if it is UTF-16; leave it out if it is binary',
    });
  }
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw inputError(`${path} is not UTF-8: line ${line + firstBadLine(bytes)} holds an invalid byte sequence`, {
      fix: 'convert the file to UTF-8',
      cause,
    });
  }
}

function countNewlines(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) if (byte === NEWLINE) count++;
  return count;
}

/** No character of UTF-8 holds a newline byte inside, so the lines can be tried one by one. */
function firstBadLine(bytes: Uint8Array): number {
  let line = 0;
  for (let start = 0; ; line++) {
    const end = bytes.indexOf(NEWLINE, start);
    try {
      utf8.decode(bytes.subarray(start, end < 0 ? bytes.length : end));
    } catch {
      return line;
    }
    if (end < 0) return line;
    start = end + 1;
  }
}

function tooLong(what: string): SweetspotError {
  return inputError(`${what} is too long for one document`, {
    expected: `at most ${LONGEST_DOCUMENT} bytes`,
    fix: 'cut it into several documents, for example one a line in a .jsonl file',
  });
}
