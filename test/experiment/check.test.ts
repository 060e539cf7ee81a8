// What is wrong with a file is told at once and before any training; what is the same has the same name.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { packageRoot } from '../../bindings/load.js';
import { SweetspotError } from '../../ts/backend/errors.js';
import { buildCorpus } from '../../ts/data/corpus.js';
import { canonical, fingerprint, shortHash } from '../../ts/experiment/hash.js';
import { principalPlane } from '../../ts/experiment/pca.js';
import { planExperiment } from '../../ts/experiment/planner.js';
import { checkedExperiment, readExperiment } from '../../ts/experiment/read.js';
import { runExperiment } from '../../ts/experiment/run.js';
import { parseCount } from '../../ts/io/numbers.js';
import { tiny, workplace } from './support.js';

const root = workplace();
const at = (name: string) => path.join(root, name);

/** The problems an experiment has, a line each. */
async function problems(raw: unknown): Promise<{ code: string; list: string[] }> {
  try {
    await checkedExperiment(raw, { folder: root });
  } catch (error) {
    if (!(error instanceof SweetspotError)) throw error;
    return {
      code: error.code,
      list: error
        .found!.trim()
        .split(/\n? *- /)
        .filter(Boolean),
    };
  }
  return { code: 'none', list: [] };
}

test('all problems at once', async (t) => {
  const { code, list } = await problems({
    ...tiny(),
    domains: [
      { name: 'sea', train: 'text/sea.train.jsonl', test: 'text/sea.train.jsonl' },
      { name: 'sea', train: 'text/missing.jsonl', test: 'text/sea.test.jsonl', tset: 1 },
      { name: 'law', train: 'text/missing.jsonl', test: 'text/law.test.jsonl' },
    ],
    sizes: [20, '1M', 'many'],
    seeds: [1, 1],
    models: { small: { hiddenSize: 33, layers: 1, heads: 2 } },
    colour: 'blue',
    systems: [
      { name: 'one', method: 'magic' },
      { name: 'two', method: 'slm', slices: 2 },
      { name: 'three', method: 'mixture', clusters: [1, 3], trunkShare: 2 },
      { name: 'four', method: 'mixture' },
      { name: 'four', method: 'slm', tokens: 100 },
      { name: 'five', method: 'slm', model: 'large' },
      { name: 'six', method: 'projected', clusters: 3, expert: 'best' },
    ],
  });
  t.is(code, 'SWEETSPOT_USAGE');
  const expected = [
    /unknown key colour/,
    /domains\.1: unknown key tset/,
    /sizes/,
    /the seed 1 is there twice/,
    /models\.small: model size: hiddenSize/,
    /systems\[0\] \(one\): unknown method "magic"; expected slm, importance/,
    /systems\[1\] \(two\): unknown key slices/,
    /systems\[2\] \(three\)\.clusters\.0: .*from 2 up/,
    /systems\[2\] \(three\)\.trunkShare/,
    /the system four is there twice/,
    /four: clusters is missing/,
    /four: 100 pretraining tokens are less than one step of 1024/,
    /five: there is no model large; models are small/,
    /systems\[6\] \(six\)\.expert/,
  ];
  for (const pattern of expected)
    t.true(
      list.some((line) => pattern.test(line)),
      `${pattern}\n${list.join('\n')}`,
    );
});

test('text: missing, too short, the same for training and test', async (t) => {
  const more = tiny({
    sizes: ['1M', 20],
    domains: [
      { name: 'sea', train: 'text/sea.train.jsonl', test: 'text/sea.train.jsonl' },
      { name: 'sea', train: 'text/missing.jsonl', test: 'text/sea.test.jsonl' },
    ],
    finetune: { tokens: 100, batchTokens: 512 },
  });
  const { code, list } = await problems(more);
  t.is(code, 'SWEETSPOT_USAGE');
  for (const pattern of [
    /the domain sea is there twice/,
    /domains\.sea: the test text is also training text/,
    /domains\.sea\.train: no such file .*missing\.jsonl/,
    /domains\.sea\.train: 1000000 tokens are asked for, and there are at most \d+/,
    /sizes: 20 tokens are less than one window of 32/,
    /fine-tuning: 100 tokens are less than one step of 512/,
  ])
    t.true(
      list.some((line) => pattern.test(line)),
      `${pattern}\n${list.join('\n')}`,
    );
  const input = await problems(tiny({ corpus: { input: 'nothing', vocabulary: 320, context: 32 } }));
  t.is(input.code, 'SWEETSPOT_INPUT');
  t.is(input.list.length, 1);
});

test('what only the tokenizer knows is checked before any training', async (t) => {
  // More tokens than there are, but not more than there are bytes.
  const experiment = await checkedExperiment(
    tiny({ sizes: [12_000], systems: [{ name: 'mix', method: 'mixture', clusters: 4000 }] }),
    { folder: root },
  );
  const error = await t.throwsAsync(runExperiment({ experiment, out: at('short') }), { code: 'SWEETSPOT_INPUT' });
  t.regex(
    error!.message,
    /3 problems[\s\S]*4000 clusters of a corpus of \d+ windows[\s\S]*sea\.train: 12000 tokens[\s\S]*law\.train/,
  );
});

test('a file: YAML or JSON, paths relative to it, a name of its own', async (t) => {
  writeFileSync(at('grid.yaml'), `# ${'a comment'}\n${JSON.stringify(tiny())}`);
  const experiment = await readExperiment(at('grid.yaml'));
  t.is(experiment.name, 'grid');
  t.is(experiment.domains[0]!.train[0], at('text/sea.train.jsonl'));
  t.is(experiment.pretrain.tokens![0], 40_000);
  writeFileSync(at('broken.json'), '{');
  await t.throwsAsync(readExperiment(at('broken.json')), {
    code: 'SWEETSPOT_USAGE',
    message: /broken\.json is not JSON/,
  });
  await t.throwsAsync(readExperiment(at('absent.yaml')), { code: 'SWEETSPOT_INPUT', message: /absent\.yaml/ });
  const list = await problems([]);
  t.is(list.code, 'SWEETSPOT_USAGE');
});

test('the examples are well formed', async (t) => {
  for (const name of ['paper', 'small']) {
    const file = path.join(packageRoot(), 'examples', `${name}.yaml`);
    try {
      await readExperiment(file);
    } catch (error) {
      // Their text is not part of a checkout.
      const lines = (error as SweetspotError).found!.trim().split('\n');
      t.true(
        lines.every((line) => line.includes('no such file')),
        (error as SweetspotError).message,
      );
    }
  }
  t.pass();
});

test('what determines a result is in its key, and nothing else', async (t) => {
  const plan = async (more: object = {}) =>
    planExperiment(await checkedExperiment(tiny(more), { folder: root }), { folder: 'corpus', identity: 'x' });
  const ids = async (more: object = {}) => (await plan(more)).cells.map(({ id }) => id);
  const base = await ids();
  t.is(new Set(base).size, base.length);
  // Another name, or the same text elsewhere, is the same work.
  const renamed = await ids({
    systems: [
      { name: 'plain', method: 'slm' },
      { name: 'bank', method: 'projected', clusters: 3, slices: 2 },
    ],
  });
  t.deepEqual(renamed, base);
  // Asked for twice, done once.
  const twice = await ids({ systems: [...tiny().systems, { name: 'again', method: 'slm' }] });
  t.deepEqual(twice, base);
  // Fine-tuning settings change fine-tuning only; a seed changes all.
  const tuned = await ids({ finetune: { epochs: 1 } });
  t.deepEqual(
    tuned.filter((id) => !base.includes(id)).map((id) => id.split('-')[0]),
    ['tune', 'tune', 'tune', 'tune'],
  );
  t.true((await ids({ seeds: [2] })).every((id) => !base.includes(id)));
  // Importance sampling pretrains for each domain, from the stated tokens of it.
  const runs = (
    await plan({ systems: [{ name: 'is', method: 'importance', clusters: 3, domainTokens: 500 }] })
  ).cells.filter(({ work }) => work.kind === 'run');
  t.is(runs.length, 2);
  t.true(runs.every(({ work }) => work.kind === 'run' && work.basis.settings.domainTokens === 500));
  // Whole rows come early: every need stands before what needs it.
  const order = (await plan()).cells;
  order.forEach(({ needs }, i) => {
    for (const need of needs) t.true(order.findIndex(({ id }) => id === need) < i);
  });
  // Nothing but evaluation where nothing is fine-tuned.
  t.false((await ids({ finetune: false })).some((id) => id.startsWith('tune')));
});

test('finished experiments can be gone on with: names of cells stay as they are', async (t) => {
  const experiment = await checkedExperiment(
    tiny({
      sizes: [2000, { tokens: 3000, finetune: { steps: 25, heldout: 0.2 } }],
      systems: [
        { name: 'slm', method: 'slm' },
        { name: 'projected', method: 'projected', clusters: 3, slices: 2, expert: ['histogram', 'all'] },
        { name: 'mixture', method: 'mixture', clusters: 3, expert: 'lowest-loss', finetune: false },
        { name: 'importance', method: 'importance', clusters: [2, 3] },
        { name: 'soup', method: 'soup', clusters: 3, slices: 2, support: [1, 2] },
        { name: 'hypernetwork', method: 'hypernetwork', clusters: 3, optimizer: 'muon', weightDecay: 0.2 },
        { name: 'domain-only', method: 'domain-only' },
      ],
    }),
    { folder: root },
  );
  const { cells } = planExperiment(experiment, { folder: 'corpus', identity: 'x' });
  // Where this changes on purpose, all that was computed before is computed again.
  t.is(shortHash(cells.map(({ id }) => id)), '076c75eea3');
});

test('hashes: order of keys does not count, bytes of text do', (t) => {
  t.is(canonical({ b: 1, a: [{ d: 1, c: undefined }] }), '{"a":[{"d":1}],"b":1}');
  t.is(shortHash({ a: 1, b: 2 }), shortHash({ b: 2, a: 1 }));
  writeFileSync(at('a.txt'), 'text');
  writeFileSync(at('b.txt'), 'text');
  writeFileSync(at('c.txt'), 'Text');
  t.is(fingerprint([at('a.txt')]), fingerprint([at('b.txt')]));
  t.not(fingerprint([at('a.txt')]), fingerprint([at('c.txt')]));
  t.is(parseCount('1.5k'), 1500);
});

test('an existing corpus is used as it is', async (t) => {
  await buildCorpus({ input: at('text/generic.jsonl'), out: at('corpus'), vocabSize: 320 });
  const ok = await problems(tiny({ corpus: { folder: 'corpus', context: 32 } }));
  t.is(ok.code, 'none');
  const { list } = await problems(tiny({ corpus: { folder: 'corpus', vocabulary: 320, context: 32 } }));
  t.regex(list.join(), /vocabulary is that of the folder/);
  const both = await problems(tiny({ corpus: { folder: 'nowhere', context: 32 } }));
  t.is(both.code, 'SWEETSPOT_INPUT');
});

test('the map of clusters: distances along the main directions', (t) => {
  // Points on a line in three dimensions, and a little across it.
  const points = [-2, -1, 0, 1, 2].flatMap((v, i) => [v, 2 * v, i % 2 === 0 ? 0.1 : -0.1]);
  const { x, y, explained } = principalPlane(points, 5, 3, [1, 1, 1, 1, 1]);
  t.true(
    x.every((v, i) => Math.abs(v - (i - 2) * Math.sqrt(5)) < 0.01),
    String(x),
  );
  t.true(Math.max(...y.map(Math.abs)) < 0.2);
  t.true(explained[0] > 0.99 && explained[1] < 0.01);
});

test('banks that cannot be are told of before any training', async (t) => {
  const bank = { method: 'projected', clusters: 3 };
  const { code, list } = await problems(
    tiny({
      systems: [
        { name: 'one', ...bank, shared: false, trunkShare: 0.5 },
        { name: 'two', ...bank, method: 'soup', trunkShare: [0.5, 1] },
        { name: 'three', ...bank, sliceRank: 4, sliceType: 'bf16' },
        { name: 'four', ...bank, sliceRank: [0, 4], trunkShare: 0.5, expert: 'ensemble', ensembleExperts: 2 },
        { name: 'five', method: 'slm', sliceRank: 4 },
      ],
    }),
  );
  t.is(code, 'SWEETSPOT_USAGE');
  const expected = [/^systems\[4\].*sliceRank/, /^one: .*shared slice/, /^two \(.*1\): trunkShare/, /^three: .*f32/];
  expected.forEach((pattern) => {
    t.true(
      list.some((line) => pattern.test(line)),
      `${pattern}\n${list.join('\n')}`,
    );
  });
});
