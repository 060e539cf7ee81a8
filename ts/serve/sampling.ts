// Choosing the next token from logits: temperature, then the K most likely, then the smallest set that holds the
// probability P (nucleus sampling, Holtzman et al. 2020). Pure: all chance comes from the generator passed in.
// To add a filter: shorten `candidates`, which are sorted from the most likely down, before the draw.
import { SweetspotError } from '../backend/errors.js';
import type { Prng } from '../tensor/prng.js';

export interface SamplingSettings {
  /** Logits are divided by it; 0 takes the most likely token. */
  readonly temperature: number;
  /** Only the K most likely tokens; 0 for all. */
  readonly topK: number;
  /** Only the most likely tokens that together reach this probability (after topK); 1 for all. */
  readonly topP: number;
}

/** Throws SWEETSPOT_USAGE for a setting out of range. */
export function checkSampling({ temperature, topK, topP }: SamplingSettings): void {
  const refuse = (what: string, expected: string, found: number): never => {
    throw new SweetspotError('SWEETSPOT_USAGE', { what: `sampling: ${what}`, expected, found: String(found) });
  };
  if (!(temperature >= 0 && Number.isFinite(temperature))) refuse('temperature', 'a number from 0 up', temperature);
  if (!Number.isInteger(topK) || topK < 0) refuse('topK', 'a whole number from 0 up', topK);
  if (!(Number.isFinite(topP) && topP > 0 && topP <= 1)) refuse('topP', 'above 0, at most 1', topP);
}

/**
 * The id of the next token. Equal logits are taken in the order of their ids; NaN is never taken.
 *
 * @param logits (V)
 * @throws SweetspotError SWEETSPOT_INPUT when no logit is a finite number
 */
export function sample(logits: Float32Array, settings: SamplingSettings, random: Prng): number {
  const { temperature, topK, topP } = settings;
  const [first] = mostLikely(logits, 1);
  const best = logits[first ?? -1];
  if (first === undefined || best === undefined || !Number.isFinite(best)) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: 'the model gives no finite logits, so no token can be chosen',
      fix: 'use another checkpoint: this one has diverged',
    });
  }
  if (temperature === 0 || topK === 1) return first;
  const weight = (id: number) => Math.exp((logits[id]! - best) / temperature);
  const ids = topK === 0 || topK >= logits.length ? possible(logits) : mostLikely(logits, topK);
  const candidates = topP < 1 ? nucleus(logits, ids, weight, topP) : ids;
  const weights = candidates.map(weight);
  let left = random.next() * weights.reduce((total, one) => total + one, 0);
  for (const [i, one] of weights.entries()) {
    left -= one;
    if (left < 0) return candidates[i]!;
  }
  return first;
}

const byLogit = (logits: Float32Array) => (a: number, b: number) => logits[b]! - logits[a]! || a - b;

/** Every id with a logit, in the order of ids: sorting a whole vocabulary would hold up the event loop for many milliseconds. */
function possible(logits: Float32Array): number[] {
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) if (!Number.isNaN(logits[id])) ids.push(id);
  return ids;
}

/** The most likely of `ids` that together reach the share `topP` of all weights; at least one. */
function nucleus(logits: Float32Array, ids: readonly number[], weight: (id: number) => number, topP: number): number[] {
  // All that weigh less than an even share of the rest cannot make up the rest: few are left to sort.
  const sum = ids.reduce((total, id) => total + weight(id), 0);
  const least = (0.5 * (1 - topP) * sum) / ids.length;
  const likely = ids.filter((id) => weight(id) >= least).sort(byLogit(logits));
  let kept = 0;
  let count = 0;
  while (count < likely.length && (count === 0 || kept < topP * sum)) kept += weight(likely[count++]!);
  return likely.slice(0, count);
}

/** Ids of the `count` largest logits, largest first. */
function mostLikely(logits: Float32Array, count: number): number[] {
  // A short sorted list, into which few of the many are inserted.
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id]!;
    if (Number.isNaN(value) || (ids.length === count && !(value > logits[ids.at(-1)!]!))) continue;
    let at = ids.length === count ? count - 1 : ids.length;
    for (; at > 0 && logits[ids[at - 1]!]! < value; at--) ids[at] = ids[at - 1]!;
    ids[at] = id;
  }
  return ids;
}
