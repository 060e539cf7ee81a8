// The whole way through the real command line: text, corpus, clusters, every method, specialization, evaluation, generation.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { cli, documents, json, jsonLines, shell, TINY, workplace } from './support.js';

interface Evaluated {
  readonly domains: readonly {
    readonly text: string;
    readonly tokens: number;
    readonly nll: number;
    readonly perplexity: number;
  }[];
  readonly macro: { readonly nll: number; readonly perplexity: number };
}

const cwd = workplace();
const [law, sea] = [documents('law', 150, 'generic'), documents('sea', 150, 'generic')];
writeFileSync(join(cwd, 'generic.jsonl'), jsonLines(law.flatMap((text, i) => [text, sea[i]!])));
writeFileSync(join(cwd, 'law.jsonl'), jsonLines(documents('law', 30, 'domain')));
writeFileSync(join(cwd, 'law-heldout.jsonl'), jsonLines(documents('law', 10, 'heldout')));
writeFileSync(join(cwd, 'sea-heldout.jsonl'), jsonLines(documents('sea', 10, 'heldout')));

const built = await json(['corpus', 'build', '--input', 'generic.jsonl', '--out', 'corpus', '--vocab', '320'], cwd);
const clustered = await json<{ entropy: number; sizes: number[]; terms: string[][] }>(
  ['corpus', 'cluster', 'corpus', '--clusters', '2', '--context', '32', '--dimensions', '8'],
  cwd,
);

test('corpus build and corpus cluster describe what they made', (t) => {
  t.is(built['documents'], 300);
  t.is(built['vocabSize'], 320);
  t.true(existsSync(join(cwd, 'corpus/tokens.bin')));
  t.is(clustered.sizes.length, 2);
  // The two topics are found: each cluster is named by words of one of them.
  const topics = clustered.terms.map(
    (terms) => terms.filter((term) => law.join(' ').includes(term)).length / terms.length,
  );
  t.deepEqual(topics.sort(), [0, 1]);
});

for (const method of ['slm', 'importance', 'mixture', 'projected', 'routed']) {
  test.serial(`${method}: pretrain, specialize, evaluate, generate`, async (t) => {
    const [run, model] = [`runs/${method}`, `models/${method}`];
    const more =
      method === 'slm'
        ? ['--logit-cap', '20']
        : method === 'routed'
          ? ['--experts', '3', '--top-k', '1', '--switch', '--shared-width', '16', '--balance', 'bias']
          : method === 'importance'
            ? ['--clusters', '2', '--domain', 'law.jsonl']
            : ['--clusters', '2'];
    const bank =
      method === 'projected'
        ? [
            '--slices',
            '3',
            '--expert-vector',
            '2',
            '--projected-layers',
            '1',
            '--no-shared',
            '--slice-type',
            'bf16',
            '--bank-scale',
            '0.1',
          ]
        : [];
    const pretrained = await json(
      [
        'pretrain',
        '--method',
        method,
        '--corpus',
        'corpus',
        '--tokens',
        '10k',
        '--out',
        run,
        ...TINY,
        ...more,
        ...bank,
      ],
      cwd,
    );
    t.is(pretrained['method'], method);
    t.is(pretrained['out'], run);
    t.true((pretrained['loss'] as number) < Math.log(320));
    t.true((pretrained['pretrainParameters'] as number) >= (pretrained['inferenceParameters'] as number));
    const config = JSON.parse(readFileSync(join(cwd, run, 'config.json'), 'utf8'));
    t.is(config.model.hiddenSize, 16);
    t.is(config.model.contextLength, 32);
    t.is(config.batch, 8);
    t.is(config.model.logitCap, method === 'slm' ? 20 : 0);
    if (method === 'projected') {
      const sizes = { slices: 3, expertVector: 2, projectedLayers: [1], shared: false, experts: 2 };
      const byCluster = { conditioning: 'cluster', conditionSize: 0, mlpWidth: 0 };
      t.is(config.adamw.bankScale, 0.1);
      t.deepEqual(config.bank, { ...sizes, ...byCluster, sliceType: 'bf16', sliceRank: 0 });
    }

    const made = await json<{
      before: { perplexity: number };
      after: { perplexity: number };
      histogram: number[];
      coverage: number | null;
    }>(
      [
        'specialize',
        run,
        '--domain',
        'law.jsonl',
        '--out',
        model,
        '--epochs',
        '3',
        ...(method === 'mixture' ? ['--expert', 'lowest-loss'] : []),
      ],
      cwd,
    );
    t.true(made.after.perplexity < made.before.perplexity);
    const clustered = method !== 'slm' && method !== 'routed';
    t.is(made.histogram.length, clustered ? 2 : 0);
    t.is(made.coverage === null, !clustered);
    if (clustered) t.true(Math.max(...made.histogram) > 0.8);
    t.false(existsSync(join(cwd, `${model}.part`)));

    const measured = await json<Evaluated>(
      ['evaluate', model, '--text', 'law-heldout.jsonl', 'sea-heldout.jsonl'],
      cwd,
    );
    const [own, other] = measured.domains;
    t.is(own!.text, 'law-heldout.jsonl');
    t.true(own!.perplexity < other!.perplexity);
    t.true(Math.abs(measured.macro.nll - (own!.nll + other!.nll) / 2) < 1e-12);

    const write = (seed: string) =>
      json(['generate', model, '--prompt', 'the court', '--max-tokens', '20', '--seed', seed], cwd);
    const [first, again, another] = [await write('1'), await write('1'), await write('2')];
    t.true((first['text'] as string).length > 0);
    t.is(first['text'], again['text']);
    t.not(first['text'], another['text']);
  });
}

test.serial('for people: tables, where things are, what to type next', async (t) => {
  const clusters = await cli(['corpus', 'cluster', 'corpus', '--clusters', '3', '--context', '32'], cwd);
  t.is(clusters.code, 0);
  t.regex(clusters.stdout, /^cluster +share +characteristic terms\n/);
  t.is(clusters.stdout.match(/^ +\d +\d+\.\d% /gm)?.length, 3);
  t.regex(clusters.stdout, /entropy \d\.\d\d of at most 1\.10 nats/);
  const run = ['pretrain', '--method', 'slm', '--corpus', 'corpus', '--tokens', '2k', '--out', 'runs/human', ...TINY];
  const pretrained = await cli(run, cwd);
  t.is(pretrained.stderr, '');
  t.regex(pretrained.stdout, /next: npx sweetspot specialize runs\/human /);
  const specialized = await cli(
    ['specialize', 'runs/human', '--domain', 'law.jsonl', '--out', 'models/human', '--steps', '0'],
    cwd,
  );
  t.regex(specialized.stdout, /next: npx sweetspot evaluate models\/human /);
  const measured = await cli(['evaluate', 'models/human', '--text', 'law-heldout.jsonl', 'sea-heldout.jsonl'], cwd);
  t.regex(
    measured.stdout,
    /^text +tokens +perplexity +bits per byte\nlaw-heldout\.jsonl .*\nsea-heldout\.jsonl .*\nmacro average /,
  );
  const written = await cli(
    ['generate', 'models/human', '--prompt', 'the court', '--max-tokens', '5', '--seed', '3'],
    cwd,
  );
  t.true(written.stdout.startsWith('the court'));
  t.true(written.stdout.endsWith('\n'));
});

test.serial('the thread count does not change the result; repeats are warned about', async (t) => {
  writeFileSync(join(cwd, 'few.jsonl'), jsonLines(law.slice(0, 12)));
  await json(['corpus', 'build', '--input', 'few.jsonl', '--out', 'few', '--vocab', '280'], cwd);
  await json(['corpus', 'cluster', 'few', '--clusters', '2', '--context', '32', '--dimensions', '4'], cwd);
  const args = (out: string, threads: string) => [
    ...[
      'pretrain',
      '--method',
      'importance',
      '--corpus',
      'few',
      '--domain',
      'law.jsonl',
      '--clusters',
      '2',
      '--tokens',
      '10k',
    ],
    ...['--out', out, '--threads', threads, ...TINY],
  ];
  const one = await cli(args('runs/one', '1'), cwd);
  t.is(one.code, 0);
  t.regex(one.stderr, /^warning: text of one cluster was seen \d+\.\d times/);
  const two = await json<{ facts: { largestRepeat: number }; warnings: string[] }>(args('runs/two', '2'), cwd);
  t.true(two.facts.largestRepeat > 4);
  t.is(two.warnings.length, 1);
  const weights = (out: string) => readFileSync(join(cwd, out, 'weights/main.safetensors'));
  t.is(Buffer.compare(weights('runs/one'), weights('runs/two')), 0);
});

test.serial('doctor reports and computes', async (t) => {
  const report = await json<{ ok: boolean; isas: string[]; isa: string; threads: number }>(
    ['doctor', '--threads', '1'],
    cwd,
  );
  t.true(report.ok);
  t.is(report.threads, 1);
  // Of the addon; where there is none WebAssembly computes.
  if (report.isas.length === 0) return;
  t.true(report.isas.includes(report.isa));
  const scalar = await json<{ ok: boolean; isa: string }>(['--isa', 'scalar', 'doctor'], cwd);
  t.is(scalar.isa, 'scalar');
  t.true(scalar.ok);
});

test.serial('a reader that goes away is no failure', async (t) => {
  // The text is longer than a pipe holds, so the writer is still writing when head has left.
  const script = '{ "$@"; echo "ended with $?" >&2; } | head -c 5';
  const { stdout, stderr } = await shell(
    script,
    ['generate', 'models/human', '--prompt', 'x'.repeat(100_000), '--max-tokens', '50'],
    cwd,
  );
  t.is(stderr, 'ended with 0\n');
  t.is(stdout, 'xxxxx');
});

test.serial('nothing is left behind', (t) => {
  const names = readdirSync(cwd, { recursive: true }) as string[];
  t.deepEqual(
    names.filter((name) => /\.tmp-|\.lock|\.part/.test(name)),
    [],
  );
});
