// Systems that differ in how they are fine-tuned, learn from another system, are routed, or see their domain early: what they
// share, what they cost, that they go on after a cut, and what is refused before any training.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { domainCorpus } from '../../ts/data/corpus.js';
import { totalCost } from '../../ts/experiment/assemble.js';
import type { TuneCellResult } from '../../ts/experiment/execute.js';
import { planExperiment } from '../../ts/experiment/planner.js';
import { checkedExperiment } from '../../ts/experiment/read.js';
import type { ResultRow, Results } from '../../ts/experiment/results.js';
import { runExperiment } from '../../ts/experiment/run.js';
import { textHash } from '../../ts/methods/context.js';
import { openRun } from '../../ts/methods/run.js';
import { splitHeldout } from '../../ts/methods/specialize.js';
import { loraTrainingFlops } from '../../ts/models/cost.js';
import { writeReport } from '../../ts/report/report.js';
import { tiny, workplace } from './support.js';

const root = workplace();
const at = (...names: string[]) => path.join(root, ...names);
const MODELS = {
  small: { hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 64 },
  large: { hiddenSize: 48, layers: 2, heads: 2, intermediateSize: 96 },
};
const SYSTEMS = [
  { name: 'SLM', method: 'slm' },
  { name: 'SLM-d', method: 'distillation', teacher: 'LLM', weight: 0.7, topK: 8 },
  { name: 'LLM', method: 'slm', model: 'large' },
  { name: 'LLM-lora', method: 'slm', model: 'large', finetune: { lora: { rank: 4 }, batchTokens: 256 } },
  { name: 'replay', method: 'slm', finetune: { replay: 0.25, weightDecay: 0.3 } },
  { name: 'routed', method: 'routed', experts: 3, topK: 1, normalize: false, sharedWidth: 16, balance: 'bias' },
  { name: 'early', method: 'slm-domain', domainShare: 0.1 },
];
const GRID = tiny({ models: MODELS, systems: SYSTEMS });
const plan = async (more: object = {}) =>
  planExperiment(await checkedExperiment({ ...GRID, ...more }, { folder: root }), { folder: 'corpus', identity: 'x' });

test('several learning rates of fine-tuning: the best on held-out text', async (t) => {
  const systems = [SYSTEMS[0], { ...SYSTEMS[0], name: 'two', finetune: { learningRate: [0.02, 0.0005] } }];
  const experiment = await checkedExperiment({ ...GRID, systems }, { folder: root });
  const { results } = await runExperiment({ experiment, out: at('rates') });
  for (const row of results.rows.filter(({ system }) => results.systems[system]!.name === 'two')) {
    const [start, again] = row.cells.starts;
    t.is(start, again);
    const tunes = row.cells.tunes.map(
      (id) => JSON.parse(readFileSync(at('rates', 'cells', `${id}.json`), 'utf8')).result as TuneCellResult,
    );
    t.is(tunes.length, 2);
    t.not(tunes[0]!.heldoutAfter.nll, tunes[1]!.heldoutAfter.nll);
    t.is(row.heldout!.nll, Math.min(...tunes.map(({ heldoutAfter }) => heldoutAfter.nll)));
    t.is(row.specialization.tuning.tokens, tunes[0]!.tokens + tunes[1]!.tokens);
  }
  // One rate in a list is that rate.
  const tunesOf = async (learningRate: unknown) =>
    (await plan({ systems: [{ ...SYSTEMS[0], finetune: { learningRate } }] })).rows.map(({ tunes }) => tunes);
  t.deepEqual(await tunesOf([0.02]), await tunesOf(0.02));
});

test('systems share what determines the same result', async (t) => {
  const { variants, rows, cells } = await plan();
  const row = (name: string) =>
    rows.find(({ variant, domain }) => variants[variant]!.label === name && domain === 'sea')!;
  // Adapters and replay are of fine-tuning alone, and so is a teacher.
  for (const [one, other] of [
    ['LLM', 'LLM-lora'],
    ['SLM', 'replay'],
    ['SLM', 'SLM-d'],
  ] as const) {
    t.is(row(one).run, row(other).run);
    t.deepEqual(row(one).starts, row(other).starts);
    t.not(row(one).tunes[0], row(other).tunes[0]);
  }
  t.deepEqual(row('SLM-d').teacher, row('LLM'));
  const tune = cells.find(({ id }) => id === row('SLM-d').tunes[0])!;
  t.true(tune.needs.includes(row('LLM').tunes[0]!));
  // LLM stands after its student in the file; its cells come before all the same.
  for (const [i, { needs }] of cells.entries())
    for (const need of needs) t.true(cells.findIndex(({ id }) => id === need) < i);
  // Two baselines, routed, and one a domain.
  t.is(cells.filter(({ work }) => work.kind === 'run').length, 3 + 2);
  t.is(cells.filter(({ work }) => work.kind === 'generic').length, 3);

  // Weights are kept for students alone, in cells of their own; equal systems do not repeat them.
  const alone = await plan({ systems: SYSTEMS.filter(({ name }) => name !== 'SLM-d') });
  const ids = new Set(alone.cells.map(({ id }) => id));
  const changed = cells.filter(({ id }) => !ids.has(id));
  t.deepEqual(
    changed.map(({ work }) => work.kind === 'tune' && [work.keep === true, work.teacher !== undefined]),
    [
      [true, false],
      [false, true],
      [true, false],
      [false, true],
    ],
  );
  const twice = await plan({ systems: [...SYSTEMS, { name: 'LLM again', method: 'slm', model: 'large' }] });
  t.is(twice.cells.length, cells.length);

  // What is switched off is as if it had never been asked for; a system's word counts more than a size's.
  const off = await plan({ finetune: { ...GRID.finetune, lora: {}, replay: 0.1 }, systems: [SYSTEMS[0]] });
  const on = off.cells.find(({ work }) => work.kind === 'tune')!.work;
  t.deepEqual(on.kind === 'tune' && on.finetune.lora, { rank: 16, alpha: 32 });
  const plain = await plan({
    finetune: { ...GRID.finetune, lora: {}, replay: 0.1 },
    sizes: [{ tokens: 3000, finetune: { replay: 0.2 } }],
    systems: [{ ...SYSTEMS[0], finetune: { lora: false, replay: 0 } }],
  });
  t.true(plain.cells.every(({ id }) => ids.has(id)));
  // A teacher that is a grid teaches by its first variant; a list of teachers is a grid of students.
  const grids = await plan({
    systems: [
      { name: 'LLM', method: 'slm', model: ['large', 'small'] },
      { name: 'from scratch', method: 'domain-only', model: 'large' },
      { name: 'SLM-d', method: 'distillation', teacher: ['LLM', 'from scratch'] },
      { name: 'SLM-dd', method: 'distillation', teacher: 'SLM-d', temperature: 1 },
    ],
  });
  const labels = grids.variants.map(({ label }) => label);
  const teachers = new Map(
    grids.rows.map(({ variant, teacher }) => [labels[variant]!, teacher && labels[teacher.variant]]),
  );
  t.is(teachers.get('SLM-d (teacher LLM)'), 'LLM (model large)');
  t.is(teachers.get('SLM-d (teacher from scratch)'), 'from scratch');
  t.is(teachers.get('SLM-dd'), 'SLM-d (teacher LLM)');
});

test('what cannot be is listed before any training', async (t) => {
  const error = await t.throwsAsync(
    checkedExperiment(
      {
        ...GRID,
        systems: [
          { name: 'a', method: 'slm', finetune: { lora: { rank: 0, beta: 1 }, replay: 1, wieght: 2 } },
          { name: 'b', method: 'distillation', teacher: 'nobody', topK: 500 },
          { name: 'c', method: 'distillation', teacher: 'mix' },
          { name: 'mix', method: 'mixture', clusters: 3 },
          { name: 'd', method: 'distillation', teacher: 'e' },
          { name: 'e', method: 'distillation', teacher: 'd' },
          { name: 'f', method: 'distillation', teacher: 'still' },
          { name: 'still', method: 'slm', finetune: false },
          { name: 'g', method: 'distillation' },
          { name: 'h', method: 'distillation', teacher: 'still', finetune: false },
          { name: 'i', method: 'routed', experts: 2, topK: 3 },
          { name: 'j', method: 'routed', topK: 1 },
          { name: 'k', method: 'slm-domain' },
          { name: 'l', method: 'slm-domain', domainShare: 1 },
          { name: 'm', method: 'domain-only', finetune: { lora: {} } },
          { name: 'n', method: 'slm', weight: 0.5 },
          { name: 'o', method: 'slm', finetune: { learningRate: [0.1, 0.2] } },
          { name: 'p', method: 'distillation', teacher: 'o' },
        ],
      },
      { folder: root },
    ),
    { instanceOf: SweetspotError, code: 'SWEETSPOT_USAGE' },
  );
  for (const pattern of [
    /\(a\)\.finetune\.lora\.rank: a whole number from 1 up/,
    /\(a\)\.finetune\.lora: unknown key beta/,
    /\(a\)\.finetune\.replay: .*<1/,
    /\(a\)\.finetune: unknown key wieght/,
    /b: there is no system nobody to learn from/,
    /b: tokens of the teacher, expected a whole number from 1 to 256, found 500/,
    /c: mix cannot teach: mixture has several models for a domain/,
    /d: learns from itself, by way of e, d/,
    /e: learns from itself, by way of d, e/,
    /f: still cannot teach: it is not fine-tuned/,
    /g: teacher is missing/,
    /o cannot teach: it is fine-tuned at several learning rates/,
    /distillation without fine-tuning is not a model/,
    /i: routed layers: topK, expected a whole number from 1 to 2/,
    /j: topK 1 with normalized weights/,
    /k: domainShare is missing/,
    /\(l\)\.domainShare\.0: .*<1/,
    /m: adapters \(lora\) of a model that is not pretrained/,
    /\(n\): unknown key weight/,
  ])
    t.regex(error!.message, pattern);
  await t.throwsAsync(checkedExperiment({ ...GRID, finetune: false, systems: SYSTEMS.slice(3, 4) }, { folder: root }), {
    message: /LLM-lora: fine-tuning settings, and finetune of the experiment is false/,
  });
});

let whole: Results;
const rowOf = ({ systems, rows }: Results, name: string, domain = 'sea'): ResultRow =>
  rows.find((row) => systems[row.system]!.label === name && row.domain === domain)!;

test.serial('every system, with real training', async (t) => {
  const experiment = await checkedExperiment(GRID, { folder: root });
  whole = (await runExperiment({ experiment, out: at('whole') })).results;
  t.is(whole.done, whole.cells);
  const row = (name: string) => rowOf(whole, name);
  for (const one of whole.rows)
    t.true(one.after!.perplexity < one.before!.perplexity, whole.systems[one.system]!.label);
  const model = (name: string) => openRun(at('whole', 'runs', row(name).cells.run!)).config.model;

  // Adapters cost what `specialize` says they cost.
  const { tuning } = row('LLM-lora').specialization;
  t.is(tuning.flops, loraTrainingFlops(model('LLM'), 4, tuning.tokens));
  t.deepEqual(whole.systems.find(({ name }) => name === 'LLM-lora')!.finetune, {
    lora: { rank: 4, alpha: 8 },
    batchTokens: 256,
  });
  t.not(row('replay').after!.nll, row('SLM').after!.nll);

  // The student: served as small as any, and paid for with its teacher.
  const [student, slm, teacher] = [row('SLM-d'), row('SLM'), row('LLM')];
  t.is(student.inference.parameters, slm.inference.parameters);
  t.deepEqual(student.before, slm.before);
  t.not(student.after!.nll, slm.after!.nll);
  t.is(student.generic.flops, slm.generic.flops + teacher.generic.flops);
  t.is(student.teacher!.generic.flops, teacher.generic.flops);
  t.is(student.teacher!.specialization.flops, teacher.specialization.tuning.flops);
  t.deepEqual(student.teacher!.cells.generic, [teacher.cells.run]);
  t.true(totalCost(student, 1) > totalCost(slm, 1) + totalCost(teacher, 1) - slm.specialization.tuning.flops);
  t.deepEqual(
    readdirSync(at('whole', 'models')).sort(),
    whole.rows
      .filter(({ system }) => whole.systems[system]!.name === 'LLM')
      .map(({ cells }) => `${cells.tunes[0]}.safetensors`)
      .sort(),
  );
  t.is(slm.teacher, undefined);

  // Routed: all experts are served, a token passes one and the shared one.
  const { moe } = model('routed');
  t.deepEqual(moe && [moe.experts, moe.topK, moe.sharedWidth, moe.biased], [3, 1, 16, true]);
  t.true(row('routed').facts['activeParameters']! < row('routed').inference.parameters);
  t.true(row('routed').inference.parameters > slm.inference.parameters);

  // Domain text from the start is paid for by the domain.
  const early = row('early');
  t.is(early.generic.flops, 0);
  t.is(early.specialization.pretraining.flops, slm.generic.flops);
  t.true(early.before!.nll < slm.before!.nll);
  t.not(early.cells.run, rowOf(whole, 'early', 'law').cells.run);
  const run = openRun(at('whole', 'runs', early.cells.run!));
  t.is(run.config.domainShare, 0.1);
  const sea = await domainCorpus(at('text', 'sea.train.jsonl'), run.tokenizer, { maxTokens: 3000 });
  t.is(run.config.domain, textHash(splitHeldout(sea, 0.1, 32).train));

  const { figures } = await writeReport(at('whole'), at('report'));
  t.true(figures.includes('distillation'));
  t.false(/NaN|undefined/.test(readFileSync(at('report', 'report.md'), 'utf8')));
});

test.serial('cut while the teacher reads and while the student learns, it ends with the same bytes', async (t) => {
  const experiment = await checkedExperiment(GRID, { folder: root });
  for (const stage of ['teacher', 'finetune']) {
    const abort = new AbortController();
    const call = runExperiment({
      experiment,
      out: at('cut'),
      signal: abort.signal,
      onProgress: ({ running }) => {
        for (const { title, progress } of running)
          if (title.includes('SLM-d') && progress?.stage === stage && progress.done >= 2048) abort.abort();
      },
    });
    await t.throwsAsync(call, { code: 'SWEETSPOT_ABORTED' });
  }
  await runExperiment({ experiment, out: at('cut') });
  t.is(readFileSync(at('cut', 'results.json'), 'utf8'), readFileSync(at('whole', 'results.json'), 'utf8'));

  // Kept weights that were deleted by hand: said by name, with the way out.
  const student = rowOf(whole, 'SLM-d').cells.tunes[0]!;
  const teacher = rowOf(whole, 'LLM').cells.tunes[0]!;
  rmSync(at('cut', 'models', `${teacher}.safetensors`));
  rmSync(at('cut', 'cells', `${student}.json`));
  const error = await t.throwsAsync(runExperiment({ experiment, out: at('cut') }), { code: 'SWEETSPOT_CORRUPT' });
  t.regex(error!.message, new RegExp(`delete cells/${teacher}\\.json`));
  rmSync(at('cut', 'cells', `${teacher}.json`));
  await runExperiment({ experiment, out: at('cut') });
  t.true(existsSync(at('cut', 'models', `${teacher}.safetensors`)));
  t.is(readFileSync(at('cut', 'results.json'), 'utf8'), readFileSync(at('whole', 'results.json'), 'utf8'));
});
