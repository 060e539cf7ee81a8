// specialize(): interrupted and taken up again, and what it refuses to take up.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { buildCorpus } from '../../ts/data/corpus.js';
import { pretrain } from '../../ts/methods/pretrain.js';
import { type SpecializeOptions, specialize } from '../../ts/methods/specialize.js';
import { documents } from '../support/topics.js';

test('an interrupted specialization goes on with the same bits, and only with the same domain and settings', async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-specialize-'));
  const at = (name: string) => path.join(root, name);
  for (const [name, topic] of [
    ['generic', 'kitchen'],
    ['sea', 'sea'],
    ['law', 'law'],
  ] as const) {
    writeFileSync(at(`${name}.jsonl`), documents(topic, 40, 1));
  }
  const backend = openBackend();
  await buildCorpus({ input: at('generic.jsonl'), out: at('corpus'), vocabSize: 300 });
  const model = { hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 64, contextLength: 32 };
  await pretrain({
    backend,
    method: 'slm',
    corpus: at('corpus'),
    out: at('run'),
    tokens: 4096,
    model,
    batchTokens: 1024,
  });
  const call = (out: string, more: Partial<SpecializeOptions> = {}) =>
    specialize({
      backend,
      run: at('run'),
      domain: at('sea.jsonl'),
      out: at(out),
      steps: 20,
      batchTokens: 512,
      ...more,
    });

  await call('whole');
  const abort = new AbortController();
  const interrupted = call('parts', {
    signal: abort.signal,
    onProgress: ({ done }) => {
      if (done >= 7 * 512) abort.abort();
    },
  });
  await t.throwsAsync(interrupted, { code: 'SWEETSPOT_ABORTED' });
  t.true(existsSync(at('parts.part')));
  const domain = await t.throwsAsync(call('parts', { domain: at('law.jsonl') }), { code: 'SWEETSPOT_MISMATCH' });
  t.regex(domain!.message, /another domain/);
  await t.throwsAsync(call('parts', { steps: 30 }), { code: 'SWEETSPOT_MISMATCH', message: /another steps/ });
  await call('parts');
  t.false(existsSync(at('parts.part')));
  const weights = (out: string) => readFileSync(path.join(at(out), 'model.safetensors'));
  t.is(Buffer.compare(weights('whole'), weights('parts')), 0);

  // Adapters: the same, and the base learns through them.
  const lora = { rank: 4 };
  const adapted = await call('adapted', { lora });
  t.true(adapted.after.nll < adapted.before.nll);
  const again = new AbortController();
  const broken = call('adapted-parts', {
    lora,
    signal: again.signal,
    onProgress: ({ done }) => {
      if (done >= 7 * 512) again.abort();
    },
  });
  await t.throwsAsync(broken, { code: 'SWEETSPOT_ABORTED' });
  await call('adapted-parts', { lora });
  t.is(Buffer.compare(weights('adapted'), weights('adapted-parts')), 0);
  await t.throwsAsync(call('none', { expert: 'fitted', lora: { rank: -1 } }), { code: 'SWEETSPOT_USAGE' });

  await t.throwsAsync(call('parts'), { code: 'SWEETSPOT_EXISTS' });
  t.is(backend.allocated(), 0);
  await backend.close();
  rmSync(root, { recursive: true });
});
