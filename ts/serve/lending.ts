// A fixed number of things, lent to one taker each. Takers that find none wait in order, up to a limit; who comes past the
// limit is told at once, so that a service under too much load answers quickly in place of answering all too late.
import { SweetspotError } from '../backend/errors.js';

export class Lending<T> {
  readonly #free: T[];
  /** In order of arrival. */
  readonly #waiting = new Set<(thing: T) => void>();
  readonly #limit: number;

  /** @param limit how many takers may wait */
  constructor(things: readonly T[], limit: number) {
    this.#free = [...things];
    this.#limit = limit;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * One of the things, at once or when it is this taker's turn. Whoever has it gives it back with `give`.
   *
   * @throws the reason of `signal`, as soon as it fires; SweetspotError SWEETSPOT_BUSY when too many wait already
   */
  async take(signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const thing = this.#free.pop();
    if (thing !== undefined) return thing;
    if (this.#waiting.size >= this.#limit) {
      throw new SweetspotError('SWEETSPOT_BUSY', {
        what: 'the engine has as many requests as it takes',
        found: `${this.#limit} requests wait`,
        fix: 'try again later, or create the engine with more `sequences` or a longer `queue`',
      });
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(turn);
        reject(signal.reason);
      };
      const turn = (given: T) => {
        signal.removeEventListener('abort', leave);
        resolve(given);
      };
      this.#waiting.add(turn);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  give(thing: T): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free.push(thing);
    } else {
      this.#waiting.delete(next);
      next(thing);
    }
  }
}
