// A map of a clustering: centroids on the plane of their two leading principal components.

/** Passes of the power iteration: far more than a picture needs. */
const ITERATIONS = 300;

export interface Plane {
  readonly x: number[];
  readonly y: number[];
  /** Share of the variance that each axis shows. */
  readonly explained: readonly [number, number];
}

/**
 * @param points (rows, cols), row-major
 * @param weights (rows): how much each row counts
 * @returns one x and y a row. Signs are fixed: the entry of a direction that is largest in size is positive.
 */
export function principalPlane(
  points: ArrayLike<number>,
  rows: number,
  cols: number,
  weights: ArrayLike<number>,
): Plane {
  const total = Array.from(weights).reduce((a, b) => a + b, 0);
  const mean = new Float64Array(cols);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) mean[j]! += (weights[i]! / total) * points[i * cols + j]!;
  const centred = Float64Array.from({ length: rows * cols }, (_, k) => points[k]! - mean[k % cols]!);
  const covariance = new Float64Array(cols * cols);
  for (let i = 0; i < rows; i++)
    for (let a = 0; a < cols; a++)
      for (let b = 0; b < cols; b++)
        covariance[a * cols + b]! += (weights[i]! / total) * centred[i * cols + a]! * centred[i * cols + b]!;
  let variance = 0;
  for (let j = 0; j < cols; j++) variance += covariance[j * cols + j]!;

  const axis = () => {
    let direction = Float64Array.from({ length: cols }, (_, j) => 1 / (1 + j));
    let value = 0;
    for (let n = 0; n < ITERATIONS; n++) {
      const next = new Float64Array(cols);
      for (let a = 0; a < cols; a++)
        for (let b = 0; b < cols; b++) next[a]! += covariance[a * cols + b]! * direction[b]!;
      value = Math.sqrt(next.reduce((sum, v) => sum + v * v, 0));
      if (value < 1e-12) return { value: 0, scores: new Array<number>(rows).fill(0) };
      direction = next.map((v) => v / value);
    }
    const largest = direction.reduce((best, v) => (Math.abs(v) > Math.abs(best) ? v : best), 0);
    if (largest < 0) direction = direction.map((v) => -v);
    // What this direction explains is taken out, so that the next call finds the second.
    for (let a = 0; a < cols; a++)
      for (let b = 0; b < cols; b++) covariance[a * cols + b]! -= value * direction[a]! * direction[b]!;
    const score = (i: number) => {
      let sum = 0;
      for (let j = 0; j < cols; j++) sum += centred[i * cols + j]! * direction[j]!;
      return sum;
    };
    return { value, scores: Array.from({ length: rows }, (_, i) => score(i)) };
  };
  const [first, second] = [axis(), axis()];
  const part = (value: number) => (variance > 0 ? value / variance : 0);
  return { x: first.scores, y: second.scores, explained: [part(first.value), part(second.value)] };
}
