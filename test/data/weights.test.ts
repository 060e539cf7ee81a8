// Weights over clusters: capped repeats, and by distance.
import test from 'ava';
import type { Clustering } from '../../ts/data/clusters.js';
import { capRepeats, distanceWeights } from '../../ts/data/weights.js';

const sum = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);
const near = (a: ArrayLike<number>, b: readonly number[]) =>
  a.length === b.length && b.every((value, i) => Math.abs(value - a[i]!) < 1e-9);

test('no cluster is repeated more often than the cap', (t) => {
  const tokens = [100, 1000, 1000, 5000];
  // 1,000 tokens drawn by h: the first cluster would be seen 6 times.
  const h = [0.6, 0.3, 0.1, 0];
  const capped = capRepeats(h, tokens, 1000, 2);
  t.true(near(capped, [0.2, 0.6, 0.2, 0]), String(capped));
  t.true(near(capRepeats(h, tokens, 1000, 100), h));
  // All clusters of h are full: the rest comes as the corpus does.
  const scarce = capRepeats([1, 0, 0, 0], tokens, 1000, 1);
  t.is(scarce[0], 0.1);
  t.true(near(scarce.slice(1), [0.9 / 7, 0.9 / 7, (0.9 * 5) / 7]), String(scarce));
  for (const cap of [0.2, 0.5, 1, 3]) {
    const shares = capRepeats(h, tokens, 1000, cap);
    t.true(Math.abs(sum(shares) - 1) < 1e-9);
    shares.forEach((share, c) => {
      t.true((1000 * share) / tokens[c]! <= cap + 1e-9);
    });
  }
  const error = t.throws(() => capRepeats(h, tokens, 100_000, 2), { code: 'SWEETSPOT_USAGE' });
  t.regex(error!.message, /at least 14.1/);
});

test('weights by distance: near centroids count, windows count by their length', (t) => {
  const clustering = { count: 2, dimensions: 2, centroids: Float32Array.of(1, 0, 0, 1) } as unknown as Clustering;
  const at = (x: number[], lengths: number[], temperature?: number) =>
    distanceWeights(clustering, Float32Array.from(x), lengths, temperature);
  t.true(at([1, 0], [5])[0]! > 0.999999);
  t.true(near(at([0.5, 0.5], [5]), [0.5, 0.5]));
  const both = at([1, 0, 0, 1], [30, 10]);
  t.true(Math.abs(both[0]! - 0.75) < 1e-6);
  t.true(at([1, 0], [5], 10)[0]! < 0.6);
});
