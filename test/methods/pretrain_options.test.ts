// What pretraining may be told of a domain: histogram, one cluster, capped repeats, a share of its rows; replay while
// fine-tuning. On generated topics.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { clusterCorpus } from '../../ts/data/clusters.js';
import { buildCorpus, domainCorpus } from '../../ts/data/corpus.js';
import { evaluateCorpus } from '../../ts/eval/perplexity.js';
import { chooseExpert, evaluateValues } from '../../ts/methods/choose.js';
import { textHash } from '../../ts/methods/context.js';
import { type PretrainOptions, pretrain } from '../../ts/methods/pretrain.js';
import { openRun } from '../../ts/methods/run.js';
import { specialize, splitHeldout } from '../../ts/methods/specialize.js';
import { DenseModel } from '../../ts/models/dense.js';
import { documents } from '../support/topics.js';

const TOPICS = ['sea', 'law', 'kitchen'] as const;

test('a domain before pretraining, and generic text after it', async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-options-'));
  const at = (name: string) => path.join(root, name);
  const backend = openBackend();
  writeFileSync(at('generic.jsonl'), TOPICS.map((topic) => documents(topic, topic === 'law' ? 8 : 60, 1)).join(''));
  writeFileSync(at('law.jsonl'), documents('law', 20, 2));
  writeFileSync(at('both.jsonl'), documents('law', 12, 3) + documents('sea', 8, 3));
  await buildCorpus({ input: at('generic.jsonl'), out: at('corpus'), vocabSize: 300 });
  await clusterCorpus(backend, at('corpus'), { clusters: 3, contextLength: 32, dimensions: 8 });
  const call = async (out: string, more: Partial<PretrainOptions>) => {
    const given = { corpus: at('corpus'), out: at(out), tokens: 20 * 1024, clusters: 3, batchTokens: 1024 };
    const model = { hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 64, contextLength: 32 };
    await pretrain({ backend, method: 'importance', domain: at('both.jsonl'), ...given, model, ...more });
    return openRun(at(out));
  };
  const plain = await call('plain', {});
  const single = await call('single', { singleCluster: true });
  t.is(single.config.histogram!.filter((h) => h > 0).length, 1);
  t.is(single.config.histogram!.indexOf(1), plain.config.histogram!.indexOf(Math.max(...plain.config.histogram!)));
  const capped = await call('capped', { repeatCap: 2 });
  t.true(plain.result.facts['largestRepeat']! > 2.5, String(plain.result.facts['largestRepeat']));
  t.true(capped.result.facts['largestRepeat']! < 2.01, String(capped.result.facts['largestRepeat']));
  await t.throwsAsync(call('none', { repeatCap: 0.1 }), { code: 'SWEETSPOT_USAGE' });

  const none = await call('slm', { method: 'slm', domain: undefined });
  const mixed = await call('mixed', { method: 'slm', domain: at('law.jsonl'), domainShare: 0.3 });
  t.is(none.config.domain, null);
  t.truthy(mixed.config.domain);
  const law = await domainCorpus(at('law.jsonl'), mixed.tokenizer, {});
  const nll = async (run: typeof mixed) => {
    const { values } = await chooseExpert(backend, run, law, 'histogram');
    return (await evaluateValues(backend, run, values, law)).nll;
  };
  t.true((await nll(mixed)) < (await nll(none)));
  // What chooses the step of fine-tuning is not seen before it.
  const shared = { method: 'slm', domain: at('law.jsonl'), domainShare: 0.3 } as const;
  const unseen = await call('unseen', { ...shared, domainHeldout: 0.1 });
  t.is(unseen.config.domain, textHash(splitHeldout(law, 0.1, 32).train));
  t.is(mixed.config.domain, textHash(law));
  await t.throwsAsync(call('none', { ...shared, domainHeldout: 0.6 }), { code: 'SWEETSPOT_USAGE' });
  await t.throwsAsync(call('none', { method: 'slm', domain: undefined, domainShare: 0.1 }), {
    code: 'SWEETSPOT_USAGE',
  });

  // A branch of a plateau has the bits of a run from the start.
  const wsd = { method: 'slm', domain: undefined, schedule: 'wsd', muon: {} } as const;
  const short = await call('short', { ...wsd, tokens: 30 * 1024 });
  const whole = await call('long', { ...wsd, tokens: 40 * 1024 });
  t.is(short.config.schedule.warmup, 2);
  t.is(whole.config.schedule.warmup, 2);
  const branched = await call('branched', { ...wsd, tokens: 40 * 1024, from: at('short') });
  const weights = (run: typeof short) => readFileSync(path.join(run.path, 'weights/main.safetensors'));
  t.is(Buffer.compare(weights(branched), weights(whole)), 0);
  t.true(branched.result.loss < short.result.loss);
  const steps = readFileSync(path.join(branched.path, 'metrics.jsonl'), 'utf8').trim().split('\n');
  t.is(steps.length, 40 - 24);
  for (const [more, code] of [
    [{ tokens: 20 * 1024 }, 'SWEETSPOT_USAGE'],
    [{ tokens: 40 * 1024, seed: 9 }, 'SWEETSPOT_MISMATCH'],
    [{ tokens: 40 * 1024, schedule: 'cosine' }, 'SWEETSPOT_USAGE'],
  ] as const) {
    await t.throwsAsync(call('none', { ...wsd, from: at('short'), ...more }), { code });
  }

  // A refusal leaves the other run as it was.
  const constant = await call('constant', { ...wsd, schedule: 'constant', tokens: 4 * 1024 });
  await t.throwsAsync(call('none', { ...wsd, from: constant.path }), { code: 'SWEETSPOT_USAGE' });
  t.false(existsSync(path.join(constant.path, 'plateau')));
  t.false(existsSync(at('none')));

  // Best-fit packing: part of a run's settings, the same bits after an interrupt.
  const packed = { method: 'slm', domain: undefined, packing: 'best-fit' } as const;
  const fitted = await call('fitted', packed);
  t.is(fitted.config.packing, 'best-fit');
  t.is(none.config.packing, 'stream');
  t.not(Buffer.compare(weights(fitted), weights(none)), 0);
  const abort = new AbortController();
  const onProgress = ({ done }: { done: number }) => {
    if (done >= 7 * 1024) abort.abort();
  };
  await t.throwsAsync(call('parts', { ...packed, onProgress, signal: abort.signal }), { code: 'SWEETSPOT_ABORTED' });
  await t.throwsAsync(call('parts', { ...packed, packing: 'stream' }), {
    code: 'SWEETSPOT_MISMATCH',
    message: /packing/,
  });
  t.is(Buffer.compare(weights(await call('parts', packed)), weights(fitted)), 0);
  await t.throwsAsync(call('none', { ...packed, packing: 'loose' as 'stream' }), { code: 'SWEETSPOT_USAGE' });

  const options = { backend, run: at('slm'), domain: at('law.jsonl'), steps: 60, batchTokens: 512 };
  const generic = await domainCorpus(at('generic.jsonl'), none.tokenizer, {});
  const forgetful = await specialize({ ...options, out: at('forgetful') });
  const replayed = await specialize({ ...options, out: at('replayed'), replay: { corpus: at('corpus'), share: 0.5 } });
  t.true(replayed.after.nll < replayed.before.nll && forgetful.after.nll < forgetful.before.nll);
  const genericNll = async (folder: string) => {
    const model = DenseModel.load(backend, at(folder));
    const found = await evaluateCorpus(backend, model.config, model.parameters, generic);
    model.dispose();
    return found.nll;
  };
  t.true((await genericNll('replayed')) < (await genericNll('forgetful')));
  const missing = specialize({ ...options, out: at('bad'), replay: { corpus: at('corpus'), share: 1 } });
  await t.throwsAsync(missing, { code: 'SWEETSPOT_USAGE' });
  await backend.close();
  rmSync(root, { recursive: true });
});
