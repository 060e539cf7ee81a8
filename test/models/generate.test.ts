// Generation: the decoder's logits are those of the whole model, before and after the context slides; text depends on
// the seed alone; every way of ending gives all memory back.
import test from 'ava';
import { openBackend, SweetspotError } from '../../ts/backend/index.js';
import type { Tokenizer } from '../../ts/data/tokenizer.js';
import type { DenseModel } from '../../ts/models/dense.js';
import { outputMatrix, transformer } from '../../ts/models/transformer.js';
import { linear } from '../../ts/ops/matmul.js';
import { softCap } from '../../ts/ops/soft_cap.js';
import { Program } from '../../ts/program/program.js';
import { Decoder } from '../../ts/serve/decoder.js';
import { generate, generateText } from '../../ts/serve/generate.js';
import { Prng } from '../../ts/tensor/prng.js';
import { bufferTensor } from '../../ts/tensor/tensor.js';
import { LAYOUTS, smallModel, smallTokenizer } from '../support/models.js';
import { OracleBackend } from '../support/oracle.js';
import { relativeDifference } from '../support/train_step.js';

let tokenizer: Tokenizer;
test.before(async () => {
  tokenizer = await smallTokenizer();
});

/** Logits of the full forward pass after the last of `ids`. */
async function fullLogits({ backend, config, parameters }: DenseModel, ids: readonly number[]): Promise<Float32Array> {
  const T = ids.length;
  const buffer = backend.alloc(2 * 64 * Math.ceil(T / 16));
  const half = 64 * Math.ceil(T / 16);
  const program = Program.record(backend, 'full', (tape) => {
    const tokens = bufferTensor('tokens', [1, T], 'i32', { buffer, offset: 0 });
    const positions = bufferTensor('positions', [T], 'i32', { buffer, offset: half });
    const hidden = transformer(config, parameters, tokens, positions);
    tape.output('logits', softCap(linear(hidden, outputMatrix(config, parameters)), config.logitCap));
  });
  backend.write(buffer, 0, new Uint8Array(Int32Array.from(ids).buffer));
  backend.write(buffer, half, new Uint8Array(Int32Array.from(ids.keys()).buffer));
  program.run();
  const logits = await program.read('logits');
  program.release();
  backend.free(buffer);
  return logits.slice((T - 1) * config.vocabSize);
}

const randomIds = (n: number, seed: string) => {
  const random = new Prng(seed);
  return Array.from({ length: n }, () => random.int(tokenizer.vocabSize));
};

for (const [name, given] of Object.entries(LAYOUTS)) {
  test(`${name}: prefill and decode give the logits of the full forward pass`, async (t) => {
    const backend = openBackend();
    const model = smallModel(backend, tokenizer, { ...given, contextLength: 80 });
    const ids = randomIds(80, name);
    // Around the size of a chunk and its double, then token by token to the end of the context.
    for (const prefill of [1, 2, 31, 32, 33, 64, 65, 79, 80]) {
      const decoder = new Decoder(model);
      let found = await decoder.read(ids.slice(0, prefill));
      for (let n = prefill; ; n++) {
        const difference = relativeDifference(found, await fullLogits(model, ids.slice(0, n)));
        t.true(difference < 1e-4, `${n} tokens, ${prefill} at once: ${difference}`);
        if (n === Math.min(prefill + 3, ids.length)) break;
        found = await decoder.read([ids[n]!]);
      }
      decoder.dispose();
    }
    await backend.close();
  });
}

test('a decoder on the CPU gives the logits of the oracle', async (t) => {
  const ids = randomIds(20, 'oracle');
  const results: Float32Array[] = [];
  for (const backend of [openBackend(), new OracleBackend()]) {
    const decoder = new Decoder(smallModel(backend, tokenizer, LAYOUTS['qwen3, untied']));
    await decoder.read(ids.slice(0, 15));
    results.push(await decoder.read(ids.slice(15)));
    await backend.close();
  }
  t.true(relativeDifference(results[0]!, results[1]!) < 1e-5);
});

test('a full context slides: the last half is read again from position 0', async (t) => {
  const backend = openBackend();
  const model = smallModel(backend, tokenizer, { contextLength: 24 });
  const ids = randomIds(60, 'slide');
  const decoder = new Decoder(model);
  await decoder.read(ids.slice(0, 24));
  for (let n = 25; n <= 37; n++) {
    const difference = relativeDifference(await decoder.read([ids[n - 1]!]), await fullLogits(model, ids.slice(13, n)));
    t.true(difference < 1e-4, `${n} tokens: ${difference}`);
  }
  t.true(relativeDifference(await decoder.read([ids[37]!]), await fullLogits(model, ids.slice(26, 38))) < 1e-4);
  // A prompt longer than the context: its last half context counts.
  const fresh = new Decoder(model);
  t.true(relativeDifference(await fresh.read(ids), await fullLogits(model, ids.slice(-12))) < 1e-4);
  const shortest = new Decoder(smallModel(backend, tokenizer, { contextLength: 1 }));
  for (const id of ids.slice(0, 5)) t.true((await shortest.read([id])).every(Number.isFinite));
  await backend.close();
});

test('text depends on the seed, and on it alone', async (t) => {
  const texts = [];
  for (const threads of [1, 2]) {
    const backend = openBackend({ threads });
    const model = smallModel(backend, tokenizer);
    const run = (seed: number | string, temperature = 0.9) =>
      generateText(model, 'The fox', { seed, temperature, maxTokens: 60 });
    texts.push(await run(1), await run(1), await run('1'), await run(3, 0), await run(4, 0));
    t.not(
      await generateText(model, 'The fox', { maxTokens: 60 }),
      await generateText(model, 'The fox', { maxTokens: 60 }),
    );
    await backend.close();
  }
  const [a, b, c, greedy, other] = texts;
  t.true(a!.length > 20);
  t.is(a, b);
  t.not(a, c);
  t.is(greedy, other);
  t.deepEqual(texts.slice(0, 5), texts.slice(5), 'threads');
});

test('pieces are whole characters and join to the text; ids and text as prompt are the same', async (t) => {
  const backend = openBackend();
  const model = smallModel(backend, tokenizer);
  const options = { seed: 5, temperature: 1.5, topK: 0, maxTokens: 80 };
  const pieces = [];
  for await (const piece of generate(model, 'café', options)) pieces.push(piece);
  t.false(pieces.includes(''));
  t.is(pieces.join(''), await generateText(model, 'café', options));
  t.is(pieces.join(''), await generateText(model, tokenizer.encode('café'), options));
  const marked = Uint32Array.of(tokenizer.endOfText, ...tokenizer.encode('café'));
  t.is(pieces.join(''), await generateText(model, marked, options));
  t.true((await generateText(model, '', options)).length > 0);
  t.is(await generateText(model, 'café', { ...options, maxTokens: 0 }), '');
  await backend.close();
});

test('a stop text ends the generation and is not given out, wherever pieces break', async (t) => {
  const backend = openBackend();
  const model = smallModel(backend, tokenizer);
  const options = { seed: 6, temperature: 1.2, maxTokens: 50 };
  const whole = await generateText(model, 'x', options);
  for (let at = 0; at + 4 < whole.length; at += 3) {
    const stop = whole.slice(at, at + 4);
    t.is(
      await generateText(model, 'x', { ...options, stop: ['never there', stop] }),
      whole.slice(0, whole.indexOf(stop)),
    );
  }
  // The beginning of a stop text at the very end is given out after all.
  t.is(await generateText(model, 'x', { ...options, stop: `${whole.slice(-3)}!!!` }), whole);
  await backend.close();
});

test('the end-of-text marker ends the generation', async (t) => {
  const backend = openBackend();
  const model = smallModel(backend, tokenizer, { tieEmbeddings: false });
  // All logits equal: the first id, which is the marker, is the most likely.
  model.parameters.write('output', new Float32Array(tokenizer.vocabSize * model.config.hiddenSize));
  t.is(await generateText(model, 'The fox', { temperature: 0 }), '');
  await backend.close();
});

test('rows of the vocabulary past the tokenizer are never sampled', async (t) => {
  const backend = openBackend();
  const model = smallModel(backend, tokenizer, { vocabSize: tokenizer.vocabSize + 212 });
  t.true((await generateText(model, 'The', { seed: 1, temperature: 3, topK: 0, maxTokens: 100 })).length > 0);
  await backend.close();
});

test('all memory comes back: at the end, on return, on abort, on a mistake', async (t) => {
  const backend = openBackend();
  const model = smallModel(backend, tokenizer);
  const start = backend.allocated();
  const settled = async (how: string) => {
    await backend.fence();
    t.is(backend.allocated(), start, how);
  };
  await generateText(model, 'The', { seed: 1, maxTokens: 5 });
  await settled('end');
  for await (const piece of generate(model, 'The', { seed: 1, temperature: 1 })) {
    t.true(backend.allocated() > start);
    if (piece.length > 0) break;
  }
  await settled('return');
  const abort = new AbortController();
  const aborted = async () => {
    for await (const _ of generate(model, 'The', { seed: 1, temperature: 1, signal: abort.signal })) abort.abort();
  };
  await t.throwsAsync(aborted, { instanceOf: SweetspotError, code: 'SWEETSPOT_ABORTED' });
  await settled('abort');
  await t.throwsAsync(generateText(model, 'The', { signal: AbortSignal.abort() }), { code: 'SWEETSPOT_ABORTED' });
  for (const wrong of [
    { maxTokens: -1 },
    { maxTokens: 1.5 },
    { temperature: -1 },
    { topP: 0 },
    { topK: -1 },
    { stop: '' },
  ]) {
    await t.throwsAsync(generateText(model, 'The', wrong), { instanceOf: SweetspotError, code: 'SWEETSPOT_USAGE' });
  }
  const unknown = Uint32Array.of(tokenizer.vocabSize);
  await t.throwsAsync(generateText(model, unknown), { instanceOf: SweetspotError, code: 'SWEETSPOT_USAGE' });
  model.parameters.write('final_norm', new Float32Array(model.config.hiddenSize).fill(Number.NaN));
  await t.throwsAsync(generateText(model, 'The'), { instanceOf: SweetspotError, code: 'SWEETSPOT_INPUT' });
  await settled('mistake');
  await backend.close();
});
