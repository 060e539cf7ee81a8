// Keys of cells. Two cells with the same key give the same result, so they are one cell: what is asked for twice is done once.
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import { ioError } from '../backend/errors.js';

/** JSON with sorted keys and without undefined members: equal for equal values, however they were made. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, one: unknown) =>
    one !== null && typeof one === 'object' && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : one,
  );
}

/** Ten hexadecimal digits: among 10,000 cells, two share them with a probability of 5e-5. */
export const shortHash = (value: unknown): string =>
  createHash('sha256').update(canonical(value)).digest('hex').slice(0, 10);

/** Letters, digits, points and dashes, for names of folders. */
export const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 60);

/** Files up to this size are hashed whole, larger ones by their size and both ends. */
const WHOLE = 1 << 26;
const END = 1 << 20;

/**
 * What files and folders hold, as one hash that does not depend on where they lie.
 * @throws SweetspotError SWEETSPOT_INPUT, SWEETSPOT_IO
 */
export function fingerprint(paths: readonly string[]): string {
  const hash = createHash('sha256');
  for (const one of paths) {
    try {
      const files = statSync(one).isDirectory()
        ? (readdirSync(one, { recursive: true }) as string[]).sort().map((name) => path.join(one, name))
        : [one];
      for (const file of files) if (statSync(file).isFile()) addFile(hash, file);
    } catch (cause) {
      throw ioError(`cannot read ${one}`, cause);
    }
  }
  return hash.digest('hex');
}

function addFile(hash: ReturnType<typeof createHash>, file: string): void {
  const { size } = statSync(file);
  hash.update(`${size}\n`);
  const handle = openSync(file, 'r');
  try {
    const buffer = Buffer.alloc(Math.min(END, Math.max(1, size)));
    const step = size <= WHOLE ? END : size - END;
    for (let at = 0; at < size; at += step)
      hash.update(buffer.subarray(0, readSync(handle, buffer, 0, buffer.length, at)));
  } finally {
    closeSync(handle);
  }
}
