// Learning rates by step.

export type ScheduleShape = 'cosine' | 'linear' | 'constant' | 'wsd';
export const SCHEDULE_SHAPES: readonly ScheduleShape[] = ['cosine', 'linear', 'constant', 'wsd'];

export interface Schedule {
  /**
   * After the warm-up: 'cosine' or 'linear' to the floor, 'constant', or 'wsd' (warm-up, stable, decay): constant, then
   * linear to the floor over the last `decay` of the steps.
   */
  readonly shape: ScheduleShape;
  /** Highest learning rate. */
  readonly peak: number;
  /** Steps of linear warm-up from 0. */
  readonly warmup: number;
  /** Lowest rate at the end, as a share of the peak. */
  readonly floor: number;
  /** 'wsd': share of all steps in which the rate falls. Default 0.2. */
  readonly decay?: number | undefined;
}

/** The step from which the rate falls; for 'wsd' all steps before it are the same however long the run is. */
export const decayStart = ({ shape, warmup, decay = 0.2 }: Schedule, total: number): number =>
  shape === 'wsd' ? Math.max(warmup, Math.ceil(total * (1 - decay))) : warmup;

/** Learning rate of step `step` (counted from 0) out of `total`. */
export function learningRate(schedule: Schedule, step: number, total: number): number {
  const { shape, peak, warmup, floor } = schedule;
  if (step < warmup) return (peak * (step + 1)) / warmup;
  if (shape === 'constant') return peak;
  const start = decayStart(schedule, total);
  if (step < start) return peak;
  const progress = Math.min(1, (step - start) / Math.max(1, total - start));
  const down = shape === 'cosine' ? 0.5 * (1 + Math.cos(Math.PI * progress)) : 1 - progress;
  return peak * (floor + (1 - floor) * down);
}
