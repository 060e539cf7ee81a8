// Evaluation: the numbers are those of the specification, computed apart in float64 by an independent model; how windows
// are batched, padded and cut off does not change them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type Backend, openBackend, SweetspotError } from '../../ts/backend/index.js';
import { Corpus } from '../../ts/data/corpus.js';
import { type Tokenizer, trainTokenizer } from '../../ts/data/tokenizer.js';
import { cutWindows } from '../../ts/data/windows.js';
import { evaluateCorpus, macroAverage, windowLosses } from '../../ts/eval/perplexity.js';
import { saveDenseFolder } from '../../ts/io/huggingface.js';
import { loadReference } from '../support/llama_reference.js';
import { LAYOUTS, randomValues, smallConfig, smallModel, smallTokenizer, TEXTS } from '../support/models.js';

let tokenizer: Tokenizer;
let corpus: Corpus;
let backend: Backend;
test.before(async () => {
  tokenizer = await smallTokenizer();
  // An empty document has no window and no bytes.
  corpus = Corpus.fromTexts([...TEXTS.slice(0, 7), '', ...TEXTS.slice(7)], tokenizer);
  backend = openBackend();
});
test.after.always(() => backend?.close());

test('nll, perplexity and bits per byte are those of the specification', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'sweetspot-evaluation-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  for (const [name, given] of Object.entries(LAYOUTS)) {
    const config = smallConfig(tokenizer.vocabSize, { ...given, contextLength: 16 });
    await saveDenseFolder(join(root, name), config, randomValues(config, 'x'), tokenizer, {}, { own: true });
    const reference = loadReference(join(root, name));
    let [sum, tokens, bytes] = [0, 0, 0];
    for (const text of TEXTS) {
      const ids = [tokenizer.endOfText, ...tokenizer.encode(text)];
      for (let at = 0; at + 1 < ids.length; at += 16) {
        const losses = reference.losses(ids.slice(at, at + 17));
        sum += losses.reduce((a, b) => a + b, 0);
        tokens += losses.length;
      }
      bytes += Buffer.byteLength(text);
    }
    const model = smallModel(backend, tokenizer, { ...given, contextLength: 16 }, 'x');
    const found = await evaluateCorpus(backend, model.config, model.parameters, corpus);
    const equal = (a: number, b: number, what: string) =>
      t.true(Math.abs(a / b - 1) < 1e-5, `${name}: ${what} ${a}, not ${b}`);
    t.like(found, { tokens, bytes, documents: TEXTS.length });
    equal(found.nll, sum / tokens, 'nll');
    equal(found.perplexity, Math.exp(sum / tokens), 'perplexity');
    equal(found.bitsPerByte, sum / Math.LN2 / bytes, 'bits per byte');
    model.dispose();
  }
});

test('a model that knows nothing has the perplexity of its vocabulary', async (t) => {
  const model = smallModel(backend, tokenizer);
  model.parameters.write('final_norm', new Float32Array(model.config.hiddenSize));
  const { perplexity } = await evaluateCorpus(backend, model.config, model.parameters, corpus);
  t.true(Math.abs(perplexity / tokenizer.vocabSize - 1) < 1e-5, `${perplexity}`);
  model.dispose();
});

test('batches and padding do not change a window', async (t) => {
  const model = smallModel(backend, tokenizer, { contextLength: 24 });
  const { config, parameters } = model;
  const windows = cutWindows(corpus, 24);
  const lengths = new Set(windows.length);
  t.true(lengths.size > 5 && lengths.has(24), 'there are windows of many lengths');
  const alone = await windowLosses(backend, config, parameters, corpus, { batchTokens: 1 });
  t.is(alone.length, windows.count);
  for (const batchTokens of [24, 100, 4096]) {
    const together = await windowLosses(backend, config, parameters, corpus, { batchTokens });
    const largest = Math.max(...together.map((loss, i) => Math.abs(loss / alone[i]! - 1)));
    t.true(largest < 1e-6, `${batchTokens} tokens a batch: ${largest}`);
    t.deepEqual(await windowLosses(backend, config, parameters, corpus, { batchTokens }), together, 'again');
  }
  model.dispose();
});

test('losses of windows add up to the evaluation', async (t) => {
  const model = smallModel(backend, tokenizer);
  const losses = await windowLosses(backend, model.config, model.parameters, corpus);
  const { nll, tokens, windows } = await evaluateCorpus(backend, model.config, model.parameters, corpus);
  t.is(losses.length, windows);
  t.true(Math.abs(losses.reduce((a, b) => a + b, 0) - nll * tokens) < 1e-9 * tokens);
  model.dispose();
});

test('maxTokens takes the first windows that fit; bytes are those of the text predicted', async (t) => {
  const model = smallModel(backend, tokenizer, { contextLength: 8 });
  const { config, parameters } = model;
  const one = Corpus.fromTexts([`${TEXTS[6]} ${TEXTS[13]}`], tokenizer);
  const part = await evaluateCorpus(backend, config, parameters, one, { maxTokens: 20 });
  t.like(part, { tokens: 16, windows: 2, documents: 1 });
  t.is(part.bytes, Buffer.byteLength(tokenizer.decode(one.document(0).subarray(1, 17))));
  const losses = await windowLosses(backend, config, parameters, one);
  t.true(Math.abs(part.nll * 16 - losses[0]! - losses[1]!) < 1e-6);
  t.is((await evaluateCorpus(backend, config, parameters, one, { maxTokens: 1 })).windows, 1);
  const whole = await evaluateCorpus(backend, config, parameters, corpus);
  t.deepEqual(await evaluateCorpus(backend, config, parameters, corpus, { maxTokens: whole.tokens }), whole);
  t.true(
    (await evaluateCorpus(backend, config, parameters, corpus, { maxTokens: whole.tokens - 1 })).tokens < whole.tokens,
  );
  model.dispose();
});

test('the macro average weighs domains equally', (t) => {
  const average = macroAverage([
    { nll: Math.log(4), bitsPerByte: 1 },
    { nll: Math.log(9), bitsPerByte: 2 },
  ]);
  t.true(Math.abs(average.perplexity - 6) < 1e-12);
  t.true(Math.abs(average.nll - Math.log(6)) < 1e-12);
  t.is(average.bitsPerByte, 1.5);
  t.throws(() => macroAverage([]), { instanceOf: SweetspotError, code: 'SWEETSPOT_USAGE' });
});

test('progress counts predictions up to the total', async (t) => {
  const model = smallModel(backend, tokenizer);
  const seen: [number, number][] = [];
  const onProgress = (done: number, total: number) => seen.push([done, total]);
  const { tokens } = await evaluateCorpus(backend, model.config, model.parameters, corpus, {
    batchTokens: 48,
    onProgress,
  });
  t.true(seen.length > 3);
  t.deepEqual(seen.at(-1), [tokens, tokens]);
  t.true(seen.every(([done, total], i) => total === tokens && done > (seen[i - 1]?.[0] ?? 0)));
  model.dispose();
});

test('refusals leave no memory behind', async (t) => {
  const own = openBackend();
  const model = smallModel(own, tokenizer);
  const { config, parameters } = model;
  const start = own.allocated();
  const refused = (code: string, of: Corpus, options: Parameters<typeof evaluateCorpus>[4], given = config) =>
    t.throwsAsync(evaluateCorpus(own, given, parameters, of, options), { instanceOf: SweetspotError, code });
  await refused('SWEETSPOT_INPUT', Corpus.fromTexts([''], tokenizer), {});
  await refused('SWEETSPOT_USAGE', corpus, { maxTokens: 0 });
  await refused('SWEETSPOT_USAGE', corpus, { batchTokens: 0.5 });
  await refused('SWEETSPOT_ABORTED', corpus, { signal: AbortSignal.abort() });
  const other = await trainTokenizer(TEXTS, { vocabSize: 340 });
  await refused('SWEETSPOT_MISMATCH', Corpus.fromTexts(TEXTS, other), {});
  const abort = new AbortController();
  await refused('SWEETSPOT_ABORTED', corpus, {
    batchTokens: 24,
    signal: abort.signal,
    onProgress: () => abort.abort(),
  });
  await refused('SWEETSPOT_USAGE', corpus, {
    batchTokens: 24,
    onProgress: () => {
      throw new SweetspotError('SWEETSPOT_USAGE', { what: 'what the caller threw' });
    },
  });
  await own.fence();
  t.is(own.allocated(), start);
  await own.close();
});
