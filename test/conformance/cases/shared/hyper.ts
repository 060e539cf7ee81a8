// Settings of AdamW after a number of steps, as the optimizer writes them.
import type { Generator } from '../../case.js';

/** lr, beta1, beta2, eps, weight decay, the two bias corrections, the number of the step. */
export const hyperAfter =
  (steps: number, eps = 1e-8): Generator =>
  () => [3e-2, 0.9, 0.95, eps, 0.1, 1 - 0.9 ** steps, 1 - 0.95 ** steps, steps];
