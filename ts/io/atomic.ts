// Writing so that a crash, a full disk or an interrupt leaves either the old state or the new one, never half of one:
// everything is built under a temporary name on the same disk, forced to the disk, then renamed into place.
// A process killed in the middle leaves only a `*.tmp-<pid>-<random>` entry, which no reader opens.
// To add a way of writing: build beside the target, force it out with `syncDirectory` last, and undo on any failure.

import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { ioError, SweetspotError } from '../backend/errors.js';

/** Node refuses a single write of 2^31 bytes or more; far below that, the size no longer matters for speed. */
const LARGEST_WRITE = 2 ** 26;

/** A name beside `path` that no other process or thread will pick. `path` must not end in a separator. */
export function temporaryName(path: string): string {
  return `${path}.tmp-${process.pid}-${randomBytes(6).toString('hex')}`;
}

/**
 * Writes a file whole or not at all: on any failure the file that was there is intact and no temporary is left.
 *
 * @param path the file; its folder must exist. A symbolic link is replaced, not followed.
 * @param data bytes, a string (stored as UTF-8), or several byte arrays to be stored one after the other
 * @throws SweetspotError SWEETSPOT_IO (no space, no permission), SWEETSPOT_INPUT (no such folder)
 */
export function writeFileAtomic(path: string, data: Uint8Array | string | readonly Uint8Array[]): void {
  const target = resolve(path);
  const parts = typeof data === 'string' ? [Buffer.from(data)] : data instanceof Uint8Array ? [data] : data;
  const temporary = temporaryName(target);
  try {
    const file = openSync(temporary, 'wx');
    try {
      for (const part of parts) writeAll(file, part);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, target);
  } catch (cause) {
    removeQuietly(temporary);
    throw ioError(`cannot write ${target}`, cause);
  }
  syncDirectory(dirname(target));
}

/** The same for large files beside other work of the event loop, which does not wait for the disk. */
export async function saveFileAtomic(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const target = resolve(path);
  const temporary = temporaryName(target);
  try {
    const file = await open(temporary, 'wx');
    try {
      for (const part of parts) {
        for (let done = 0; done < part.byteLength; ) {
          const { bytesWritten } = await file.write(part, done, Math.min(part.byteLength - done, LARGEST_WRITE));
          done += bytesWritten;
        }
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
    await syncParent(target);
  } catch (cause) {
    removeQuietly(temporary);
    throw ioError(`cannot write ${target}`, cause);
  }
}

/**
 * Makes a folder whole or not at all. `fill` writes into a temporary folder beside `path`; when its promise resolves,
 * every file in it is forced to the disk and the folder is renamed to `path`. Missing parents of `path` are created.
 *
 * @param fill receives the absolute path of the temporary folder. What it throws (an AbortError too) is thrown on after
 *   the temporary folder has been removed; failed system calls are wrapped.
 * @throws SweetspotError SWEETSPOT_EXISTS when anything is at `path`, before `fill` is called, or when another process
 *   was faster; SWEETSPOT_IO when the disk refuses
 */
export async function createFolderAtomic(path: string, fill: (tmp: string) => Promise<void>): Promise<void> {
  const target = resolve(path);
  const temporary = temporaryName(target);
  try {
    if (lstatSync(target, { throwIfNoEntry: false }) !== undefined) throw existsError(target);
    mkdirSync(dirname(target), { recursive: true });
    mkdirSync(temporary);
    await fill(temporary);
    await syncTree(temporary);
    renameSync(temporary, target);
  } catch (cause) {
    removeQuietly(temporary);
    const syscall = (cause as NodeJS.ErrnoException | undefined | null)?.syscall;
    // Somebody was faster. (A rename onto an empty folder succeeds, and harms nobody.)
    if (syscall === 'rename' && existsSync(target)) throw existsError(target);
    throw syscall === undefined ? cause : ioError(`cannot create the folder ${target}`, cause);
  }
  syncDirectory(dirname(target));
}

/**
 * Appends one line to a log such as `metrics.jsonl`, creating the file if needed. A last line torn by a crash is closed
 * first, so that it stays alone on its line; readers skip it. When the write fails, the file is cut back to what it
 * was. Not forced to the disk: a power cut may lose the last lines. One writer at a time.
 *
 * @param line without its newline
 * @throws SweetspotError SWEETSPOT_USAGE when `line` holds a newline; SWEETSPOT_IO when the disk refuses
 */
export function appendLine(path: string, line: string): void {
  if (line.includes('\n')) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `cannot append to ${path}`,
      expected: 'one line without a newline inside',
      found: JSON.stringify(line.slice(0, 80)),
    });
  }
  try {
    const file = openSync(path, 'a+');
    try {
      const size = fstatSync(file).size;
      const last = Buffer.alloc(1);
      const torn = size > 0 && readSync(file, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a;
      try {
        writeAll(file, Buffer.from(`${torn ? '\n' : ''}${line}\n`));
      } catch (cause) {
        ftruncateSync(file, size);
        throw cause;
      }
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw ioError(`cannot append to ${path}`, cause);
  }
}

/** The system may take fewer bytes than asked for, as it does just before a disk is full. */
function writeAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.byteLength; ) {
    done += writeSync(file, bytes, done, Math.min(bytes.byteLength - done, LARGEST_WRITE));
  }
}

/** Clears up after a failure, which is what the caller must hear about, not what clearing up says. */
function removeQuietly(temporary: string): void {
  try {
    rmSync(temporary, { recursive: true, force: true });
  } catch {
    // The folder is gone or closed to us: there is nothing of ours that we could still remove.
  }
}

/** Makes a rename durable. Windows has no such call: there a folder cannot be opened. */
function syncDirectory(folder: string): void {
  if (process.platform === 'win32') return;
  try {
    const handle = openSync(folder, 'r');
    try {
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  } catch (cause) {
    // Some network and FUSE disks do not offer it; the rename itself has succeeded.
    if ((cause as NodeJS.ErrnoException).code !== 'EINVAL') throw ioError(`cannot force ${folder} to the disk`, cause);
  }
}

/** `syncDirectory` of the folder that holds `path`, without waiting in place. */
async function syncParent(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(dirname(path), 'r');
  try {
    await handle.sync();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EINVAL') throw cause;
  } finally {
    await handle.close();
  }
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    if (!entry.isFile()) continue;
    // Windows forces out only files opened for writing.
    const file = await open(path, process.platform === 'win32' ? 'r+' : 'r');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
  syncDirectory(folder);
}

function existsError(target: string): SweetspotError {
  return new SweetspotError('SWEETSPOT_EXISTS', {
    what: `${target} exists already`,
    fix: 'choose another name, or move it away first',
  });
}
