// The time at which a row runs. A profile is a Program with a clock row between any two of its rows (bench/profile.ts).
import { now } from '../control';
import { ClockRow } from '../ops.gen';

/** y = nanoseconds */
export function clock(row: ClockRow): void {
  store<u64>(row.y, <u64>(now() * 1e6));
}
