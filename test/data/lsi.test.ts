// LSI against matrices whose singular vectors are known, the weights against their formula, and texts on invented topics.

import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type ErrorCode, listIsas, openBackend } from '../../ts/backend/index.js';
import { externalEmbedder, loadEmbedder, savedEmbedderHash } from '../../ts/data/embedder.js';
import { type CsrMatrix, fitLsi, LsiEmbedder, truncatedSvd } from '../../ts/data/lsi.js';
import { Prng } from '../../ts/tensor/prng.js';
import { OracleBackend } from '../support/oracle.js';

const backend = listIsas().length > 0 ? openBackend({ backend: 'cpu', threads: 2 }) : new OracleBackend();
const room = fs.mkdtempSync(join(tmpdir(), 'sweetspot-lsi-'));
test.after.always(() => {
  fs.rmSync(room, { recursive: true, force: true });
  return backend.close();
});

function csr(dense: readonly (readonly number[])[]): CsrMatrix {
  const indptr = [0];
  const indices: number[] = [];
  const values: number[] = [];
  for (const row of dense) {
    for (const [j, value] of row.entries()) {
      if (value === 0) continue;
      indices.push(j);
      values.push(value);
    }
    indptr.push(indices.length);
  }
  const [rows, cols] = [dense.length, dense[0]!.length];
  return {
    rows,
    cols,
    indptr: Int32Array.from(indptr),
    indices: Int32Array.from(indices),
    values: Float32Array.from(values),
  };
}

const dot = (x: ArrayLike<number>, y: ArrayLike<number>) =>
  Array.from(x, (v, i) => v * y[i]!).reduce((a, b) => a + b, 0);
const column = (x: Float32Array, cols: number, j: number) => x.filter((_, i) => i % cols === j);

const TOPICS = ['zarin', 'molpe', 'quith'];
/** Text i is about topic i % 3: eight of its forty words, and one word that every text has. */
function topicTexts(count: number, seed = 1): string[] {
  const prng = new Prng(seed);
  const letters = 'abcdefghij';
  return Array.from({ length: count }, (_, i) => {
    const words = Array.from({ length: 8 }, () => {
      const n = prng.int(40);
      return `${TOPICS[i % 3]}${letters[Math.floor(n / 10)]}${letters[n % 10]}`;
    });
    return `Common ${words.join(' ')}.`;
  });
}

test('the SVD of blocks of ones is known: sqrt(rows x cols) each', async (t) => {
  // Blocks of 12 x 3, 5 x 4 and 2 x 2, rank 3.
  const dense = Array.from({ length: 19 }, (_, i) =>
    Array.from({ length: 9 }, (_, j) => Number(i < 12 ? j < 3 : i < 17 ? j >= 3 && j < 7 : j >= 7)),
  );
  const { vectors, singularValues } = await truncatedSvd(backend, csr(dense), { dimensions: 5, seed: 1 });
  for (const [i, want] of [6, Math.sqrt(20), 2, 0, 0].entries()) t.true(Math.abs(singularValues[i]! - want) < 1e-4);
  const expected = [
    [1, 1, 1, 0, 0, 0, 0, 0, 0].map((v) => v / Math.sqrt(3)),
    [0, 0, 0, 1, 1, 1, 1, 0, 0].map((v) => v / 2),
    [0, 0, 0, 0, 0, 0, 0, 1, 1].map((v) => v / Math.sqrt(2)),
  ];
  for (const [j, want] of expected.entries()) {
    t.true(column(vectors, 5, j).every((v, i) => Math.abs(v - want[i]!) < 1e-4));
  }
  for (const j of [3, 4]) t.true(column(vectors, 5, j).every((v) => v === 0));
});

test('singular vectors of a random matrix are orthonormal, belong to their values, and are the leading ones', async (t) => {
  // 120 x 90, a tenth filled, columns scaled so that the spectrum falls; 20 directions of 90.
  const prng = new Prng(4);
  const dense = Array.from({ length: 120 }, () =>
    Array.from({ length: 90 }, (_, j) => (prng.next() < 0.1 ? prng.normal() * 0.93 ** j : 0)),
  );
  const a = csr(dense);
  const { vectors, singularValues } = await truncatedSvd(backend, a, { dimensions: 20, seed: 2 });
  const full = await truncatedSvd(backend, a, { dimensions: 90, seed: 3 });
  // All of them together hold the whole matrix.
  const squares = a.values.reduce((sum, v) => sum + v * v, 0);
  t.true(Math.abs(dot(full.singularValues, full.singularValues) - squares) < 1e-3 * squares);
  for (let j = 0; j < 20; j++) {
    t.true(Math.abs(singularValues[j]! - full.singularValues[j]!) < 0.01 * full.singularValues[j]!);
    const v = column(vectors, 20, j);
    for (let i = 0; i <= j; i++) t.true(Math.abs(dot(v, column(vectors, 20, i)) - Number(i === j)) < 1e-4);
    t.true(v[v.reduce((best, x, i) => (Math.abs(x) > Math.abs(v[best]!) ? i : best), 0)]! > 0);
  }
  for (let j = 0; j < 10; j++) {
    const v = column(vectors, 20, j);
    const u = dense.map((row) => dot(row, v));
    const back = v.map((_, c) =>
      dot(
        u,
        dense.map((row) => row[c]!),
      ),
    );
    const sigma2 = singularValues[j]! ** 2;
    t.true(back.every((x, c) => Math.abs(x - sigma2 * v[c]!) < 0.02 * sigma2));
  }
});

test('terms are runs of 2 to 30 letters in lower case, and weights follow their formula', async (t) => {
  const texts = [
    'Größe größe x42 naïve',
    'größe été 7',
    `été ${'a'.repeat(30)} x`,
    `${'a'.repeat(30)} ${'b'.repeat(31)}`,
  ];
  texts.push(`naïve_ ${'b'.repeat(31)}`, 'é! x y z', 'once alone');
  const embedder = await fitLsi(backend, texts, { dimensions: 2 });
  t.deepEqual([...embedder.terms], ['a'.repeat(30), 'größe', 'naïve', 'été']);
  const { ids, weights } = embedder.tfidf(texts[0]!);
  t.deepEqual(
    [...ids].map((id) => embedder.terms[id]),
    ['größe', 'naïve'],
  );
  const idf = Math.log(8 / 3);
  const raw = [(1 + Math.log(2)) * idf, idf];
  const norm = Math.hypot(...raw);
  t.true(weights.every((weight, i) => Math.abs(weight - raw[i]! / norm) < 1e-6));
});

test('a mark stays with its letter', async (t) => {
  const decomposed = 'e\u0301te\u0301';
  const embedder = await fitLsi(backend, [decomposed, decomposed, 'und', 'und', 'or'], { dimensions: 2 });
  t.deepEqual([...embedder.terms].sort(), [decomposed, 'und'].sort());
});

test('texts on one topic are near each other and far from the rest', async (t) => {
  const embedder = await fitLsi(backend, topicTexts(300), { dimensions: 3 });
  t.false(embedder.terms.includes('common'));
  t.is(embedder.terms.length, 120);
  const fresh = topicTexts(60, 2);
  const x = await embedder.embed(fresh);
  for (let i = 0; i < 60; i++) {
    const row = x.subarray(3 * i, 3 * i + 3);
    t.true(Math.abs(dot(row, row) - 1) < 1e-5);
    for (let j = 0; j < i; j++) {
      const similarity = dot(row, x.subarray(3 * j, 3 * j + 3));
      if (i % 3 === j % 3) t.true(similarity > 0.95);
      else t.true(Math.abs(similarity) < 0.05);
    }
  }
});

test('a text embeds the same alone and among others; one without known terms is zero', async (t) => {
  const embedder = await fitLsi(backend, topicTexts(90), { dimensions: 8 });
  const texts = [...topicTexts(20, 3), '', 'unheard of', 'common'];
  const all = await embedder.embed(texts);
  t.true(all.subarray(20 * 8).every((value) => value === 0));
  for (const [i, text] of texts.entries()) t.deepEqual(await embedder.embed([text]), all.slice(i * 8, (i + 1) * 8));
  const many = await embedder.embed(Array.from({ length: 2050 }, (_, i) => texts[i % 20]!));
  t.deepEqual(many.slice(2049 * 8), all.slice(9 * 8, 10 * 8));
  t.is((await embedder.embed([])).length, 0);
});

test('equal input gives equal bits, also from a sample and from an asynchronous source', async (t) => {
  const texts = topicTexts(200);
  async function* source() {
    yield* texts;
  }
  const options = { dimensions: 6, maxTexts: 100, seed: 7 };
  const first = await fitLsi(backend, texts, options);
  t.is((await fitLsi(backend, source(), options)).hash, first.hash);
  t.not((await fitLsi(backend, texts, { ...options, seed: 8 })).hash, first.hash);
});

test('a sample takes texts from everywhere', async (t) => {
  // Texts 2 i and 2 i + 1 share one word that no other has; it counts when both are drawn, a quarter of the time.
  const word = (i: number) => `w${String.fromCharCode(97 + Math.floor(i / 20), 97 + (i % 20))}`;
  const texts = Array.from({ length: 800 }, (_, i) => word(i >> 1));
  const { terms } = await fitLsi(backend, texts, { dimensions: 1, maxTexts: 400 });
  const early = terms.filter((term) => term < word(200)).length;
  t.true(Math.abs(early - 50) < 25 && Math.abs(terms.length - early - 50) < 25, `${early} of ${terms.length}`);
});

test('the most frequent terms are kept, within the limits asked for', async (t) => {
  const texts = ['ab cd ef', 'ab cd', 'ab cd', 'ab', 'gh ef', 'gh', 'zz', 'zy', 'zx', 'zw'];
  const kept = async (options: object) => (await fitLsi(backend, texts, { dimensions: 1, ...options })).terms;
  t.deepEqual(await kept({}), ['ab', 'cd', 'ef', 'gh']);
  t.deepEqual(await kept({ terms: 3 }), ['ab', 'cd', 'ef']);
  t.deepEqual(await kept({ minTexts: 3 }), ['ab', 'cd']);
  t.deepEqual(await kept({ maxShare: 0.3 }), ['cd', 'ef', 'gh']);
});

test('a saved embedder comes back the same; a damaged one is refused', async (t) => {
  t.is(savedEmbedderHash(room), undefined);
  t.throws(() => loadEmbedder(room, backend), { code: 'SWEETSPOT_INPUT' });
  const embedder = await fitLsi(backend, topicTexts(90), { dimensions: 8 });
  embedder.save(room);
  t.is(savedEmbedderHash(room), embedder.hash);
  const loaded = loadEmbedder(room, backend);
  t.true(loaded instanceof LsiEmbedder);
  t.deepEqual([loaded.hash, loaded.dimensions], [embedder.hash, 8]);
  const texts = topicTexts(5, 9);
  t.deepEqual(await loaded.embed(texts), await embedder.embed(texts));

  const head = fs.readFileSync(join(room, 'embedder.json'), 'utf8');
  const tensors = fs.readFileSync(join(room, 'embedder.safetensors'));
  const damage = (name: string, content: string | Buffer) => {
    fs.writeFileSync(join(room, name), content);
    t.throws(() => loadEmbedder(room, backend), { code: 'SWEETSPOT_CORRUPT' }, name);
    fs.writeFileSync(join(room, 'embedder.json'), head);
    fs.writeFileSync(join(room, 'embedder.safetensors'), tensors);
  };
  damage('embedder.json', head.replace('zarin', 'zaryn'));
  damage('embedder.json', head.slice(0, -9));
  damage('embedder.json', 'null');
  damage('embedder.json', head.replace('"lsi"', '"other"'));
  damage('embedder.json', head.replace('"dimensions":8', '"dimensions":4'));
  const flipped = Buffer.from(tensors);
  flipped[flipped.length - 3]! ^= 1;
  damage('embedder.safetensors', flipped);
  t.is(loadEmbedder(room, backend).hash, embedder.hash);
});

test.serial('refuses what cannot be fitted, and leaves no memory behind', async (t) => {
  const before = backend.allocated();
  const texts = topicTexts(30);
  const fails = (code: ErrorCode, from: string[], options: object) =>
    t.throwsAsync(fitLsi(backend, from, options), { code });
  await fails('SWEETSPOT_INPUT', [], {});
  await fails('SWEETSPOT_INPUT', ['one two', 'three four'], {});
  await fails('SWEETSPOT_USAGE', texts, { dimensions: 0 });
  await fails('SWEETSPOT_USAGE', texts, { maxShare: 2 });
  const abort = new AbortController();
  await fails('SWEETSPOT_ABORTED', texts, { signal: abort.signal, onProgress: () => abort.abort() });
  const embedder = await fitLsi(backend, texts);
  await embedder.embed(texts);
  t.is(backend.allocated(), before);
});

test("an embedder of the caller's own is normalised, checked, and cannot be saved", async (t) => {
  const make = (vectors: number[]) =>
    externalEmbedder({ name: 'mine', dimensions: 2, embed: async () => Float32Array.from(vectors) });
  t.deepEqual([...(await make([3, 4, 0, 0]).embed(['a', 'b']))], [Math.fround(0.6), Math.fround(0.8), 0, 0]);
  await t.throwsAsync(make([1, 2, 3]).embed(['a', 'b']), { code: 'SWEETSPOT_INPUT' });
  await t.throwsAsync(make([1, Number.NaN]).embed(['a']), { code: 'SWEETSPOT_INPUT' });
  t.throws(() => make([]).save(room), { code: 'SWEETSPOT_USAGE', message: /cannot be saved/ });
  t.is(make([]).hash, make([1]).hash);
  t.not(make([]).hash, externalEmbedder({ name: 'other', dimensions: 2, embed: async () => new Float32Array(0) }).hash);
});
