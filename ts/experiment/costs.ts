// What rows cost, put together from the cells they are made of. A student pays for its teacher: the row of a teacher hangs on that
// of its student, and the cells of both count.
import type { RunCellResult, StartCellResult, TuneCellResult } from './execute.js';
import { SYSTEM_METHODS } from './methods.js';
import type { Plan, PlannedRow } from './plan.js';
import type { ResultRow } from './results.js';

type Costs = Pick<ResultRow, 'generic' | 'specialization'>;
type Cost = Costs['generic'];

/** A row, that of its teacher, that of the teacher's teacher: all it took. */
export const lineage = (row: PlannedRow): PlannedRow[] => [
  row,
  ...(row.teacher === undefined ? [] : lineage(row.teacher)),
];

/** The pretraining of a row: if it is for its domain alone, or (`perDomain` false) if it is for all of them. */
const runsOf = ({ variants }: Plan, { variant, run }: PlannedRow, perDomain: boolean): string[] =>
  run !== null && (SYSTEM_METHODS[variants[variant]!.method]!.pretraining === 'domain') === perDomain ? [run] : [];

/** Of several rows together; a pretraining that they share is paid for once. */
export function costsOf(plan: Plan, planned: readonly PlannedRow[], read: <T>(id: string) => T): Costs {
  const pretraining = (perDomain: boolean) =>
    total([...new Set(planned.flatMap((row) => runsOf(plan, row, perDomain)))].map((id) => read<RunCellResult>(id)));
  const starts = planned.flatMap((row) => [...new Set(row.starts)].map((id) => read<StartCellResult>(id)));
  const tunes = planned.flatMap((row) => row.tunes.map((id) => read<TuneCellResult>(id)));
  return {
    generic: pretraining(false),
    specialization: {
      pretraining: pretraining(true),
      choosing: { flops: starts.reduce((sum, one) => sum + one.chooseFlops, 0), tokens: 0 },
      tuning: total(tunes),
    },
  };
}

const total = (costs: readonly Cost[]): Cost => ({
  flops: costs.reduce((sum, { flops }) => sum + flops, 0),
  tokens: costs.reduce((sum, { tokens }) => sum + tokens, 0),
});

/** What of all the costs is the teacher's. */
export function teacherPart(
  plan: Plan,
  planned: PlannedRow,
  all: Costs,
  read: <T>(id: string) => T,
): NonNullable<ResultRow['teacher']> {
  const own = costsOf(plan, [planned], read);
  const sum = ({ specialization: { pretraining, choosing, tuning } }: Costs) => total([pretraining, choosing, tuning]);
  const less = (a: Cost, b: Cost): Cost => ({ flops: a.flops - b.flops, tokens: a.tokens - b.tokens });
  const mine = [planned.run, ...planned.starts];
  const theirs = (of: (row: PlannedRow) => readonly string[]) =>
    [...new Set(lineage(planned).slice(1).flatMap(of))].filter((id) => !mine.includes(id));
  return {
    generic: less(all.generic, own.generic),
    specialization: less(sum(all), sum(own)),
    cells: {
      generic: theirs((row) => runsOf(plan, row, false)),
      specialization: theirs((row) => [...runsOf(plan, row, true), ...row.starts, ...row.tunes]),
    },
  };
}
