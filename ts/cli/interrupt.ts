// Ctrl-C: the first asks the work to save and stop, a later one stops at once.

/** npx passes a Ctrl-C on to its child, which the terminal has told already: signals this close (ms) are one. */
const SAME = 700;

export const INTERRUPTED = 130;

/**
 * A signal that fires on SIGINT or SIGTERM. The second such signal ends the process with exit code 130.
 * @param announce called at the first
 */
export function interruptSignal(announce: () => void): AbortSignal {
  const controller = new AbortController();
  let first: number | undefined;
  const onSignal = () => {
    if (first === undefined) {
      first = performance.now();
      announce();
      controller.abort();
    } else if (performance.now() - first > SAME) {
      process.exit(INTERRUPTED);
    }
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return controller.signal;
}
