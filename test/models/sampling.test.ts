// Sampling: filters keep what they should, and draws have the frequencies of the distribution.
import test from 'ava';
import { SweetspotError } from '../../ts/backend/index.js';
import { sample } from '../../ts/serve/sampling.js';
import { Prng } from '../../ts/tensor/prng.js';

const logits = Float32Array.from([0.1, 0.4, 0.2, 0.05, 0.25], Math.log);
const all = { temperature: 1, topK: 0, topP: 1 };

/** Share of each id in many draws. */
function shares(settings: typeof all, values = logits, draws = 40_000): number[] {
  const random = new Prng('shares');
  const counts = new Array<number>(values.length).fill(0);
  for (let i = 0; i < draws; i++) counts[sample(values, settings, random)]!++;
  return counts.map((count) => count / draws);
}

const near = (found: readonly number[], expected: readonly number[]) =>
  found.every((share, i) => Math.abs(share - expected[i]!) < (expected[i] === 0 ? 1e-12 : 0.01));

test('draws follow the distribution', (t) => {
  t.true(near(shares(all), [0.1, 0.4, 0.2, 0.05, 0.25]));
  const squares = [0.01, 0.16, 0.04, 0.0025, 0.0625].map((p) => p / 0.275);
  t.true(near(shares({ ...all, temperature: 0.5 }), squares));
});

test('topK and topP keep the most likely tokens', (t) => {
  t.true(near(shares({ ...all, topK: 2 }), [0, 0.4 / 0.65, 0, 0, 0.25 / 0.65]));
  t.true(near(shares({ ...all, topK: 5 }), [0.1, 0.4, 0.2, 0.05, 0.25]));
  t.true(near(shares({ ...all, topP: 0.6 }), [0, 0.4 / 0.65, 0, 0, 0.25 / 0.65]));
  t.true(near(shares({ ...all, topP: 0.01 }), [0, 1, 0, 0, 0]));
  t.true(near(shares({ temperature: 1, topK: 3, topP: 0.5 }), [0, 0.4 / 0.65, 0, 0, 0.25 / 0.65]));
});

test('temperature 0 and topK 1 take the first of the largest', (t) => {
  const values = Float32Array.of(Number.NaN, 1, 3, Number.NEGATIVE_INFINITY, 3);
  for (const settings of [
    { ...all, temperature: 0 },
    { ...all, topK: 1 },
  ])
    t.is(sample(values, settings, new Prng(1)), 2);
});

test('topK agrees with sorting, for any size', (t) => {
  const random = new Prng('sizes');
  for (let round = 0; round < 200; round++) {
    const n = 1 + random.int(40);
    // Few different values, so that there are many ties.
    const values = Float32Array.from({ length: n }, () => random.int(6));
    const topK = 1 + random.int(n);
    const kept = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b).slice(0, topK);
    for (let draw = 0; draw < 20; draw++)
      t.true(kept.includes(sample(values, { temperature: 9, topK, topP: 1 }, random)));
  }
});

test('topP agrees with sorting, for any size', (t) => {
  const random = new Prng('nucleus');
  for (let round = 0; round < 200; round++) {
    const values = Float32Array.from({ length: 1 + random.int(300) }, () => 3 * random.normal());
    const topP = random.next();
    const total = values.reduce((sum, value) => sum + Math.exp(value), 0);
    const kept = new Set<number>();
    let reached = 0;
    for (const id of [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b)) {
      if (reached >= topP * total && kept.size > 0) break;
      kept.add(id);
      reached += Math.exp(values[id]!);
    }
    for (let draw = 0; draw < 20; draw++) t.true(kept.has(sample(values, { temperature: 1, topK: 0, topP }, random)));
  }
});

test('NaN and minus infinity are never drawn; nothing finite is an error', (t) => {
  const values = Float32Array.of(Number.NaN, 0, Number.NEGATIVE_INFINITY, 0);
  const drawn = shares(all, values, 5000);
  t.deepEqual([drawn[0], drawn[2]], [0, 0]);
  for (const hopeless of [[Number.NaN, Number.NaN], [Number.NEGATIVE_INFINITY], [Number.POSITIVE_INFINITY, 0]]) {
    t.throws(() => sample(Float32Array.from(hopeless), all, new Prng(1)), {
      instanceOf: SweetspotError,
      code: 'SWEETSPOT_INPUT',
    });
  }
});

test('equal seeds draw equal tokens', (t) => {
  const draw = (seed: number) => {
    const random = new Prng(seed);
    return Array.from({ length: 50 }, () => sample(logits, all, random));
  };
  t.deepEqual(draw(1), draw(1));
  t.notDeepEqual(draw(1), draw(2));
});
