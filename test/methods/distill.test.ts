// Distillation, end to end on generated topics: a larger model of the domain teaches a small one.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { buildCorpus, domainCorpus } from '../../ts/data/corpus.js';
import { cutWindows } from '../../ts/data/windows.js';
import { pretrain } from '../../ts/methods/pretrain.js';
import { type SpecializeOptions, specialize } from '../../ts/methods/specialize.js';
import { DenseModel } from '../../ts/models/dense.js';
import { loadLessons, saveLessons, teach, teacherSettings } from '../../ts/train/teacher.js';
import { documents } from '../support/topics.js';

test('a student learns from a teacher, goes on after an interrupt, and refuses another tokenizer', async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-distill-'));
  const at = (name: string) => path.join(root, name);
  writeFileSync(at('generic.jsonl'), documents('kitchen', 60, 1) + documents('law', 5, 1));
  writeFileSync(at('law.jsonl'), documents('law', 30, 2));
  const backend = openBackend();
  const run = async (corpus: string, out: string, hiddenSize: number, vocabSize = 300) => {
    if (!existsSync(at(corpus))) await buildCorpus({ input: at('generic.jsonl'), out: at(corpus), vocabSize });
    const model = {
      hiddenSize,
      layers: 1,
      heads: 2,
      intermediateSize: 2 * hiddenSize,
      contextLength: 32,
      logitCap: 20,
    };
    const given = { corpus: at(corpus), out: at(out), tokens: 60 * 1024, model, batchTokens: 1024 };
    await pretrain({ backend, method: 'slm', ...given });
  };
  await run('corpus', 'small', 32);
  await run('corpus', 'large', 64);
  await run('other-corpus', 'other', 32, 290);
  const call = (from: string, out: string, more: Partial<SpecializeOptions> = {}) =>
    specialize({ backend, run: at(from), domain: at('law.jsonl'), out: at(out), steps: 30, batchTokens: 512, ...more });
  const teacher = await call('large', 'teacher', { steps: 60 });

  const plain = await call('small', 'plain');
  const taught = { teacher: at('teacher'), distillation: { weight: 0.7, topK: 8 } };
  const student = await call('small', 'student', taught);
  t.true(student.after.nll < student.before.nll);
  t.true(student.flops > plain.flops);
  t.true(student.after.nll < plain.after.nll + 0.1 && teacher.after.nll < plain.after.nll);
  // Without weight the teacher changes nothing but rounding.
  const silent = await call('small', 'silent', { ...taught, distillation: { weight: 0 }, precision: 'fp32' });
  const alone = await call('small', 'alone', { precision: 'fp32' });
  t.true(Math.abs(silent.after.nll - alone.after.nll) < 1e-3);

  const abort = new AbortController();
  const broken = call('small', 'parts', {
    ...taught,
    signal: abort.signal,
    onProgress: ({ stage, done }) => {
      if (stage === 'finetune' && done >= 7 * 512) abort.abort();
    },
  });
  await t.throwsAsync(broken, { code: 'SWEETSPOT_ABORTED' });
  t.true(existsSync(at('parts.part/teacher.safetensors')));
  await t.throwsAsync(call('small', 'parts', { ...taught, distillation: { weight: 0.6, topK: 8 } }), {
    code: 'SWEETSPOT_MISMATCH',
  });
  await call('small', 'parts', taught);
  const weights = (out: string) => readFileSync(at(`${out}/model.safetensors`));
  t.is(Buffer.compare(weights('student'), weights('parts')), 0);

  const stranger = await t.throwsAsync(call('other', 'none', taught), { code: 'SWEETSPOT_MISMATCH' });
  t.regex(stranger!.message, /another tokenizer/);
  t.false(existsSync(at('none.part')));
  await t.throwsAsync(call('small', 'none', { teacher: at('nothing') }), { code: 'SWEETSPOT_INPUT' });
  await t.throwsAsync(call('small', 'none', { ...taught, distillation: { temperature: 0 } }), {
    code: 'SWEETSPOT_USAGE',
  });

  // What is kept: most likely first, probabilities at the temperature, nothing where there is no input.
  const model = DenseModel.load(backend, at('teacher'));
  const text = await domainCorpus(at('law.jsonl'), model.tokenizer, {});
  const windows = cutWindows(text, 32);
  const settings = teacherSettings({ topK: 4, temperature: 1 }, model.tokenizer.vocabSize);
  const lessons = await teach(backend, model, text, windows, settings);
  let inputs = 0;
  for (let i = 0; i < text.tokens; i++) {
    const [ids, p] = [lessons.ids.subarray(4 * i, 4 * i + 4), lessons.p.subarray(4 * i, 4 * i + 4)];
    if (ids[0]! < 0) continue;
    inputs++;
    const descending = p.every((one, j) => one > 0 && (j === 0 || one <= p[j - 1]!));
    if (!descending || p.reduce((a, b) => a + b, 0) > 1.0001 || new Set(ids).size !== 4) t.fail(`${ids} ${p}`);
  }
  t.is(inputs, windows.predictions);
  saveLessons(at('lessons.safetensors'), lessons, 'key');
  t.deepEqual(loadLessons(at('lessons.safetensors'), 'key'), lessons);
  t.is(loadLessons(at('lessons.safetensors'), 'another'), undefined);
  model.dispose();
  await backend.fence();
  t.is(backend.allocated(), 0);
  await backend.close();
  rmSync(root, { recursive: true });
});
