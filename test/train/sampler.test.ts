// Batches: what is drawn, how windows are packed, and that the state is enough to go on.
import { createHash } from 'node:crypto';
import test from 'ava';
import { demoTexts } from '../../bench/demo/texts.js';
import { Blend } from '../../ts/data/blend.js';
import { Corpus } from '../../ts/data/corpus.js';
import { type Packing, Sampler } from '../../ts/data/sampler.js';
import { trainTokenizer } from '../../ts/data/tokenizer.js';
import { cutWindows } from '../../ts/data/windows.js';
import { smallTokenizer, TEXTS } from '../support/models.js';

const T = 16;

async function setUp() {
  const tokenizer = await smallTokenizer();
  const corpus = Corpus.fromTexts(TEXTS, tokenizer);
  const windows = cutWindows(corpus, T);
  const clusters = Int32Array.from({ length: windows.count }, (_, i) => windows.document[i]! % 3);
  return { corpus, windows, clusters };
}

test('every target is the token that follows its input in some document, or the marker between two', async (t) => {
  const { corpus, windows } = await setUp();
  const follows = new Set<string>();
  for (let d = 0; d < corpus.documents; d++) {
    const ids = corpus.document(d);
    for (let i = 0; i + 1 < ids.length; i++) follows.add(`${ids[i]} ${ids[i + 1]}`);
    follows.add(`${ids.at(-1)} 0`);
  }
  const sampler = new Sampler({ corpus, windows, batch: 4, contextLength: T, seed: 1 });
  let masked = 0;
  for (let n = 0; n < 50; n++) {
    const { tokens, targets, count } = sampler.next();
    t.is(count, targets.filter((target) => target >= 0).length);
    for (let i = 0; i < tokens.length; i++) {
      if (targets[i]! < 0) masked++;
      else {
        if (!follows.has(`${tokens[i]} ${targets[i]}`)) t.fail(`${tokens[i]} is never followed by ${targets[i]}`);
        if ((i + 1) % T !== 0) t.is(tokens[i + 1], targets[i]);
      }
    }
  }
  t.true(masked < 0.1 * 50 * 4 * T);
});

test('one pass sees every window of a cluster once before any twice', async (t) => {
  const { corpus, windows, clusters } = await setUp();
  const only = Float64Array.of(0, 1, 0);
  const sampler = new Sampler({ corpus, windows, clusters, distribution: only, batch: 1, contextLength: T, seed: 5 });
  const whole = new Set<string>();
  const wanted = new Set<string>();
  const buffer = new Int32Array(T + 1);
  for (let w = 0; w < windows.count; w++) {
    if (clusters[w] !== 1 || windows.length[w] !== T) continue;
    corpus.read(windows.start[w]!, T + 1, buffer, 0);
    wanted.add(buffer.subarray(0, T).join());
  }
  const members = clusters.filter((c) => c === 1).length;
  for (let n = 0; n < members; n++) {
    const { tokens, clusters: rows } = sampler.next();
    t.deepEqual([...rows], [1]);
    whole.add(tokens.join());
    if (sampler.state().passes[1]! > 0) break;
  }
  const seen = [...wanted].filter((key) => whole.has(key)).length;
  // A window that follows a short one is cut, so not all of them appear whole.
  t.true(seen >= 0.4 * wanted.size, `${seen} of ${wanted.size}`);
});

test('clusters follow the distribution, and rows are sorted by cluster', async (t) => {
  const { corpus, windows, clusters } = await setUp();
  const distribution = Float64Array.of(0.6, 0.3, 0.1);
  const sampler = new Sampler({ corpus, windows, clusters, distribution, batch: 8, contextLength: T, seed: 2 });
  const counts = [0, 0, 0];
  for (let n = 0; n < 400; n++) {
    const batch = sampler.next();
    t.deepEqual([...batch.clusters], [...batch.clusters].sort());
    for (const c of batch.clusters) counts[c]!++;
  }
  distribution.forEach((p, c) => {
    t.true(Math.abs(counts[c]! / 3200 - p) < 0.03, `cluster ${c}: ${counts[c]! / 3200} for ${p}`);
  });
});

test('a restored sampler goes on with the same batches; another seed does not', async (t) => {
  const { corpus, windows, clusters } = await setUp();
  const make = (seed: number) => new Sampler({ corpus, windows, clusters, batch: 3, contextLength: T, seed });
  const first = make(7);
  for (let n = 0; n < 33; n++) first.next();
  const state = JSON.parse(JSON.stringify(first.state()));
  const second = make(7);
  second.restore(state);
  for (let n = 0; n < 40; n++) t.deepEqual(second.next(), first.next());
  t.notDeepEqual(make(8).next(), make(7).next());
});

test('a cluster that is wanted but empty is refused', async (t) => {
  const { corpus, windows, clusters } = await setUp();
  const distribution = Float64Array.of(0.5, 0.25, 0, 0.25);
  const error = t.throws(
    () => new Sampler({ corpus, windows, clusters, distribution, batch: 1, contextLength: T, seed: 1 }),
  );
  t.like(error, { code: 'SWEETSPOT_INPUT' });
  t.regex(error.message, /cluster 3/);
});

test('mixtures: every group has a histogram of its own, and their mean is the distribution', async (t) => {
  const { corpus, windows, clusters } = await setUp();
  const distribution = Float64Array.of(0.6, 0.3, 0.1);
  const options = { corpus, windows, clusters, distribution, contextLength: T, seed: 3 };
  const sampler = new Sampler({ ...options, batch: 8, mixtures: { count: 4, support: [1, 3] } });
  const mean = new Float64Array(3);
  const rounds = 2000;
  for (let n = 0; n < rounds; n++) {
    const { groups, clusters: rows, histograms } = sampler.next();
    t.deepEqual([...groups], [0, 0, 1, 1, 2, 2, 3, 3]);
    t.is(histograms!.length, 4);
    histograms!.forEach((histogram) => {
      if (Math.abs(histogram.reduce((a, b) => a + b, 0) - 1) > 1e-6) t.fail('a histogram does not sum to 1');
      histogram.forEach((share, c) => {
        mean[c]! += share / (4 * rounds);
      });
    });
    rows.forEach((c, row) => {
      if (!(histograms![groups[row]!]![c]! > 0)) t.fail(`cluster ${c} is outside the support of its group`);
    });
  }
  distribution.forEach((share, c) => {
    t.true(Math.abs(mean[c]! - share) < 0.02, `${mean}`);
  });
});

test('a blend takes its share from the second text, and goes on after a restore', async (t) => {
  const { corpus, windows } = await setUp();
  const other = Corpus.fromTexts(['zzz zzz zzz zzz zzz zzz zzz zzz'], corpus.tokenizer());
  const second = { corpus: other, windows: cutWindows(other, T) };
  const strange = new Set(other.document(0).subarray(1));
  const options = { corpus, windows, batch: 8, contextLength: T, seed: 4, sources: true };
  const blend = new Blend(options, second, 0.25);
  let rows = 0;
  for (let n = 0; n < 200; n++) {
    const { tokens, targets, sources, count } = blend.next();
    t.is(count, targets.filter((target) => target >= 0).length);
    for (let b = 0; b < 8; b++) {
      const row = tokens.subarray(b * T, (b + 1) * T);
      const foreign = row.every((id) => id === 0 || strange.has(id));
      if (foreign) rows++;
      for (let i = b * T; i < (b + 1) * T; i++) {
        const source = sources![i]!;
        if (source >= 0 && (foreign || targets[i]! < 0)) t.fail(`input ${i} has source ${source}`);
      }
    }
  }
  t.true(Math.abs(rows / 1600 - 0.25) < 0.04, String(rows));
  const state = JSON.parse(JSON.stringify(blend.state()));
  const next = blend.next();
  const restored = new Blend(options, second, 0.25);
  restored.restore(state);
  t.deepEqual(restored.next(), next);
});

test('sources say where each input of the corpus is', async (t) => {
  const { corpus, windows } = await setUp();
  const sampler = new Sampler({ corpus, windows, batch: 4, contextLength: T, seed: 1, sources: true });
  const one = new Int32Array(2);
  for (let n = 0; n < 20; n++) {
    const { tokens, targets, sources } = sampler.next();
    sources!.forEach((source, i) => {
      if (source < 0) return;
      corpus.read(source, 2, one, 0);
      t.is(one[0], tokens[i]);
      // The last input of a row may be cut short of its window; its target is there all the same.
      t.is(one[1], targets[i]);
    });
  }
});

test('windows as they come: the batches of earlier versions, to the bit', async (t) => {
  const { corpus, windows, clusters } = await setUp();
  const hash = createHash('sha256');
  const sampler = new Sampler({ corpus, windows, clusters, packing: 'stream', batch: 4, contextLength: T, seed: 1 });
  for (let n = 0; n < 50; n++) {
    const { tokens, targets } = sampler.next();
    hash.update(JSON.stringify([[...tokens], [...targets]]));
  }
  hash.update(JSON.stringify(sampler.state()));
  t.is(hash.digest('hex'), '5ba0e319a9b2dddc1eb0fa4fc24ae34b643dc897c54b1b2dfe867d1716834432');
});

/** What one pass of a packing does with a text: windows drawn, share of their tokens cut off, rows that begin a document. */
function onePass(corpus: Corpus, contextLength: number, packing: Packing) {
  const windows = cutWindows(corpus, contextLength);
  const sampler = new Sampler({ corpus, windows, packing, sources: true, batch: 1, contextLength, seed: 1 });
  const windowAt = new Map(Array.from(windows.start, (start, w) => [start, w]));
  const drawn: number[] = [];
  let [used, cut, begun, rows] = [0, 0, 0, 0];
  while (sampler.state().passes[0] === 0) {
    const { sources, tokens } = sampler.next();
    for (const [i, source] of sources!.entries()) {
      const w = source < 0 ? undefined : windowAt.get(source);
      if (w !== undefined) drawn.push(w);
      if (source >= 0) used++;
      if (i === contextLength - 1 && source >= 0)
        cut += windows.start[drawn.at(-1)!]! + windows.length[drawn.at(-1)!]! - source - 1;
    }
    rows++;
    begun += tokens[0] === 0 ? 1 : 0;
  }
  return { windows, drawn, cut: cut / (cut + used), begun: begun / rows };
}

test('best-fit packing cuts off less, and begins more rows with a document', async (t) => {
  const texts = demoTexts().generic.filter((_, i) => i % 10 === 0);
  const corpus = Corpus.fromTexts(texts, await trainTokenizer(texts.slice(0, 50), { vocabSize: 400 }));
  for (const contextLength of [64, 256]) {
    const [stream, best] = [onePass(corpus, contextLength, 'stream'), onePass(corpus, contextLength, 'best-fit')];
    const shares = `${stream.cut} as they come, ${best.cut} best-fit`;
    t.log(`windows of ${contextLength}: cut off ${shares}`);
    t.true(best.cut < stream.cut / 3, shares);
    t.true(best.begun >= stream.begun, `${stream.begun} as they come, ${best.begun} best-fit`);
    // Whatever the order, a pass draws every window once; at its end a few wait for the next.
    const { drawn, windows } = best;
    const again = drawn.length - new Set(drawn).size;
    t.true(drawn.length > windows.count - 32 && again <= 2, `${drawn.length} of ${windows.count}, ${again} twice`);
  }
});

test('best-fit packing goes on after a restore, and a cluster of few windows is enough', async (t) => {
  const { corpus, windows, clusters } = await setUp();
  const few = clusters.map((c, w) => (w < 2 ? 3 : c));
  const options = { corpus, windows, clusters: few, packing: 'best-fit', batch: 4, contextLength: T, seed: 1 } as const;
  const sampler = new Sampler(options);
  for (let n = 0; n < 23; n++) sampler.next();
  const state = JSON.parse(JSON.stringify(sampler.state()));
  t.true(state.pending.every((waiting: number[], c: number) => waiting.every((w) => few[w] === c)));
  const next = Array.from({ length: 40 }, () => sampler.next());
  const restored = new Sampler(options);
  restored.restore(state);
  t.deepEqual(
    Array.from({ length: 40 }, () => restored.next()),
    next,
  );
  t.true(next.some((batch) => batch.clusters.includes(3)));
  // Another kind of packing, other batches.
  t.notDeepEqual(new Sampler({ ...options, packing: 'stream' }).next().tokens, new Sampler(options).next().tokens);
});
