// Whole numbers as people write them, in flags and in files: 4096, 20_000, 1.5k, 10M, 1e6.
// To accept another suffix: add it to `SUFFIXES`.
const SUFFIXES: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9, b: 1e9 };
const COUNT = /^(\d[\d_]*(?:\.\d+)?(?:e\d+)?)([kmgb]?)$/i;

/** The number that `text` is, or undefined where it is none or not whole: digits with `_` between, a point, an exponent, k, M, G or B. */
export function parseCount(text: string): number | undefined {
  const [, digits, suffix] = COUNT.exec(text.trim()) ?? [];
  if (digits === undefined) return undefined;
  const product = Number(digits.replaceAll('_', '')) * SUFFIXES[suffix!.toLowerCase()]!;
  const value = Math.round(product);
  // Products like 4.35 * 1000 miss the whole number by rounding alone.
  return Math.abs(product - value) <= 1e-9 * product && Number.isSafeInteger(value) ? value : undefined;
}

/** The shortest way `parseCount` reads back: 20_000_000 -> '20M', 1536 -> '1536'; other numbers as they are. */
export function compactCount(value: number): string {
  for (const [suffix, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const) {
    if (value >= size && Number.isInteger(value / (size / 10))) return `${value / size}${suffix}`;
  }
  return String(value);
}
