// One writer per folder: a file `run.lock` that says which process holds it.
//
// The file appears with its whole text in one step (written aside, then hard-linked, which fails if the name is taken),
// so nobody ever reads half a lock. A process that dies leaves its lock behind; it is stale, and the next one takes it
// over. Two that find the same stale lock must not both win: whoever wants to replace it first takes a second lock,
// `run.lock.takeover`, by the very same rules, looks again, and only then renames its own file over the stale one.
//
// To record more about the holder: add a field to `Holder` and check it in `parseHolder`.

import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { ioError, SweetspotError } from '../backend/errors.js';
import { temporaryName } from './atomic.js';

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the lock was taken, ISO 8601. */
  readonly started: string;
  /** When the process was started, in clock ticks since boot, or null where there is no /proc. Unmasks a reused pid. */
  readonly startTicks: number | null;
}

/** A folder held by this process until `release`. With `using lock = FolderLock.acquire(folder)` scope releases it. */
export class FolderLock {
  readonly path: string;
  readonly #text: string;
  #held = true;

  private constructor(path: string, text: string) {
    this.path = path;
    this.#text = text;
  }

  /**
   * Takes the lock of an existing folder. A lock whose process is gone is taken over, if it was on this host.
   *
   * @throws SweetspotError SWEETSPOT_LOCKED when another process, another thread or this one holds the folder;
   *   SWEETSPOT_INPUT when there is no such folder; SWEETSPOT_IO when the system refuses
   */
  static acquire(folder: string): FolderLock {
    const path = join(resolve(folder), 'run.lock');
    const holder: Holder = {
      pid: process.pid,
      host: hostname(),
      started: new Date().toISOString(),
      startTicks: startTicksOf(process.pid),
    };
    const text = `${JSON.stringify(holder)}\n`;
    try {
      take(path, text);
    } catch (cause) {
      throw ioError(`cannot lock ${folder}`, cause);
    }
    return new FolderLock(path, text);
  }

  /** Gives the folder back; a second call does nothing, and a lock that somebody else has put there stays. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    try {
      if (readFileSync(this.path, 'utf8') === this.#text) rmSync(this.path);
    } catch (cause) {
      // The folder may have been removed meanwhile, and its lock with it.
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw ioError(`cannot release ${this.path}`, cause);
    }
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** Puts `text` at `path` as a lock, or throws. Only the holder of `<path>.takeover` may replace a stale lock. */
function take(path: string, text: string): void {
  const mine = temporaryName(path);
  try {
    writeFileSync(mine, text, { flag: 'wx', flush: true });
    for (;;) {
      if (linkIfFree(mine, path)) return;
      const found = readIfThere(path);
      if (found === undefined) continue;
      refuseIfHeld(path, found);
      const claim = `${path}.takeover`;
      take(claim, text);
      try {
        // While this process waited for the claim, another may have finished its own takeover: judge by what is there.
        const now = readIfThere(path);
        if (now === undefined) continue;
        refuseIfHeld(path, now);
        renameSync(mine, path);
        return;
      } finally {
        rmSync(claim, { force: true });
      }
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

function linkIfFree(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw cause;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
}

/** Throws SWEETSPOT_LOCKED unless the process that wrote `text` is certainly gone. */
function refuseIfHeld(path: string, text: string): void {
  const holder = parseHolder(text);
  const remove = `if no process uses this folder any more, delete ${path}`;
  if (holder === undefined) {
    throw new SweetspotError('SWEETSPOT_LOCKED', {
      what: `${path} does not say who holds it`,
      expected: 'a line of JSON with pid, host, started and startTicks',
      found: JSON.stringify(text.slice(0, 80)),
      fix: remove,
    });
  }
  const { pid, host, started } = holder;
  const here = host === hostname();
  if (here && !isAlive(holder)) return;
  const self = here && pid === process.pid;
  throw new SweetspotError('SWEETSPOT_LOCKED', {
    what: `${path} is held by ${self ? 'this process' : `process ${pid} on ${host}`} since ${started}`,
    fix: self ? 'let the other run in this process finish first' : `let it finish or stop it; ${remove}`,
  });
}

function parseHolder(text: string): Holder | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { pid, host, started, startTicks } = (value ?? {}) as Partial<Record<keyof Holder, unknown>>;
  if (!Number.isSafeInteger(pid) || (pid as number) <= 0) return undefined;
  if (typeof host !== 'string' || typeof started !== 'string') return undefined;
  if (startTicks !== null && typeof startTicks !== 'number') return undefined;
  return { pid: pid as number, host, started, startTicks };
}

/** Whether the process that took the lock still runs. In doubt (no /proc and the pid in use) it does. */
function isAlive({ pid, startTicks }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (cause) {
    // EPERM: there is such a process, of another user.
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const ticks = startTicksOf(pid);
  return startTicks === null || ticks === null || ticks === startTicks;
}

/**
 * Start time of a process: field 22 of /proc/<pid>/stat (proc(5)), or null where that cannot be read. A process that
 * has ended but was not yet waited for (state Z) holds nothing any more: -1, which equals no start time.
 */
function startTicksOf(pid: number): number | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // Field 2 is the command name in brackets and may hold anything, so count from the last bracket: field 3 comes next.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return -1;
  const ticks = Number(fields[19]);
  return Number.isSafeInteger(ticks) ? ticks : null;
}
