// How everything is timed. Contenders for one piece of work take turns, round after round, so that a slow minute of a shared
// machine meets all of them; the figure is the median of all rounds. benny runs the turns; each contender keeps its own
// clock, because that of a peer runs in another process.
import b from 'benny';

export interface Contender {
  readonly name: string;
  /** One turn: seconds of one unit of work, some times over. Warms up first if it must. */
  readonly turn: () => Promise<readonly number[]>;
}

export interface Measured {
  /** Seconds. */
  readonly median: number;
  /** Interquartile range over the median. */
  readonly spread: number;
  readonly samples: readonly number[];
  /** Why there are no samples. */
  readonly failure?: string;
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((x, y) => x - y);
  const at = (sorted.length - 1) * q;
  const [low, high] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return low + (high - low) * (at - Math.floor(at));
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export const spreadOf = (values: readonly number[]): number =>
  values.length < 2 ? 0 : (quantile(values, 0.75) - quantile(values, 0.25)) / median(values);

/** The same order as `contenders`. One that throws loses its further turns, and is reported with its message. */
export async function interleave(title: string, contenders: readonly Contender[], rounds: number): Promise<Measured[]> {
  const samples = contenders.map((): number[] => []);
  const failures = contenders.map((): string | undefined => undefined);
  // benny calls all cases at the same time to learn whether they are asynchronous, before it starts: no turn is taken then.
  let running = false;
  const started: ReturnType<typeof b.complete> = async () => (suite) =>
    suite.on('start', () => {
      running = true;
    });
  const turns = Array.from({ length: rounds }, (_, round) =>
    contenders.map(({ name, turn }, i) => {
      let taken = false;
      const run = async () => {
        if (!running || taken || failures[i] !== undefined) return;
        taken = true;
        try {
          samples[i]!.push(...(await turn()));
        } catch (error) {
          failures[i] = (error as Error).message;
        }
      };
      return b.add(`${name} ${round}`, run, { minSamples: 1, maxTime: 1e-9, minTime: 1e-9, delay: 0 });
    }),
  ).flat();
  await b.suite(title, ...turns, started);
  return samples.map((values, i) => {
    const failure = failures[i];
    if (failure !== undefined) return { median: Number.NaN, spread: Number.NaN, samples: [], failure };
    return { median: median(values), spread: spreadOf(values), samples: values };
  });
}
