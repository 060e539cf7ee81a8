// The progress of an experiment as one line: cells, share of the work, time left, and what runs now.
import type { ExperimentProgress } from '../experiment/progress.js';
import { duration, short } from './format.js';

const BAR = 16;

/** At most `columns` characters; what runs now is cut where there is no room. */
export function experimentLine(progress: ExperimentProgress, columns: number): string {
  const { done, cells, flopsShare, secondsLeft, running } = progress;
  const now = running.map(({ title, progress: inside }) => {
    if (inside === undefined) return title;
    const { done: at, total, unit, rate, loss } = inside;
    const parts = [title];
    if (total > 0) parts.push(`${Math.floor((100 * at) / total)}%`);
    if (rate !== undefined && rate > 0) parts.push(`${short(rate)} ${unit}/s`);
    if (loss !== undefined) parts.push(`loss ${loss.toFixed(2)}`);
    return parts.join(' ');
  });
  const full = Math.round(flopsShare * BAR);
  const head =
    cells === 0
      ? []
      : [
          `${done}/${cells} cells [${'='.repeat(full)}${' '.repeat(BAR - full)}] ${Math.floor(100 * flopsShare)}%`,
          ...(secondsLeft === undefined ? [] : [`${duration(secondsLeft)} left`]),
        ];
  return [...head, ...now].join('  ').slice(0, columns);
}
