// Presets stand beneath what is given, wherever they are named: in a program, on the command line, in the file of an experiment.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { type Backend, openBackend } from '../../ts/backend/index.js';
import { presetHelp } from '../../ts/cli/presets.js';
import { buildCorpus } from '../../ts/data/corpus.js';
import { pretrainOptions } from '../../ts/experiment/plan.js';
import { planExperiment } from '../../ts/experiment/planner.js';
import { checkedExperiment } from '../../ts/experiment/read.js';
import { runExperiment } from '../../ts/experiment/run.js';
import { beyondLayouts } from '../../ts/io/huggingface_config.js';
import { PRESETS, type Preset, type PresetName, withPreset } from '../../ts/methods/presets.js';
import { type PretrainOptions, peakRate, pretrain } from '../../ts/methods/pretrain.js';
import { openRun } from '../../ts/methods/run.js';
import { finetuneSettings } from '../../ts/methods/specialize.js';
import { transformerConfig } from '../../ts/models/config.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { MUON } from '../../ts/optim/muon.js';
import { cli } from '../cli/support.js';
import { tiny, workplace } from '../experiment/support.js';
import { documents } from '../support/topics.js';

const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-presets-'));
const at = (name: string) => path.join(root, name);
let backend: Backend;
test.before(async () => {
  backend = openBackend();
  writeFileSync(at('generic.jsonl'), documents('sea', 60, 1));
  await buildCorpus({ input: at('generic.jsonl'), out: at('corpus'), vocabSize: 300 });
});
test.after.always(async () => {
  await backend?.close();
  rmSync(root, { recursive: true, force: true });
});

/** Typed as any preset is: what it holds may change. */
const newest: Preset = PRESETS.modern;
const { rateScale = 1, packing = 'stream' } = newest;
const logitCap = newest.model?.logitCap ?? 0;

const MODEL = { hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 64, contextLength: 32 };
let runs = 0;

async function configOf(options: Partial<PretrainOptions>) {
  const out = at(`run-${runs++}`);
  await pretrain({
    backend,
    method: 'slm',
    corpus: at('corpus'),
    out,
    tokens: 2048,
    batchTokens: 512,
    ...options,
    model: { ...MODEL, ...options.model },
  });
  return openRun(out).config;
}

test('without a preset nothing changes', async (t) => {
  const config = await configOf({});
  t.like(config, { muon: null, zeroOutputs: false, packing: 'stream', adamw: ADAMW });
  t.deepEqual(config.schedule, { shape: 'cosine', peak: peakRate({}, 32), warmup: 1, floor: 0.1 });
  t.like(config.model, { qkNorm: false, logitCap: 0, tieEmbeddings: true });
});

test('each preset is what its table says, and what is given wins', async (t) => {
  const paper = await configOf({ preset: 'paper' });
  t.is(paper.muon, null);
  t.deepEqual(paper.adamw, { ...ADAMW, weightDecay: 0, clip: 5 });
  t.is(paper.schedule.peak, peakRate({}, 32));

  const modern = await configOf({ preset: 'modern' });
  t.deepEqual(modern.muon, MUON);
  t.is(modern.schedule.peak, rateScale * peakRate({}, 32));
  t.like(modern, { packing, model: { logitCap } });
  // Fine-tuning goes on with the optimizer and a share of the rate of the run.
  const tuning = finetuneSettings(modern, 10_000, {});
  t.deepEqual(tuning.muon, MUON);
  t.is(tuning.learningRate, modern.schedule.peak / 3);

  const own = await configOf({
    preset: 'modern',
    muon: null,
    learningRate: 0.005,
    packing: 'stream',
    adamw: { clip: 2 },
    model: { logitCap: 0, qkNorm: true },
  });
  t.like(own, { muon: null, packing: 'stream', adamw: { ...ADAMW, clip: 2 } });
  t.is(own.schedule.peak, 0.005);
  t.like(own.model, { logitCap: 0, qkNorm: true });
  t.deepEqual((await configOf({ preset: 'paper', adamw: { weightDecay: 0.3 } })).adamw, {
    ...ADAMW,
    weightDecay: 0.3,
    clip: 5,
  });
});

test('warm-up: the most that is asked for, a twentieth of the steps where that is less', async (t) => {
  const steps = (n: number, more: Partial<PretrainOptions>) => configOf({ tokens: n * 64, batchTokens: 64, ...more });
  t.is((await steps(60, { warmup: 1000 })).schedule.warmup, 3);
  t.is((await steps(60, { warmup: 2 })).schedule.warmup, 2);
  t.is((await steps(60, { preset: 'paper' })).schedule.warmup, 3);
  t.is(PRESETS.paper.warmup, 1000);
  await t.throwsAsync(configOf({ warmup: 1.5 }), { code: 'SWEETSPOT_USAGE' });
});

test('the exportable preset has a Hugging Face layout', (t) => {
  const sizes = { ...MODEL, vocabSize: 300 };
  const reasons = (name: PresetName) =>
    beyondLayouts(transformerConfig({ ...sizes, ...withPreset(PRESETS[name], { model: {} }).model }));
  t.deepEqual(reasons('exportable'), []);
  t.deepEqual(reasons('paper'), []);
  t.deepEqual(reasons('modern'), logitCap === 0 ? [] : ['a soft cap of the logits']);
});

test('a preset that does not exist is refused with the names of those that do', async (t) => {
  const error = await t.throwsAsync(configOf({ preset: 'newest' as PresetName }), { code: 'SWEETSPOT_USAGE' });
  t.regex(error!.message, /paper, modern, exportable/);
  t.regex(error!.message, /newest/);
});

test('the command line: names, flags that win, help', async (t) => {
  const run = (out: string, ...more: string[]) =>
    cli(
      [
        ...[
          'pretrain',
          '--method',
          'slm',
          '--corpus',
          'corpus',
          '--tokens',
          '1k',
          '--batch-tokens',
          '512',
          '--out',
          out,
        ],
        ...['--width', '32', '--layers', '1', '--heads', '2', '--context', '32', ...more],
      ],
      root,
    );
  t.is((await run('named', '--preset', 'modern')).code, 0);
  t.like(openRun(at('named')).config, { muon: MUON, packing, model: { logitCap } });
  const given = ['--optimizer', 'adamw', '--logit-cap', '0', '--packing', 'stream', '--qk-norm', '--no-qk-norm'];
  t.is((await run('given', '--preset', 'modern', ...given, '--warmup', '0', '--untied')).code, 0);
  const { config } = openRun(at('given'));
  t.like(config, { muon: null, packing: 'stream', model: { logitCap: 0, qkNorm: false, tieEmbeddings: false } });
  t.is(config.schedule.warmup, 0);
  const wrong = await run('wrong', '--preset', 'newest', '--json');
  t.is(wrong.code, 2);
  t.regex(wrong.stderr + wrong.stdout, /paper, modern, exportable/);
  const help = await cli(['pretrain', '--help'], root);
  t.true(help.stdout.includes(presetHelp.trim()));
  t.regex(presetHelp, /paper +--weight-decay 0, --clip 5, --warmup 1000\n/);
  t.regex(presetHelp, /modern +.*--optimizer muon/);
  t.notRegex(presetHelp, /undefined/);
});

test('experiments: a setting like any other, whose contents are part of the key', async (t) => {
  const folder = workplace();
  const plan = async (more: object, system: object = {}) => {
    const experiment = await checkedExperiment(
      tiny({ ...more, systems: [{ name: 'slm', method: 'slm', finetune: false, ...system }] }),
      { folder },
    );
    const { cells } = planExperiment(experiment, { folder: path.join(folder, 'corpus'), identity: 'x' });
    return cells.flatMap(({ id, work }) => (work.kind === 'run' ? [{ id, options: pretrainOptions(work.basis) }] : []));
  };
  const pretrainOf = (more: object) => ({ pretrain: { tokens: '40k', batchTokens: 1024, ...more } });
  const [plain] = await plan({});
  t.is(plain!.options.muon, undefined);
  const [modern] = await plan(pretrainOf({ preset: 'modern' }));
  t.like(modern!.options, { ...newest, adamw: { ...newest.adamw }, model: { ...newest.model, hiddenSize: 32 } });
  t.not(modern!.id, plain!.id);
  // The system speaks over `pretrain`, single settings over presets, and a model over both.
  const models = { small: { hiddenSize: 32, layers: 1, heads: 2, logitCap: 0 } };
  const [own] = await plan(
    { ...pretrainOf({ preset: 'paper' }), models },
    { preset: 'modern', optimizer: 'adamw', packing: 'stream' },
  );
  t.like(own!.options, { muon: null, packing: 'stream', rateScale, model: { logitCap: 0 } });
  t.is((await plan({}, { preset: ['paper', 'modern'] })).length, 2);
  const error = await t.throwsAsync(plan({}, { preset: 'newest' }), { code: 'SWEETSPOT_USAGE' });
  t.regex(error!.message, /preset.*modern/);

  // A model that is never pretrained has the shape and optimizer of its preset too.
  const experiment = await checkedExperiment(
    tiny({
      domains: tiny().domains.slice(0, 1),
      finetune: { steps: 5, batchTokens: 512 },
      systems: [{ name: 'alone', method: 'domain-only', preset: ['paper', 'modern'] }],
    }),
    { folder },
  );
  const { results } = await runExperiment({ experiment, out: path.join(folder, 'out') });
  const [paper, newer] = results.rows.map(({ after }) => after!.perplexity);
  t.true(Number.isFinite(paper) && Number.isFinite(newer) && paper !== newer);
});
