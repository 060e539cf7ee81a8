import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { hashSeed, Prng } from '../../ts/tensor/prng.js';

const draw = (prng: Prng, n: number) => Array.from({ length: n }, () => prng.bits());

test('xoshiro128** gives the published sequence', (t) => {
  // From the state 1, 2, 3, 4 the reference implementation of the authors starts like this.
  const prng = Prng.fromState({ words: [1, 2, 3, 4], spare: null });
  t.deepEqual(draw(prng, 4), [11520, 0, 5927040, 70819200]);
});

test('the same seed gives the same numbers, another seed others', (t) => {
  t.deepEqual(draw(new Prng('a'), 8), draw(new Prng('a'), 8));
  t.notDeepEqual(draw(new Prng('a'), 8), draw(new Prng('b'), 8));
  t.notDeepEqual(draw(new Prng(0), 8), draw(new Prng(1), 8));
  t.notDeepEqual(draw(new Prng(0.5), 8), draw(new Prng(0), 8));
});

test('state survives JSON in the middle of a normal pair', (t) => {
  const prng = new Prng(7);
  prng.normal();
  const copy = Prng.fromState(JSON.parse(JSON.stringify(prng.state())));
  const values = (p: Prng) => [p.normal(), p.normal(), p.next(), p.int(10), p.normal()];
  t.deepEqual(values(copy), values(prng));
});

test('a damaged state is refused', (t) => {
  for (const state of [null, {}, { words: [0, 0, 0, 0], spare: null }, { words: [1, 2, 3], spare: null }]) {
    t.is(t.throws(() => Prng.fromState(state as never), { instanceOf: SweetspotError }).code, 'SWEETSPOT_CORRUPT');
  }
});

test('next is in [0, 1) with the right mean and variance', (t) => {
  const prng = new Prng(1);
  const values = Array.from({ length: 100_000 }, () => prng.next());
  t.true(values.every((value) => value >= 0 && value < 1));
  const mean = values.reduce((a, b) => a + b) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  t.true(Math.abs(mean - 0.5) < 0.005, `mean ${mean}`);
  t.true(Math.abs(variance - 1 / 12) < 0.002, `variance ${variance}`);
});

test('int is uniform, also where a plain remainder is not', (t) => {
  const prng = new Prng(2);
  const counts = new Array<number>(7).fill(0);
  for (let i = 0; i < 70_000; i++) counts[prng.int(7)]!++;
  t.true(
    counts.every((count) => Math.abs(count - 10_000) < 500),
    String(counts),
  );
  // A remainder of 32 bits would fall in the lower third twice as often.
  const n = 3 * 2 ** 30;
  let low = 0;
  for (let i = 0; i < 30_000; i++) if (prng.int(n) < 2 ** 30) low++;
  t.true(Math.abs(low - 10_000) < 500, String(low));
  t.true(prng.int(2 ** 32) < 2 ** 32);
  for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 33]) t.throws(() => prng.int(bad), { instanceOf: SweetspotError });
});

test('normal has mean 0, variance 1 and the tails of a normal', (t) => {
  const prng = new Prng(3);
  const values = Array.from({ length: 100_000 }, () => prng.normal());
  const mean = values.reduce((a, b) => a + b) / values.length;
  const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length;
  const tail = values.filter((value) => Math.abs(value) > 1.96).length / values.length;
  t.true(Math.abs(mean) < 0.015 && Math.abs(variance - 1) < 0.02 && Math.abs(tail - 0.05) < 0.004);
});

test('shuffle keeps the items and reaches every order equally', (t) => {
  const prng = new Prng(4);
  const counts = new Map<string, number>();
  for (let i = 0; i < 24_000; i++) {
    const order = prng.shuffle(['a', 'b', 'c', 'd']).join('');
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  t.is(counts.size, 24);
  t.true([...counts.values()].every((count) => Math.abs(count - 1000) < 160));
  t.deepEqual([...prng.shuffle(Uint32Array.of(1, 2, 3))].sort(), [1, 2, 3]);
});

test('hashSeed tells borders, order and types of its parts apart', (t) => {
  const seeds = [
    hashSeed(),
    hashSeed(''),
    hashSeed('', ''),
    hashSeed('abc'),
    hashSeed('ab', 'c'),
    hashSeed('a', 'bc'),
    hashSeed('bc', 'a'),
    hashSeed(1),
    hashSeed('1'),
    hashSeed(1, 2),
    hashSeed(12),
  ];
  t.is(new Set(seeds).size, seeds.length);
  t.is(new Set(Array.from({ length: 10_000 }, (_, i) => hashSeed('stream', i))).size, 10_000);
  t.throws(() => hashSeed(Number.NaN), { instanceOf: SweetspotError });
});
