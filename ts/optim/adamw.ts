// AdamW (Loshchilov and Hutter 2019) with clipping by the global norm, over a whole ParameterSet: one row a range, one
// row a bank matrix. What changes from step to step is in the 8 values of `hyper`; see the op table.

import { tape } from '../autograd/tape.js';
import { SweetspotError } from '../backend/errors.js';
import type { ParameterSet } from '../nn/parameters.js';
import { sliceDtype } from '../ops/bank.js';
import { Prng } from '../tensor/prng.js';
import { sizeOf, type Tensor } from '../tensor/tensor.js';
import { type MuonSettings, muonRows } from './muon.js';

/** Settings of AdamW (Loshchilov and Hutter 2019). All have defaults. */
export interface AdamWSettings {
  /** Default 0.9. */
  readonly beta1: number;
  /** Default 0.95: the usual choice for language models. */
  readonly beta2: number;
  /** Default 1e-8. */
  readonly eps: number;
  /** Decoupled weight decay of matrices and slices; norms and coefficients have none. Default 0.1. */
  readonly weightDecay: number;
  /** Global gradient norm above which gradients are scaled down; 0 turns clipping off. Default 1. */
  readonly clip: number;
  /** Learning rate of a bank's slices and coefficients relative to the rest. Default 0.3 (PAPER, pilot). */
  readonly bankScale: number;
}

export const ADAMW: AdamWSettings = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1, bankScale: 0.3 };

/** The `hyper` buffer for step t (counted from 1). */
export function hyperValues(settings: AdamWSettings, lr: number, t: number): Float32Array {
  const { beta1, beta2, eps, weightDecay } = settings;
  return Float32Array.of(lr, beta1, beta2, eps, weightDecay, 1 - beta1 ** t, 1 - beta2 ** t, t);
}

/**
 * Writes the optimizer's rows: norm, clipping, update. Every parameter must have received a gradient on this tape.
 * `norm` (1) receives the global gradient norm before clipping. `seed` is of the rounding of slices in bf16. With `muon`, hidden
 * matrices are updated by Muon.
 */
export function adamw(
  parameters: ParameterSet,
  settings: AdamWSettings,
  hyper: Tensor,
  norm: Tensor,
  { seed = 0, muon = null }: { seed?: number | string | undefined; muon?: MuonSettings | null | undefined } = {},
): void {
  const t = tape();
  for (const spec of parameters.specsWith('m')) {
    const tensor = parameters.tensor(spec.name);
    const reached =
      spec.kind === 'slices'
        ? t.bankGradients.some((bank) => bank.slices.storage === tensor.storage)
        : t.received(tensor);
    if (!reached)
      throw new SweetspotError('SWEETSPOT_PROGRAM', { what: `no gradient reaches the parameter ${spec.name}` });
  }
  const terms = (parameters.gradients === undefined ? 0 : 1) + t.bankGradients.length;
  const parts: Tensor[] = [];
  if (parameters.gradients !== undefined) {
    const y = t.temporary([1]);
    t.emit('sum_squares', { x: parameters.gradients, y }, { n: sizeOf(parameters.gradients.shape) }, {});
    parts.push(y);
  }
  for (const { dw, coefficients, count } of t.bankGradients) {
    const y = t.temporary([1]);
    const [groups, slices] = [coefficients.shape[0]!, coefficients.shape[1]!];
    t.emit(
      'bank_sum_squares',
      { dw, c: coefficients, count, y },
      { groups, slices, size: sizeOf(dw.shape) / groups },
      {},
    );
    parts.push(y);
  }
  let squares = parts[0]!;
  for (let i = 1; i < terms; i++) {
    const y = t.temporary([1]);
    t.emit('add', { a: squares, b: parts[i]!, y }, { n: 1 }, { alpha: 1, beta: 1 });
    squares = y;
  }
  const clip = t.temporary([1]);
  t.emit('clip_scale', { squares, norm, scale: clip }, { n: 1 }, { maxNorm: settings.clip });
  if (muon) muonRows(parameters, muon, hyper, clip);
  for (const { kind, value, grad, m, v } of parameters.ranges) {
    if (kind === 'hidden' && muon) continue;
    const scalars = {
      lrScale: kind === 'coefficients' || kind === 'factors' ? settings.bankScale : 1,
      decayScale: kind === 'vector' || kind === 'coefficients' ? 0 : 1,
    };
    t.emit('adamw', { g: grad, hyper, clip, p: value, m, v }, { n: sizeOf(value.shape) }, scalars);
  }
  for (const { value, m, v } of parameters.slices) {
    const { dw, coefficients, count } = t.bankGradients.find((bank) => bank.slices.storage === value.storage)!;
    const [groups, slices] = [coefficients.shape[0]!, coefficients.shape[1]!];
    const dims = {
      groups,
      slices,
      size: sizeOf(dw.shape) / groups,
      dtype: sliceDtype(value),
      seed: new Prng(`${seed}/rounding/${value.name}`).int(2 ** 32),
    };
    t.emit('bank_adamw', { dw, c: coefficients, count, hyper, clip, t: value, m, v }, dims, {
      lrScale: settings.bankScale,
      decayScale: 1,
    });
  }
}
