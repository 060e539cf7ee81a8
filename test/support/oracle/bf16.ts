// Rounding as `precision` 1 does it.

/** The nearest number with 8 significant bits and the exponents of float32, ties to even. */
export function roundToBf16(x: number): number {
  if (!Number.isFinite(x) || x === 0) return x;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), -126);
  const scaled = x / 2 ** (exponent - 7);
  const below = Math.floor(scaled);
  const rest = scaled - below;
  const up = rest > 0.5 || (rest === 0.5 && below % 2 !== 0);
  const value = (below + (up ? 1 : 0)) * 2 ** (exponent - 7);
  return Math.abs(value) >= 2 ** 128 ? Math.sign(x) * Infinity : value;
}
