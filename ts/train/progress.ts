// What long work tells its caller. The library calls `onProgress` with plain facts; the command line draws them.

/** How far some work is. */
export interface Progress {
  /** What is being done, e.g. 'pretrain' or 'expert 3 of 16'. */
  readonly stage: string;
  /** Of `unit`. */
  readonly done: number;
  /** Of `unit`. */
  readonly total: number;
  /** What done and total count. */
  readonly unit: 'tokens' | 'steps' | 'windows' | 'documents' | 'bytes';
  /** Training loss of the last steps, nats a token. */
  readonly loss?: number | undefined;
  /** Units a second, over the last seconds. */
  readonly rate?: number | undefined;
  /** Seconds left at this rate. */
  readonly secondsLeft?: number | undefined;
}

/** Called as work advances. */
export type OnProgress = (progress: Progress) => void;

/** Rate over a sliding window of a few seconds, and the time left. */
export class RateMeter {
  readonly #marks: { at: number; done: number }[] = [];

  update(done: number, total: number): { rate: number; secondsLeft: number } {
    const at = performance.now();
    this.#marks.push({ at, done });
    while (this.#marks.length > 2 && at - this.#marks[0]!.at > 5000) this.#marks.shift();
    const first = this.#marks[0]!;
    const rate = at > first.at ? ((done - first.done) * 1000) / (at - first.at) : 0;
    return { rate, secondsLeft: rate > 0 ? (total - done) / rate : Number.POSITIVE_INFINITY };
  }
}
