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
  const candidates = mostLikely(logits, temperature === 0 ? 1 : topK === 0 ? logits.length : topK);
  const best = logits[candidates[0] ?? -1];
  if (best === undefined || !Number.isFinite(best)) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: 'the model gives no finite logits, so no token can be chosen',
      fix: 'use another checkpoint: this one has diverged',
    });
  }
  if (candidates.length === 1) return candidates[0]!;
  const weights = candidates.map((id) => Math.exp((logits[id]! - best) / temperature));
  const sum = weights.reduce((a, b) => a + b, 0);
  let kept = 0;
  for (let last = 0; last < weights.length && (last === 0 || kept < topP * sum); last++) kept += weights[last]!;
  let left = random.next() * Math.min(kept, sum);
  for (const [i, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return candidates[i]!;
  }
  return candidates[0]!;
}

/** Ids of the `count` largest logits, largest first. */
function mostLikely(logits: Float32Array, count: number): number[] {
  const before = (a: number, b: number) => logits[b]! - logits[a]! || a - b;
  if (count >= logits.length)
    return Array.from(logits.keys())
      .filter((id) => !Number.isNaN(logits[id]))
      .sort(before);
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
