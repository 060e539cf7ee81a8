// How far an experiment is: cells done, by this call or another, what runs now, and the time left by FLOPs.
import type { Progress } from '../train/progress.js';
import type { CellStore } from './cells.js';
import type { Cell, Plan } from './plan.js';

/** How far an experiment is. */
export interface ExperimentProgress {
  /** Those with a result. */
  readonly done: number;
  /** Pieces of work in all. */
  readonly cells: number;
  /** Share of the FLOPs of all cells. */
  readonly flopsShare: number;
  /** FLOPs still to do over FLOPs a second so far in this call; undefined until there is a rate. */
  readonly secondsLeft: number | undefined;
  /** By this call; several with several processes. */
  readonly running: readonly { readonly title: string; readonly progress: Progress | undefined }[];
}

/** Called as an experiment advances. */
export type OnExperimentProgress = (progress: ExperimentProgress) => void;

/** Milliseconds between looks for what other calls have done. */
const LOOK = 1000;

export class ProgressTracker {
  readonly #plan: Plan;
  readonly #store: CellStore;
  readonly #tell: OnExperimentProgress | undefined;
  readonly #total: number;
  readonly #running = new Map<string, { cell: Cell; progress: Progress | undefined }>();
  readonly #done = new Set<string>();
  readonly #begin = performance.now();
  readonly #timer: NodeJS.Timeout;
  #flops = 0;
  #flopsAtStart: number;

  constructor(plan: Plan, store: CellStore, tell: OnExperimentProgress | undefined) {
    this.#plan = plan;
    this.#store = store;
    this.#tell = tell;
    this.#total = plan.cells.reduce((sum, { flops }) => sum + flops, 0);
    this.#look();
    this.#flopsAtStart = this.#flops;
    this.#timer = setInterval(() => {
      this.#look();
      this.#report();
    }, LOOK);
    this.#timer.unref();
    this.#report();
  }

  readonly start = (cell: Cell): void => {
    this.#running.set(cell.id, { cell, progress: undefined });
    this.#report();
  };

  readonly progress = (cell: Cell, progress: Progress): void => {
    this.#running.set(cell.id, { cell, progress });
    this.#report();
  };

  readonly done = (cell: Cell): void => {
    this.#running.delete(cell.id);
    this.#look();
    this.#report();
  };

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const { id, flops } of this.#plan.cells) {
      if (this.#done.has(id) || !this.#store.done(id)) continue;
      this.#done.add(id);
      this.#flops += flops;
    }
  }

  #report(): void {
    if (this.#tell === undefined) return;
    let flops = this.#flops;
    for (const { cell, progress } of this.#running.values()) {
      // Stages of one cell count from zero each, so a share is that of its stage: good enough for a guess.
      if (progress !== undefined && progress.total > 0) flops += (cell.flops * progress.done) / progress.total;
    }
    const seconds = (performance.now() - this.#begin) / 1000;
    const rate = (flops - this.#flopsAtStart) / seconds;
    this.#tell({
      done: this.#done.size,
      cells: this.#plan.cells.length,
      flopsShare: this.#total > 0 ? Math.min(1, flops / this.#total) : 1,
      secondsLeft: rate > 0 && seconds > 1 ? (this.#total - flops) / rate : undefined,
      running: [...this.#running.values()].map(({ cell, progress }) => ({ title: cell.title, progress })),
    });
  }
}
