// Cells on disk. A finished cell is one file, written aside and renamed; a cell being worked on is a folder with a lock, which
// the next worker takes over when its holder has died.
//   cells/<id>.json   result (the same whenever and however often it is computed) and what this machine took
//   work/<id>/        lock, checkpoints of a fine-tuning
//   runs/<id>/        run folder of a pretraining
//   models/<id>       weights of a fine-tuned teacher
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { SweetspotError } from '../backend/errors.js';
import { writeFileAtomic } from '../io/atomic.js';
import { FolderLock } from '../io/lock.js';
import { readJson } from '../methods/run.js';

/** Of the process that did the work, on its machine. */
export interface Measured {
  /** Of the call that finished the cell; of a pretraining, all calls together. */
  readonly seconds: number;
  /** Largest resident size of the process, bytes; null where the system does not tell (memory.ts). */
  readonly peakMemory: number | null;
}

interface CellFile {
  readonly format: 'sweetspot-cell';
  readonly version: 1;
  readonly id: string;
  readonly result: unknown;
  readonly measured: Measured;
}

export class CellStore {
  constructor(readonly folder: string) {
    for (const name of ['cells', 'work', 'runs']) mkdirSync(path.join(folder, name), { recursive: true });
  }

  /** Which cells a folder holds, without making anything in it. */
  static peek(folder: string): (id: string) => boolean {
    return (id) => existsSync(path.join(folder, 'cells', `${id}.json`));
  }

  done(id: string): boolean {
    return existsSync(this.#file(id));
  }

  /** Of a cell that is done. Throws SWEETSPOT_CORRUPT when its file is damaged. */
  read(id: string): { readonly result: unknown; readonly measured: Measured } {
    const cell = readJson(this.#file(id)) as CellFile;
    if (cell.format === 'sweetspot-cell' && cell.version === 1 && cell.id === id) return cell;
    throw new SweetspotError('SWEETSPOT_CORRUPT', {
      what: `${this.#file(id)} is not the cell its name says`,
      fix: 'delete it; the same command makes it again',
    });
  }

  /** Folder of the pretraining that is cell `id`. */
  run(id: string): string {
    return path.join(this.folder, 'runs', id);
  }

  /** Weights that the fine-tuning that is cell `id` leaves for its students. */
  model(id: string): string {
    return path.join(this.folder, 'models', `${id}.safetensors`);
  }

  /** Takes a cell to work on; undefined when another process holds it. Throws SWEETSPOT_IO. */
  take(id: string): HeldCell | undefined {
    const folder = path.join(this.folder, 'work', id);
    try {
      mkdirSync(folder, { recursive: true });
      return new HeldCell(folder, this.#file(id), id, FolderLock.acquire(folder));
    } catch (error) {
      // _INPUT: its holder has just finished and removed the folder.
      const { code } = error as SweetspotError;
      if (code === 'SWEETSPOT_LOCKED' || code === 'SWEETSPOT_INPUT') return undefined;
      throw error;
    }
  }

  #file(id: string): string {
    return path.join(this.folder, 'cells', `${id}.json`);
  }
}

export class HeldCell implements Disposable {
  readonly #file: string;
  readonly #id: string;
  readonly #lock: FolderLock;

  constructor(
    /** For checkpoints; kept until the cell is done. */
    readonly folder: string,
    file: string,
    id: string,
    lock: FolderLock,
  ) {
    this.#file = file;
    this.#id = id;
    this.#lock = lock;
  }

  complete(result: unknown, measured: Measured): void {
    const cell: CellFile = { format: 'sweetspot-cell', version: 1, id: this.#id, result, measured };
    writeFileAtomic(this.#file, `${JSON.stringify(cell)}\n`);
  }

  [Symbol.dispose](): void {
    if (existsSync(this.#file)) {
      for (const name of readdirSync(this.folder))
        if (!name.startsWith('run.lock')) rmSync(path.join(this.folder, name), { recursive: true, force: true });
    }
    this.#lock.release();
    try {
      rmdirSync(this.folder);
    } catch {
      // Not empty: checkpoints to go on from, or somebody else looks whether there is work left.
    }
  }
}
