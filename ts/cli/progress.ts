// The progress line: stage, bar, how far, how fast, loss, time left. Drawn on stderr when that is a terminal, at most ten
// times a second, and wiped when the work is done; in a pipe nothing is written.
// To report another kind of work: map its progress to `Work`; rate and time left are measured here when not given.
import cliProgress from 'cli-progress';
import { type Progress, RateMeter } from '../train/progress.js';
import { duration, short } from './format.js';

/** `Progress` of the library; `total` is left out where nobody knows it beforehand. */
export type Work = Omit<Progress, 'total'> & { readonly total?: number | undefined };

/** The bar takes what room is left on the line, within these bounds; below the first it is left out. */
const [BAR_LEAST, BAR_MOST] = [6, 24];

/** The line as text of at most `columns` characters where possible: figures before the bar. Exported for its test. */
export function workLine(work: Work, columns: number): string {
  const { stage, done, total, unit, loss, rate, secondsLeft } = work;
  const bounded = total !== undefined && total > 0;
  const share = bounded ? Math.min(1, done / total) : 0;
  const parts = [
    bounded
      ? `${`${Math.floor(100 * share)}%`.padStart(5)}  ${short(done)}/${short(total)} ${unit}`
      : `  ${short(done)} ${unit}`,
  ];
  if (rate !== undefined && rate > 0) parts.push(`${short(rate)}/s`);
  if (loss !== undefined) parts.push(`loss ${loss.toFixed(3)}`);
  if (secondsLeft !== undefined && Number.isFinite(secondsLeft)) parts.push(`${duration(secondsLeft)} left`);
  const figures = parts.join('  ');
  const room = Math.min(BAR_MOST, columns - stage.length - figures.length - 3);
  if (!bounded || room < BAR_LEAST) return `${stage}${figures}`;
  const full = Math.round(share * room);
  return `${stage} [${'='.repeat(full)}${' '.repeat(room - full)}]${figures}`;
}

export class ProgressLine {
  readonly #enabled: boolean;
  #bar: cliProgress.SingleBar | undefined;
  #stage = '';
  #meter = new RateMeter();

  constructor(enabled: boolean) {
    this.#enabled = enabled && process.stderr.isTTY;
  }

  readonly update = (work: Work): void => {
    if (!this.#enabled) return;
    if (work.stage !== this.#stage) {
      this.#stage = work.stage;
      this.#meter = new RateMeter();
    }
    const { done, total } = work;
    const { rate, secondsLeft } = this.#meter.update(done, total ?? Number.NaN);
    const known = { ...work, rate: work.rate ?? rate, secondsLeft: work.secondsLeft ?? secondsLeft };
    this.show((columns) => workLine(known, columns));
  };

  /** Draws a line of the caller's own. */
  show(line: (columns: number) => string): void {
    if (!this.#enabled) return;
    if (this.#bar !== undefined) {
      this.#bar.update(0, { line });
      return;
    }
    this.#bar = new cliProgress.SingleBar({
      stream: process.stderr,
      fps: 10,
      format: (_options, _params, payload: { line: typeof line }) => payload.line((process.stderr.columns || 80) - 1),
      clearOnComplete: true,
      // True cuts the line at the width of the terminal without touching the terminal's own setting.
      linewrap: true,
      // Signals are ours: see interrupt.ts.
      gracefulExit: false,
    });
    this.#bar.start(1, 0, { line });
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
