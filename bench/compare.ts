// Two reports of the same benches: which rows of ours became slower than noise explains. Figures are divided by the roofs of
// their own run, so that a machine in a slow hour, or another machine of the same kind, is not a regression.
import { columns, figure, isRate, percent, type Report, type Result } from './result.js';

/** Losses under this are never called a regression. */
export const LEAST_LOSS = 0.1;

export interface Compared {
  readonly name: string;
  readonly unit: string;
  readonly before: number;
  readonly after: number;
  /** Normalized; above 1 is better than before. */
  readonly ratio: number;
  /** What the ratio may move by without meaning anything. */
  readonly noise: number;
  readonly regression: boolean;
}

export function compareReports(before: Report, after: Report): Compared[] {
  const mine = (report: Report) => report.results.filter((row) => row.peer === null);
  const old = new Map(mine(before).map((row) => [key(row), row]));
  return mine(after).flatMap((row) => {
    const was = old.get(key(row));
    if (was === undefined) return [];
    const ratio = advantage(was, row, before.roof.fp32, after.roof.fp32);
    const noise = Math.max(LEAST_LOSS, was.spread, row.spread);
    const { name, unit } = row;
    return [{ name, unit, before: was.value, after: row.value, ratio, noise, regression: 1 - ratio > noise }];
  });
}

const key = ({ name, unit, threads }: Result): string => `${name}\n${unit}\n${threads}`;

function advantage(was: Result, row: Result, roofBefore: number, roofAfter: number): number {
  // A share has its own roof, measured beside the row.
  if (was.shareOfRoof !== null && row.shareOfRoof !== null) return row.shareOfRoof / was.shareOfRoof;
  const raw = isRate(row.unit) ? row.value / was.value : was.value / row.value;
  // Rates without a share run from caches, which follow the clock as the multiply-adds do. Latencies and sizes do not.
  return isRate(row.unit) ? (raw * roofBefore) / roofAfter : raw;
}

export function comparisonTable(compared: readonly Compared[]): string {
  const lines = compared
    .toSorted((a, b) => a.ratio - b.ratio)
    .map(({ name, unit, before, after, ratio, noise, regression }) => [
      name,
      figure(before),
      figure(after),
      unit,
      `${ratio.toFixed(2)}x`,
      percent(noise),
      regression ? 'SLOWER' : 1 - 1 / ratio > noise ? 'faster' : '',
    ]);
  return columns([['', 'before', 'after', 'unit', 'normalized', 'noise', ''], ...lines]);
}
