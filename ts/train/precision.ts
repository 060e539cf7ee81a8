// Mixed precision: matrix products with factors rounded to bf16 and float32 sums. Weights, moments, activations and
// everything else stay float32, so that there is nothing to scale and nothing to keep twice. Evaluation and generation are
// always fp32.
import type { Precision } from '../autograd/tape.js';
import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';

export type { Precision };
export const PRECISIONS: readonly Precision[] = ['fp32', 'bf16'];

/** What was asked for, or bf16 where the device has instructions for it (every GPU that is supported). Throws SWEETSPOT_USAGE for any other word. */
export function choosePrecision(backend: Backend, asked?: Precision): Precision {
  if (asked === undefined)
    return backend.name === 'cuda' || backend.capabilities.isa === 'avx512_bf16' ? 'bf16' : 'fp32';
  if (!PRECISIONS.includes(asked)) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'no such precision',
      expected: PRECISIONS.join(' or '),
      found: asked,
    });
  }
  return asked;
}
