// Numbers, durations and tables for people. What programs read is the JSON of --json, where nothing is rounded.

const UNITS: readonly (readonly [scale: number, suffix: string])[] = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** 1234567 -> '1.23M'; below 1000 as it is, with at most three digits. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return '?';
  // From 999.5 of a unit on, three digits would round to 1000 of it.
  const [scale, suffix] = UNITS.find(([unit]) => value >= 0.9995 * unit) ?? [1, ''];
  return `${Number((value / scale).toPrecision(3))}${suffix}`;
}

/** Seconds as '4.2 s', '1 min 20 s', '2 h 5 min' or '3 d 4 h'. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const hours = Math.round(seconds / 3600);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

/** Perplexity and such: four digits, never an exponent below a million. */
export const figure = (value: number): string =>
  Number.isFinite(value) ? (value < 1e6 ? value.toFixed(value < 100 ? 3 : 1) : value.toExponential(3)) : '?';

/** Rows under a head line; columns named in `left` start at their left, others end at their right. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  left: readonly string[],
): string[] {
  const widths = head.map((title, j) => Math.max(title.length, ...rows.map((row) => row[j]!.length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, j) => (left.includes(head[j]!) ? cell.padEnd(widths[j]!) : cell.padStart(widths[j]!)))
      .join('  ')
      .trimEnd();
  return [head, ...rows].map(line);
}

/** `label  value` lines, values under each other. */
export function fields(pairs: readonly (readonly [label: string, value: string])[]): string[] {
  const width = Math.max(...pairs.map(([label]) => label.length));
  return pairs.map(([label, value]) => `${label.padEnd(width)}  ${value}`);
}

/** An argument as a POSIX shell takes it. */
export const quote = (text: string): string =>
  /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
