// The output ensemble: the mean of probabilities token by token, weights from the domain's own text, and what it refuses.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { clusterCorpus } from '../../ts/data/clusters.js';
import { buildCorpus, domainCorpus } from '../../ts/data/corpus.js';
import { tokenLosses } from '../../ts/eval/perplexity.js';
import { evaluateValues, expertValues, onlyExpert, withValues } from '../../ts/methods/choose.js';
import { evaluateEnsemble, evaluateMembers } from '../../ts/methods/ensemble.js';
import { type PretrainOptions, pretrain } from '../../ts/methods/pretrain.js';
import { openRun } from '../../ts/methods/run.js';
import { specialize } from '../../ts/methods/specialize.js';
import { documents } from '../support/topics.js';

const TOPICS = ['sea', 'law', 'kitchen'] as const;

test('an ensemble averages probabilities of the nearest experts', async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-ensemble-'));
  const at = (name: string) => path.join(root, name);
  const backend = openBackend();
  writeFileSync(at('generic.jsonl'), TOPICS.map((topic) => documents(topic, 40, 1)).join(''));
  writeFileSync(at('law.jsonl'), documents('law', 12, 2));
  writeFileSync(at('both.jsonl'), documents('law', 10, 3) + documents('sea', 8, 3));
  await buildCorpus({ input: at('generic.jsonl'), out: at('corpus'), vocabSize: 300 });
  await clusterCorpus(backend, at('corpus'), { clusters: 3, contextLength: 32, dimensions: 8 });
  const call = (method: PretrainOptions['method']) =>
    pretrain({
      backend,
      method,
      corpus: at('corpus'),
      out: at(method),
      ...(method === 'slm' ? {} : { clusters: 3 }),
      tokens: 40 * 1024,
      model: { hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 64, contextLength: 32 },
      batchTokens: 1024,
    });
  for (const method of ['mixture', 'projected'] as const) {
    await call(method);
    const run = openRun(at(method));
    const { model } = run.config;
    const text = await domainCorpus(at('both.jsonl'), run.tokenizer, {});
    const losses = await Promise.all(
      [0, 1, 2].map(async (c) => {
        const values = await expertValues(backend, run, onlyExpert(run, c));
        return withValues(backend, model, values, (p) => tokenLosses(backend, model, p, text));
      }),
    );
    const weights = [0.25, 0, 0.75];
    const found = await evaluateMembers(backend, run, weights, text, { batchTokens: 100 });
    const expected = losses[0]!.map((loss, i) => -Math.log(0.25 * Math.exp(-loss) + 0.75 * Math.exp(-losses[2]![i]!)));
    const nll = expected.reduce((a, b) => a + b, 0) / expected.length;
    t.is(found.tokens, expected.length);
    t.true(Math.abs(found.nll / nll - 1) < 1e-5, `${method}: ${found.nll}, by hand ${nll}`);

    // One member is its expert; several are never worse than their losses' mean.
    const alone = await evaluateMembers(backend, run, onlyExpert(run, 1), text);
    const expert = await evaluateValues(backend, run, await expertValues(backend, run, onlyExpert(run, 1)), text);
    t.true(Math.abs(alone.nll / expert.nll - 1) < 1e-6);
    const mean = losses.map((list) => list.reduce((a, b) => a + b, 0) / list.length);
    t.true(found.nll <= 0.25 * mean[0]! + 0.75 * mean[2]!);

    const options = { backend, run: at(method), text: at('both.jsonl') };
    const law = await evaluateEnsemble({ ...options, domain: at('law.jsonl'), experts: 1 });
    t.is(law.members, 1);
    t.is(law.weights.indexOf(1), law.cluster!);
    const both = await evaluateEnsemble({ ...options, domain: at('both.jsonl'), experts: 2 });
    t.is(both.members, 2);
    t.true(Math.abs(both.weights.reduce((a, b) => a + b, 0) - 1) < 1e-12);
    t.true(both.macro.nll < law.macro.nll, `two experts for two topics: ${both.macro.nll}, one: ${law.macro.nll}`);
    const cut = await evaluateEnsemble({ ...options, domain: at('both.jsonl'), maxTokens: 100 });
    t.true(cut.domains[0]!.tokens < 100);
    await t.throwsAsync(evaluateEnsemble({ ...options, domain: at('law.jsonl'), experts: 0 }), {
      code: 'SWEETSPOT_USAGE',
    });
  }
  await call('slm');
  const none = { backend, run: at('slm'), domain: at('law.jsonl'), text: at('both.jsonl') };
  await t.throwsAsync(evaluateEnsemble(none), { code: 'SWEETSPOT_USAGE', message: /needs experts/ });
  const expert = 'ensemble' as 'histogram';
  const refused = specialize({ backend, run: at('mixture'), domain: at('law.jsonl'), out: at('model'), expert });
  await t.throwsAsync(refused, { code: 'SWEETSPOT_USAGE', message: /evaluation only/ });
  t.false(existsSync(at('model')));
  t.is(backend.allocated(), 0);
  await backend.close();
  rmSync(root, { recursive: true });
});
