// Learning rates by step.

export interface Schedule {
  /** 'cosine' to the floor, 'linear' to the floor, or 'constant' after the warm-up. */
  readonly shape: 'cosine' | 'linear' | 'constant';
  /** Highest learning rate. */
  readonly peak: number;
  /** Steps of linear warm-up from 0. */
  readonly warmup: number;
  /** Lowest rate at the end, as a share of the peak. */
  readonly floor: number;
}

/** Learning rate of step `step` (counted from 0) out of `total`. */
export function learningRate(schedule: Schedule, step: number, total: number): number {
  const { shape, peak, warmup, floor } = schedule;
  if (step < warmup) return (peak * (step + 1)) / warmup;
  if (shape === 'constant') return peak;
  const progress = Math.min(1, (step - warmup) / Math.max(1, total - warmup));
  const down = shape === 'linear' ? 1 - progress : 0.5 * (1 + Math.cos(Math.PI * progress));
  return peak * (floor + (1 - floor) * down);
}
