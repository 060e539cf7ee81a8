// Weights over clusters other than a plain histogram: one that no cluster's text must be repeated too often for, and one by
// distance to the centroids.
import { SweetspotError } from '../backend/errors.js';
import type { Clustering } from './clusters.js';

/**
 * The histogram nearest in spirit to h for which no cluster is seen more than `cap` times when `totalTokens` are drawn:
 * what is over the cap goes to the other clusters of h in proportion, and when all of them are full to the generic ones.
 * Throws SWEETSPOT_USAGE when the whole corpus repeated `cap` times is too short.
 */
export function capRepeats(
  h: ArrayLike<number>,
  tokensPerCluster: ArrayLike<number>,
  totalTokens: number,
  cap: number,
): Float64Array {
  const most = Float64Array.from(tokensPerCluster, (tokens) => (cap * tokens) / totalTokens);
  const room = most.reduce((a, b) => a + b, 0);
  if (!(cap > 0) || room < 1) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'the cap on repeats',
      expected: `at least ${Math.ceil(10 * (cap / Math.max(room, 1e-300))) / 10}, to reach ${totalTokens} tokens`,
      found: String(cap),
      fix: 'raise it, pretrain on fewer tokens, or give more generic text',
    });
  }
  const out = new Float64Array(h.length);
  // First the clusters of h in its proportions, then all in proportion to their text: each pass fills up at least one.
  let left = 1;
  for (const wanted of [Float64Array.from(h), Float64Array.from(tokensPerCluster)]) {
    for (;;) {
      let open = 0;
      for (let c = 0; c < out.length; c++) if (out[c]! < most[c]!) open += wanted[c]!;
      if (!(left > 1e-12) || !(open > 0)) break;
      const share = left / open;
      for (let c = 0; c < out.length; c++) {
        if (!(out[c]! < most[c]!)) continue;
        const given = Math.min(share * wanted[c]!, most[c]! - out[c]!);
        out[c]! += given;
        left -= given;
      }
    }
  }
  const total = out.reduce((a, b) => a + b, 0);
  return out.map((share) => share / total);
}

/**
 * Weights of experts for a text by the distances of its windows to the centroids (c-BTM, Gururangan et al. 2023): the mean
 * over windows of softmax(-distance^2 / temperature). embeddings (windows, dimensions); windows count by `lengths`.
 */
export function distanceWeights(
  { centroids, dimensions, count }: Clustering,
  embeddings: Float32Array,
  lengths: ArrayLike<number>,
  temperature = 0.1,
): Float64Array {
  const weights = new Float64Array(count);
  const row = new Float64Array(count);
  for (let w = 0; w < lengths.length; w++) {
    let least = Number.POSITIVE_INFINITY;
    for (let c = 0; c < count; c++) {
      let distance = 0;
      for (let d = 0; d < dimensions; d++)
        distance += (embeddings[w * dimensions + d]! - centroids[c * dimensions + d]!) ** 2;
      row[c] = distance;
      least = Math.min(least, distance);
    }
    let total = 0;
    for (let c = 0; c < count; c++) {
      row[c] = Math.exp((least - row[c]!) / temperature);
      total += row[c]!;
    }
    for (let c = 0; c < count; c++) weights[c]! += (lengths[w]! * row[c]!) / total;
  }
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}
