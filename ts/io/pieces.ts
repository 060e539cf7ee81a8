// Work that is the same whether a caller waits for it or shares its event loop with others: a generator that yields after
// every few milliseconds of work and returns the result. `atOnce` runs it to the end, `politely` lets the event loop turn.
import { Pace } from '../data/readers.js';

/** Work that yields where it may pause. */
export type Pieces<T> = Generator<void, T, void>;

export function atOnce<T>(work: Pieces<T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}

/** Throws SWEETSPOT_ABORTED when `signal` fires, after the work has put back what it holds. */
export async function politely<T>(work: Pieces<T>, signal?: AbortSignal): Promise<T> {
  const pace = new Pace(signal);
  try {
    for (;;) {
      const { done, value } = work.next();
      if (done === true) return value;
      await pace.breathe();
    }
  } finally {
    work.return(undefined as never);
  }
}
