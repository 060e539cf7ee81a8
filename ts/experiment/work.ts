// A worker: takes the first cell that is neither done nor held and whose needs are done, does it, looks again. Any number of
// them, in any number of processes, share the work through the files of the store alone.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Backend, SweetspotError } from '../backend/index.js';
import type { OnProgress } from '../train/progress.js';
import type { CellStore } from './cells.js';
import { execute } from './execute.js';
import { peakMemory } from './memory.js';
import type { Cell, Plan } from './plan.js';

export interface WorkOptions {
  readonly backend: Backend;
  readonly store: CellStore;
  readonly plan: Plan;
  /** Progress inside a cell. */
  readonly onProgress: (cell: Cell, progress: Parameters<OnProgress>[0]) => void;
  readonly onStart: (cell: Cell) => void;
  readonly onDone: (cell: Cell) => void;
  readonly signal: AbortSignal | undefined;
}

/** Milliseconds between looks when others hold all that could be done. */
const WAIT = 200;

/** Works until every cell is done, by whomever. Throws SWEETSPOT_ABORTED, and what `execute` throws. */
export async function work(options: WorkOptions): Promise<void> {
  const { store, plan, signal } = options;
  const done = new Set<string>();
  const isDone = (id: string) => {
    if (!done.has(id) && store.done(id)) done.add(id);
    return done.has(id);
  };
  for (;;) {
    if (signal?.aborted)
      throw new SweetspotError('SWEETSPOT_ABORTED', {
        what: 'the experiment was interrupted; cells that are done are kept',
      });
    const open = plan.cells.filter(({ id }) => !isDone(id));
    if (open.length === 0) return;
    let worked = false;
    for (const cell of open) {
      if (!cell.needs.every(isDone)) continue;
      worked = await tryCell(options, cell);
      if (worked) break;
    }
    if (!worked) await sleep(WAIT);
  }
}

/** False when somebody else holds the cell or has just finished it. */
async function tryCell(options: WorkOptions, cell: Cell): Promise<boolean> {
  const { backend, store, plan, signal } = options;
  using held = store.take(cell.id);
  if (held === undefined || store.done(cell.id)) return false;
  options.onStart(cell);
  const begin = performance.now();
  const peak = peakMemory();
  const { result, seconds } = await execute(
    { backend, store, plan, signal, onProgress: (progress) => options.onProgress(cell, progress) },
    cell.id,
    cell.work,
    held.folder,
  );
  held.complete(result, { seconds: seconds ?? (performance.now() - begin) / 1000, peakMemory: peak() });
  options.onDone(cell);
  return true;
}
