// The engine: many callers at once get what each would get alone; every way of ending frees a place at once; limits hold;
// closing waits for what runs and leaves nothing behind.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import {
  type Backend,
  createEngine,
  DenseModel,
  type Engine,
  evaluate,
  generateText,
  openBackend,
  SweetspotError,
} from '../../ts/index.js';
import { TEXTS } from '../support/models.js';
import { BACKENDS, eventually, failure, modelFolder, settled } from './support.js';

/** Long enough to be still running whatever the test does meanwhile. */
const LONG = { maxTokens: 100_000, temperature: 1, seed: 1 } as const;

interface Place {
  readonly engine: Engine;
  readonly backend: Backend;
  readonly model: string;
}

for (const name of BACKENDS) {
  const place = async (t: Parameters<typeof modelFolder>[0], options: { sequences?: number; queue?: number } = {}) => {
    const model = await modelFolder(t);
    const backend = openBackend({ backend: name });
    const engine = await createEngine({ model, backend, ...options });
    t.teardown(async () => {
      await engine.close();
      await backend.close();
    });
    return { engine, backend, model } satisfies Place;
  };

  test(`${name}: many at once get the text that each would get alone`, async (t) => {
    const { engine, backend, model: folder } = await place(t, { sequences: 3 });
    using model = DenseModel.load(backend, folder);
    const asked = Array.from({ length: 12 }, (_, i) => ({
      prompt: TEXTS[i]!.slice(0, 7 * i),
      options: { seed: i % 5, temperature: 0.9, maxTokens: 10 + 9 * (i % 4), stop: i % 3 === 0 ? ['q'] : [] },
    }));
    const alone = [];
    for (const { prompt, options } of asked) alone.push(await generateText(model, prompt, options));
    t.true(alone.every((text) => text.length > 0));
    const together = await Promise.all(asked.map(({ prompt, options }) => engine.generateText(prompt, options)));
    t.deepEqual(together, alone);
    // Decoders that have served others, and ids in place of text.
    const ids = model.tokenizer.encode(asked[5]!.prompt);
    t.is(await engine.generateText(ids, asked[5]!.options), alone[5]!);
  });

  test(`${name}: pieces come one by one and join to the text`, async (t) => {
    const { engine } = await place(t);
    const options = { seed: 3, temperature: 1, maxTokens: 40 };
    const pieces = [];
    for await (const piece of engine.generate('The', options)) pieces.push(piece);
    t.true(pieces.length > 10);
    t.is(pieces.join(''), await engine.generateText('The', options));
    t.is(engine.info.requests, 0);
  });

  test(`${name}: perplexity is that of evaluate, and runs beside generation`, async (t) => {
    const { engine, backend, model } = await place(t);
    const text = TEXTS.join(' ').repeat(3);
    const file = join(model, '..', 'text.txt');
    writeFileSync(file, text);
    const expected = (await evaluate({ backend, model, text: file })).domains[0]!;
    const [alone, , beside] = await Promise.all([
      engine.perplexity(text),
      engine.generateText('The', { ...LONG, maxTokens: 60 }),
      engine.perplexity(text),
    ]);
    t.deepEqual(alone, beside);
    t.like(alone, { tokens: expected.tokens, bytes: expected.bytes, windows: expected.windows });
    t.true(Math.abs(alone.perplexity / expected.perplexity - 1) < 1e-6, `${alone.perplexity} ${expected.perplexity}`);
    await t.throwsAsync(engine.perplexity(''), { code: 'SWEETSPOT_INPUT' });
  });

  test(`${name}: all memory comes back, and nothing is allocated to generate`, async (t) => {
    const folder = await modelFolder(t);
    await using backend = openBackend({ backend: name });
    t.is(backend.allocated(), 0);
    const engine = await createEngine({ model: folder, backend, sequences: 2 });
    const ready = backend.allocated();
    t.true(ready > 0);
    const abort = new AbortController();
    const aborted = engine.generateText('The', { ...LONG, signal: abort.signal });
    for await (const _ of engine.generate('The', LONG)) {
      t.is(backend.allocated(), ready);
      break;
    }
    abort.abort();
    t.is((await failure(aborted)).name, 'AbortError');
    await engine.perplexity(TEXTS[6]!);
    t.is(await settled(backend), ready);
    await engine.close();
    t.is(await settled(backend), 0);
    // The backend was borrowed and goes on.
    await (await createEngine({ model: folder, backend })).close();
    using model = DenseModel.load(backend, folder);
    const bytes = backend.allocated();
    {
      await using other = await createEngine({ model });
      t.is(await other.generateText('The', { maxTokens: 0 }), '');
      t.true(backend.allocated() > bytes);
    }
    t.is(await settled(backend), bytes, 'the model was borrowed');
  });

  test(`${name}: abort rejects with the reason, at every stage`, async (t) => {
    const { engine } = await place(t, { sequences: 1 });
    const reason = new Error('had enough');
    const free = async (stage: string) => {
      t.is(engine.info.requests, 0, stage);
      t.is((await engine.generateText('The', { seed: 1, maxTokens: 2 })).length > 0, true, stage);
    };
    for (const run of [
      () => engine.generateText('The', { signal: AbortSignal.abort(reason) }),
      () => engine.perplexity('The', { signal: AbortSignal.abort(reason) }),
    ])
      t.is(await failure(run()), reason);
    await free('already aborted');

    const holder = engine.generate('The', LONG);
    await holder.next();
    const waiting = new AbortController();
    const queued = engine.generateText('The', { signal: waiting.signal });
    const measured = engine.perplexity('The fox', { signal: waiting.signal });
    await eventually(() => engine.info.waiting === 2);
    waiting.abort(reason);
    t.is(await failure(queued), reason);
    t.is(await failure(measured), reason);
    t.is(engine.info.waiting, 0);
    await holder.return();
    await free('queued');

    const decoding = new AbortController();
    const pieces = [];
    const decode = async () => {
      for await (const piece of engine.generate('The', { ...LONG, signal: decoding.signal })) {
        pieces.push(piece);
        if (pieces.length === 3) decoding.abort();
      }
    };
    t.is((await failure(decode())).name, 'AbortError');
    t.is(pieces.length, 3);
    await free('decode');

    const late = AbortSignal.timeout(30);
    t.is((await failure(engine.generateText('The', { ...LONG, signal: late }))).name, 'TimeoutError');
    await free('time limit');
  });

  test(`${name}: abort while a long prompt is read or measured`, async (t) => {
    const model = await modelFolder(t, { hiddenSize: 128, heads: 4, layers: 4, contextLength: 4096 });
    await using engine = await createEngine({ model, backend: { backend: name }, sequences: 1 });
    const text = TEXTS.join(' ').repeat(4);
    for (const run of [
      (signal: AbortSignal) => engine.generateText(text, { maxTokens: 1, signal }),
      (signal: AbortSignal) => engine.perplexity(text, { signal }),
    ]) {
      const abort = new AbortController();
      const stopped = run(abort.signal);
      // Long after it began, long before it would end.
      setTimeout(() => abort.abort(), 5);
      t.is((await failure(stopped)).name, 'AbortError');
      t.is(engine.info.requests, 0);
    }
  });

  test(`${name}: a caller that leaves, or aborts and never asks again, frees its place at once`, async (t) => {
    const { engine } = await place(t, { sequences: 1 });
    const left = engine.generate('The', LONG);
    await left.next();
    const pending = left.next();
    await left.return();
    t.true((await pending).done, 'return ends what was asked for');
    t.true((await left.next()).done);

    const abort = new AbortController();
    const silent = engine.generate('The', { ...LONG, signal: abort.signal });
    await silent.next();
    const next = engine.generateText('The', { maxTokens: 2, seed: 1 });
    await eventually(() => engine.info.waiting === 1);
    abort.abort();
    t.true((await next).length > 0, 'served although the other caller says nothing');
    t.is((await failure(silent.next())).name, 'AbortError');

    const holder = engine.generate('The', LONG);
    await holder.next();
    const queued = engine.generate('The', LONG);
    const first = queued.next();
    await eventually(() => engine.info.waiting === 1);
    await queued.return();
    t.true((await first).done, 'from the queue too');
    t.is(engine.info.waiting, 0);
    await holder.return();
    const never = engine.generate('The', LONG);
    t.true((await never.return()).done);
    t.true((await never.next()).done);
    const thrown = engine.generate('The', LONG);
    await thrown.next();
    await t.throwsAsync(thrown.throw(new Error('mine')), { message: 'mine' });
    {
      await using one = engine.generate('The', LONG);
      await one.next();
      t.is(engine.info.requests, 1);
    }
    t.is(engine.info.requests, 0);
  });

  test(`${name}: a full queue refuses at once, and serves the rest in order`, async (t) => {
    const { engine } = await place(t, { sequences: 1, queue: 2 });
    const holder = engine.generate('The', LONG);
    await holder.next();
    const order: number[] = [];
    const queued = [1, 2].map((i) => engine.generateText('The', { maxTokens: 3 }).then(() => order.push(i)));
    await eventually(() => engine.info.waiting === 2);
    for (const run of [() => engine.generateText('The'), () => engine.perplexity('The fox')]) {
      const error = await t.throwsAsync(run(), { instanceOf: SweetspotError, code: 'SWEETSPOT_BUSY' });
      t.truthy((error as SweetspotError).fix);
    }
    await holder.return();
    await Promise.all(queued);
    t.deepEqual(order, [1, 2]);
    const none = await createEngine({
      model: await modelFolder(t),
      backend: { backend: name },
      sequences: 1,
      queue: 0,
    });
    const only = none.generate('The', LONG);
    await only.next();
    await t.throwsAsync(none.generateText('The'), { code: 'SWEETSPOT_BUSY' });
    await none.close();
  });

  test(`${name}: a short text is not held up by long ones`, async (t) => {
    const { engine } = await place(t, { sequences: 3 });
    const counts = [0, 0];
    const stop = new AbortController();
    const long = counts.map(async (_, i) => {
      for await (const _ of engine.generate('The', { ...LONG, seed: i, signal: stop.signal })) counts[i]!++;
    });
    await eventually(() => counts.every((count) => count > 20));
    const before = [...counts];
    await engine.generateText('The', { maxTokens: 20, temperature: 1, seed: 9 });
    // By turns: each of the long ones took about as many steps as the short one.
    for (const [i, count] of counts.entries()) t.true(count - before[i]! < 80, `${before} then ${counts}`);
    stop.abort();
    for (const one of long) t.is((await failure(one)).name, 'AbortError');
  });

  test(`${name}: closing ends what runs and waits, and what comes later is refused`, async (t) => {
    const { engine, backend } = await place(t, { sequences: 2 });
    const pieces = engine.generate('The', LONG);
    await pieces.next();
    const running = engine.generateText('The', LONG);
    const queued = engine.perplexity('The fox');
    await eventually(() => engine.info.waiting === 1);
    const failures = [running, queued].map((one) =>
      t.throwsAsync(one, { instanceOf: SweetspotError, code: 'SWEETSPOT_CLOSED' }),
    );
    const closing = engine.close();
    t.is(engine.close(), closing);
    await closing;
    await Promise.all(failures);
    await t.throwsAsync(pieces.next(), { code: 'SWEETSPOT_CLOSED' });
    await t.throwsAsync(engine.generateText('The'), { code: 'SWEETSPOT_CLOSED' });
    await t.throwsAsync(engine.perplexity('The'), { code: 'SWEETSPOT_CLOSED' });
    t.is(await settled(backend), 0);
    t.like(engine.info, { requests: 0, waiting: 0, sequences: 2 });
  });

  test(`${name}: mistakes are refused before anything is allocated`, async (t) => {
    const model = await modelFolder(t);
    await using backend = openBackend({ backend: name });
    await using other = openBackend({ backend: name });
    using loaded = DenseModel.load(other, model);
    const usage = { instanceOf: SweetspotError, code: 'SWEETSPOT_USAGE' } as const;
    for (const wrong of [
      undefined,
      null,
      {},
      { model: '' },
      { model: 3 },
      { sequences: 0 },
      { sequences: 1.5 },
      { sequences: 1e6 },
      { sequences: '2' },
      { queue: -1 },
      { queue: Number.NaN },
      { maxQueue: 3 },
      { signal: 'now' },
      { backend: 'cpu' },
      { backend: { backends: 'cpu' } },
      { model: loaded },
    ]) {
      const options = wrong && Object.keys(wrong).length > 0 ? { model, backend, ...wrong } : wrong;
      await t.throwsAsync(createEngine(options as never), usage, JSON.stringify(Object.keys(wrong ?? {})));
    }
    const reason = new Error('no');
    t.is(await t.throwsAsync(createEngine({ model, backend, signal: AbortSignal.abort(reason) })), reason);
    await t.throwsAsync(createEngine({ model: join(model, 'none'), backend }), { code: 'SWEETSPOT_INPUT' });
    t.is(backend.allocated(), 0);

    await using engine = await createEngine({ model, backend, sequences: 1, queue: 0 });
    for (const wrong of [
      { maxTokens: -1 },
      { maxTokens: '5' },
      { temperature: Number.NaN },
      { temperature: '1' },
      { topP: '0.5' },
      { topK: 1.5 },
      { seed: {} },
      { seed: Number.POSITIVE_INFINITY },
      { stop: '' },
      { stop: [3] },
      { signal: {} },
      { max_tokens: 5 },
      null,
      'fast',
    ])
      await t.throwsAsync(engine.generateText('The', wrong as never), usage, JSON.stringify(wrong));
    for (const prompt of [undefined, null, 3, ['The'], Uint32Array.of(1e6)])
      await t.throwsAsync(engine.generateText(prompt as never), usage);
    await t.throwsAsync(engine.perplexity(undefined as never), usage);
    await t.throwsAsync(engine.perplexity('The', { batch: 3 } as never), usage);
    t.is(engine.info.requests, 0);
    t.true((await engine.generateText('The', { maxTokens: 3 })).length > 0);
  });

  test(`${name}: a model that has diverged is an error of the request alone`, async (t) => {
    const folder = await modelFolder(t);
    await using backend = openBackend({ backend: name });
    using model = DenseModel.load(backend, folder);
    await using engine = await createEngine({ model });
    const norm = await model.parameters.read('final_norm');
    model.parameters.write('final_norm', new Float32Array(norm.length).fill(Number.NaN));
    await t.throwsAsync(engine.generateText('The'), { code: 'SWEETSPOT_INPUT' });
    model.parameters.write('final_norm', norm);
    t.true((await engine.generateText('The', { maxTokens: 3 })).length > 0);
  });

  test(`${name}: a long-lived signal keeps nothing of the requests it was given to`, async (t) => {
    const { engine } = await place(t);
    const signal = new AbortController().signal;
    let listeners = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...given: unknown[]) => {
      listeners++;
      return Reflect.apply(addEventListener, signal, given);
    };
    signal.removeEventListener = (...given: unknown[]) => {
      listeners--;
      return Reflect.apply(removeEventListener, signal, given);
    };
    for (let i = 0; i < 20; i++) await engine.generateText('The', { maxTokens: 2, signal });
    await engine.perplexity('The fox', { signal });
    t.is(listeners, 0);
  });
}
