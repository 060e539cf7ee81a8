// Banks whose coefficients come from an MLP: soup of experts (histogram) and hyper-network (embedding), end to end on generated
// topics. Routing is alive when the model of a domain knows the domain better than the model of another one does.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { clusterCorpus } from '../../ts/data/clusters.js';
import { buildCorpus, domainCorpus } from '../../ts/data/corpus.js';
import { chooseExpert, evaluateValues } from '../../ts/methods/choose.js';
import { type PretrainOptions, pretrain } from '../../ts/methods/pretrain.js';
import { openRun } from '../../ts/methods/run.js';
import { specialize } from '../../ts/methods/specialize.js';
import { documents } from '../support/topics.js';

const TOPICS = ['sea', 'law', 'kitchen'] as const;

for (const method of ['soup', 'hypernetwork'] as const) {
  test(`${method}: a domain gets a model of its own at once, and an interrupted run the same bits`, async (t) => {
    const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-conditioned-'));
    const at = (name: string) => path.join(root, name);
    const backend = openBackend();
    writeFileSync(at('generic.jsonl'), TOPICS.map((topic) => documents(topic, 60, 1)).join(''));
    for (const topic of TOPICS) writeFileSync(at(`${topic}.jsonl`), documents(topic, 20, 2));
    await buildCorpus({ input: at('generic.jsonl'), out: at('corpus'), vocabSize: 300 });
    await clusterCorpus(backend, at('corpus'), { clusters: 3, contextLength: 32, dimensions: 8 });
    const call = (out: string, more: Partial<PretrainOptions> = {}) =>
      pretrain({
        backend,
        method,
        corpus: at('corpus'),
        out: at(out),
        clusters: 3,
        tokens: 120 * 1024,
        model: { hiddenSize: 32, layers: 2, heads: 2, intermediateSize: 64, contextLength: 32 },
        bank: { slices: 4, mlpWidth: 16 },
        ...(method === 'soup' ? { mixtures: { count: 4, support: [1, 2] } } : {}),
        batchTokens: 1024,
        muon: {},
        zeroOutputs: true,
        schedule: 'wsd',
        ...more,
      });
    const result = await call('whole');
    t.true(result.facts['coefficientSpread']! > 0.05, `spread ${result.facts['coefficientSpread']}`);

    const abort = new AbortController();
    const interrupted = call('parts', {
      signal: abort.signal,
      onProgress: ({ done }) => {
        if (done >= 50 * 1024) abort.abort();
      },
    });
    await t.throwsAsync(interrupted, { code: 'SWEETSPOT_ABORTED' });
    await call('parts');
    const weights = (out: string) => readFileSync(at(`${out}/weights/main.safetensors`));
    t.is(Buffer.compare(weights('whole'), weights('parts')), 0);

    const run = openRun(at('whole'));
    const texts = await Promise.all(TOPICS.map((topic) => domainCorpus(at(`${topic}.jsonl`), run.tokenizer, {})));
    const models = await Promise.all(texts.map((text) => chooseExpert(backend, run, text, 'histogram')));
    for (const [i, text] of texts.entries()) {
      const losses = await Promise.all(models.map(({ values }) => evaluateValues(backend, run, values, text)));
      losses.forEach(({ nll }, j) => {
        if (i !== j) t.true(nll > losses[i]!.nll, `${TOPICS[i]}: ${losses[i]!.nll}, model of ${TOPICS[j]}: ${nll}`);
      });
    }
    const fitted = await chooseExpert(backend, run, texts[1]!, 'fitted');
    const after = await evaluateValues(backend, run, fitted.values, texts[1]!);
    const before = await evaluateValues(backend, run, models[1]!.values, texts[1]!);
    t.true(after.nll < before.nll, `fitted ${after.nll}, by histogram ${before.nll}`);
    const done = await specialize({ backend, run: at('whole'), domain: at('law.jsonl'), out: at('model'), steps: 5 });
    t.true(done.after.nll <= done.before.nll);
    t.is(backend.allocated(), 0);
    await backend.close();
    rmSync(root, { recursive: true });
  });
}
