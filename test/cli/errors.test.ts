// Bad input through the real command line. Each case: exit code, error code, the thing at fault in the message, nothing on
// stdout, and a folder in which nothing was made or changed.
import { appendFileSync, cpSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import test from 'ava';
import { cli, documents, json, jsonLines, type Outcome, shell, snapshot, TINY, workplace } from './support.js';

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly expected?: string;
  readonly found?: string;
  readonly fix?: string;
}

const cwd = workplace();
const file = (name: string, data: string | Uint8Array) => writeFileSync(join(cwd, name), data);
const texts = documents('sea', 60, 'generic');
file('good.jsonl', jsonLines(texts));
file('short.txt', 'a ship');
file('empty.jsonl', '');
file('blank.txt', ' \n\n ');
file('binary.txt', Uint8Array.of(0x61, 0x0a, 0x00, 0x62));
file('latin1.txt', Uint8Array.of(0x67, 0x0a, 0xe9, 0x20));
file('notext.jsonl', `${jsonLines(['fine'])}{"txt": "misnamed"}\n`);
file('notjson.jsonl', `${jsonLines(['fine'])}{"text": "cut`);
file('torn.jsonl.gz', gzipSync(jsonLines(texts)).subarray(0, 200));
mkdirSync(join(cwd, 'hollow'));

await json(['corpus', 'build', '--input', 'good.jsonl', '--out', 'corpus', '--vocab', '300'], cwd);
await json(['corpus', 'build', '--input', 'good.jsonl', '--out', 'other', '--vocab', '290'], cwd);
await json(['corpus', 'cluster', 'corpus', '--clusters', '2', '--context', '32', '--dimensions', '4'], cwd);
await json(['pretrain', '--method', 'slm', '--corpus', 'corpus', '--tokens', '1k', '--out', 'run', ...TINY], cwd);
await json(['specialize', 'run', '--domain', 'good.jsonl', '--out', 'model', '--steps', '0'], cwd);

/** A copy of a folder, damaged. */
function damaged(from: string, name: string, damage: (folder: string) => void): string {
  cpSync(join(cwd, from), join(cwd, name), { recursive: true });
  damage(join(cwd, name));
  return name;
}
const flip = (path: string, at: number) => {
  const bytes = readFileSync(path);
  bytes[at]! ^= 0x40;
  writeFileSync(path, bytes);
};

damaged('run', 'run-other-tokenizer', (folder) =>
  cpSync(join(cwd, 'other/tokenizer.json'), join(folder, 'tokenizer.json')),
);
damaged('run', 'run-altered', (folder) => flip(join(folder, 'weights/main.safetensors'), 20_000));
damaged('run', 'run-bad-config', (folder) => writeFileSync(join(folder, 'config.json'), '{"format": "sweetsp'));
damaged('corpus', 'corpus-cut', (folder) => truncateSync(join(folder, 'tokens.bin'), 1001));
damaged('corpus', 'corpus-other-tokenizer', (folder) =>
  cpSync(join(cwd, 'other/tokenizer.json'), join(folder, 'tokenizer.json')),
);
damaged('corpus', 'corpus-bad-clusters', (folder) => flip(join(folder, 'clusters.2.safetensors'), 700));
damaged('model', 'model-cut', (folder) => truncateSync(join(folder, 'model.safetensors'), 5000));
damaged('model', 'model-longer', (folder) => appendFileSync(join(folder, 'model.safetensors'), 'x'));

const build = (input: string) => ['corpus', 'build', '--input', input, '--out', 'new'];
const slm = (...more: string[]) => [
  'pretrain',
  '--method',
  'slm',
  '--corpus',
  'corpus',
  '--tokens',
  '1k',
  '--out',
  'new',
  ...TINY,
  ...more,
];
const projected = (...more: string[]) => [
  'pretrain',
  '--method',
  'projected',
  '--clusters',
  '2',
  ...slm().slice(3),
  ...more,
];
const routed = (...more: string[]) => ['pretrain', '--method', 'routed', ...slm().slice(3), ...more];
const tune = (run: string, domain: string, ...more: string[]) => [
  'specialize',
  run,
  '--domain',
  domain,
  '--out',
  'new',
  ...more,
];

const cases: readonly (readonly [title: string, args: string[], exit: 1 | 2, code: string, named: RegExp])[] = [
  ['a missing file', build('missing.jsonl'), 1, 'INPUT', /missing\.jsonl/],
  ['an empty file', build('empty.jsonl'), 1, 'INPUT', /empty\.jsonl/],
  ['white space only', build('blank.txt'), 1, 'INPUT', /blank\.txt/],
  ['an empty folder', build('hollow'), 1, 'INPUT', /hollow/],
  ['a binary file', build('binary.txt'), 1, 'INPUT', /binary\.txt.*line 2.*NUL/],
  ['text that is not UTF-8', build('latin1.txt'), 1, 'INPUT', /latin1\.txt.*UTF-8.*line 2/],
  ['a JSON line without text', build('notext.jsonl'), 1, 'INPUT', /notext\.jsonl:2/],
  ['a line that is not JSON', build('notjson.jsonl'), 1, 'INPUT', /notjson\.jsonl:2/],
  ['a torn gzip file', build('torn.jsonl.gz'), 1, 'INPUT', /torn\.jsonl\.gz/],
  ['a corpus that exists', ['corpus', 'build', '--input', 'good.jsonl', '--out', 'corpus'], 1, 'EXISTS', /corpus/],
  ['a vocabulary below the bytes', [...build('good.jsonl'), '--vocab', '100'], 2, 'USAGE', /vocab/i],
  ['a tokenizer that is none', [...build('good.jsonl'), '--tokenizer', 'good.jsonl'], 1, 'CORRUPT', /good\.jsonl/],
  ['clusters of no corpus', ['corpus', 'cluster', 'hollow', '--clusters', '2'], 1, 'INPUT', /hollow/],
  [
    'more clusters than windows',
    ['corpus', 'cluster', 'corpus', '--clusters', '100_000'],
    1,
    'INPUT',
    /corpus.*100000/,
  ],
  ['clusters that exist', ['corpus', 'cluster', 'corpus', '--clusters', '2'], 1, 'EXISTS', /clusters\.2/],
  ['a corpus cut short', ['corpus', 'cluster', 'corpus-cut', '--clusters', '3'], 1, 'CORRUPT', /tokens\.bin/],
  [
    'a corpus with another tokenizer',
    ['corpus', 'cluster', 'corpus-other-tokenizer', '--clusters', '3'],
    1,
    'MISMATCH',
    /tokenizer\.json/,
  ],
  ['pretraining on no corpus', [...slm(), '--corpus', 'hollow'], 1, 'INPUT', /hollow/],
  ['pretraining where there is a file', [...slm(), '--out', 'good.jsonl'], 1, 'EXISTS', /good\.jsonl/],
  ['pretraining in a folder of something else', [...slm(), '--out', 'corpus'], 1, 'EXISTS', /corpus/],
  ['a run that is finished', [...slm(), '--out', 'run'], 1, 'EXISTS', /run/],
  ['an unknown method', ['pretrain', '--method', 'magic', ...slm().slice(3)], 2, 'USAGE', /magic/],
  ['an unknown flag', slm('--widht', '16'), 2, 'USAGE', /--widht/],
  ['an unknown verb', ['pretrian'], 2, 'USAGE', /pretrian/],
  ['no verb', [], 2, 'USAGE', /command/],
  ['a missing flag', slm().slice(0, 3), 2, 'USAGE', /--corpus/],
  ['an operand too many', ['evaluate', 'model', 'more', '--text', 'good.jsonl'], 2, 'USAGE', /arguments/],
  ['a number that is none', slm('--tokens', 'many'), 2, 'USAGE', /--tokens/],
  ['a width that kernels refuse', slm('--width', '17'), 2, 'USAGE', /hiddenSize/],
  ['a flag of another method', slm('--slices', '4'), 2, 'USAGE', /--slices/],
  ['experts of another method', slm('--experts', '4'), 2, 'USAGE', /--experts/],
  ['a balance of another method', slm('--balance', 'bias'), 2, 'USAGE', /--balance/],
  ['more experts of a token than there are', routed('--experts', '2', '--top-k', '3'), 2, 'USAGE', /topK/],
  ['a router that cannot learn', routed('--top-k', '1'), 2, 'USAGE', /topK 1/],
  ['a switch of another method', slm('--no-shared'), 2, 'USAGE', /--no-shared/],
  [
    'a share above one',
    ['pretrain', '--method', 'mixture', ...slm('--trunk-share', '2').slice(3), '--clusters', '2'],
    2,
    'USAGE',
    /trunkShare/,
  ],
  ['an unknown backend', slm('--backend', 'abacus'), 2, 'USAGE', /abacus/],
  ['an unknown instruction set', slm('--isa', 'mmx'), 2, 'USAGE', /mmx/],
  ['no threads', slm('--threads', '0'), 2, 'USAGE', /--threads/],
  ['a context longer than the corpus', slm('--context', '100_000', '--batch-tokens', '100_000'), 1, 'INPUT', /corpus/],
  ['a corpus that is not clustered so', [...projected(), '--clusters', '7'], 1, 'INPUT', /into 7/],
  ['clusters of other windows', [...projected(), '--context', '64'], 1, 'MISMATCH', /windows of another length/],
  ['altered clusters', [...projected(), '--corpus', 'corpus-bad-clusters'], 1, 'CORRUPT', /clusters\.2/],
  ['a layer that is not there', projected('--projected-layers', '2'), 2, 'USAGE', /projectedLayers/],
  [
    'importance sampling without a domain',
    ['pretrain', '--method', 'importance', ...slm().slice(3), '--clusters', '2'],
    2,
    'USAGE',
    /domain/,
  ],
  ['specializing what is no run', tune('corpus', 'good.jsonl'), 1, 'INPUT', /corpus/],
  ['a domain that is missing', tune('run', 'missing'), 1, 'INPUT', /missing/],
  ['a domain shorter than a window', tune('run', 'short.txt'), 1, 'INPUT', /the domain/],
  ['a demo into a folder of somebody else', ['demo', '--out', 'corpus'], 1, 'EXISTS', /corpus/],
  ['a model that exists', [...tune('run', 'good.jsonl'), '--out', 'model'], 1, 'EXISTS', /model/],
  ['a run with another tokenizer', tune('run-other-tokenizer', 'good.jsonl'), 1, 'MISMATCH', /run-other-tokenizer/],
  ['altered weights', tune('run-altered', 'good.jsonl'), 1, 'CORRUPT', /main\.safetensors/],
  ['a damaged config', tune('run-bad-config', 'good.jsonl'), 1, 'CORRUPT', /config\.json/],
  ['an unknown expert choice', tune('run', 'good.jsonl', '--expert', 'best'), 2, 'USAGE', /best/],
  ['specializing an ensemble', tune('run', 'good.jsonl', '--expert', 'ensemble'), 2, 'USAGE', /evaluation only/],
  [
    'an ensemble without experts',
    ['evaluate', 'run', '--text', 'good.jsonl', '--domain', 'good.jsonl', '--expert', 'ensemble'],
    2,
    'USAGE',
    /needs experts/,
  ],
  ['a domain for one model', ['evaluate', 'model', '--text', 'good.jsonl', '--domain', 'x'], 2, 'USAGE', /--domain/],
  ['nothing held out', tune('run', 'good.jsonl', '--heldout', '0'), 2, 'USAGE', /heldout/],
  ['evaluating no model', ['evaluate', 'hollow', '--text', 'good.jsonl'], 1, 'INPUT', /hollow/],
  [
    'evaluating a model cut short',
    ['evaluate', 'model-cut', '--text', 'good.jsonl'],
    1,
    'CORRUPT',
    /model\.safetensors/,
  ],
  [
    'evaluating a model with bytes too many',
    ['evaluate', 'model-longer', '--text', 'good.jsonl'],
    1,
    'CORRUPT',
    /model\.safetensors/,
  ],
  ['evaluating on a missing text', ['evaluate', 'model', '--text', 'missing.txt'], 1, 'INPUT', /missing\.txt/],
  [
    'generating with a negative temperature',
    ['generate', 'model', '--prompt', 'a', '--temperature', '-1'],
    2,
    'USAGE',
    /temperature/,
  ],
  ['generating without a prompt', ['generate', 'model'], 2, 'USAGE', /--prompt/],
  ['an experiment that is missing', ['experiment', 'grid.yaml', '--out', 'new'], 1, 'INPUT', /grid\.yaml/],
  ['an experiment that is text', ['experiment', 'short.txt', '--out', 'new'], 2, 'USAGE', /short\.txt has a problem/],
  ['an experiment without a folder', ['experiment', 'short.txt'], 2, 'USAGE', /--out/],
  ['a report of no experiment', ['report', 'run'], 1, 'INPUT', /results\.json/],
];

const before = snapshot(cwd);

function failure({ stdout, stderr }: Outcome): Failure {
  if (stdout !== '') throw new Error(`stdout: ${stdout}`);
  const lines = stderr.trimEnd().split('\n');
  if (lines.length !== 1) throw new Error(`stderr: ${stderr}`);
  return (JSON.parse(lines[0]!) as { error: Failure }).error;
}

for (const [title, args, exit, code, named] of cases) {
  test.serial(`refuses ${title}`, async (t) => {
    const outcome = await cli([...args, '--json'], cwd);
    const error = failure(outcome);
    t.is(error.code, `SWEETSPOT_${code}`, JSON.stringify(error));
    t.is(outcome.code, exit);
    t.regex(error.message, named);
    t.deepEqual(snapshot(cwd), before);
  });
}

test.serial('without --json the same error is text', async (t) => {
  const { code, stdout, stderr } = await cli(['evaluate', 'model', '--text', 'notext.jsonl'], cwd);
  t.is(code, 1);
  t.is(stdout, '');
  t.regex(stderr, /^error SWEETSPOT_INPUT: .*notext\.jsonl:2.*\n {2}expected: .*\n {2}found: .*\n$/);
});

test.serial('a full disk leaves nothing half done, and the work goes on when there is room', async (t) => {
  // The shell limits the size of files (KiB); a write past that fails as on a full disk.
  const limited = (size: number, args: readonly string[]) =>
    shell(`ulimit -f ${size}; exec "$@"`, [...args, '--json'], cwd);
  const full = async (size: number, args: readonly string[]) => {
    const outcome = await limited(size, args);
    t.is(outcome.code, 1);
    t.is(failure(outcome).code, 'SWEETSPOT_IO');
  };
  await full(4, [...build('good.jsonl'), '--vocab', '300']);
  t.deepEqual(snapshot(cwd), before);
  await full(1, ['corpus', 'cluster', 'corpus', '--clusters', '3', '--context', '32']);
  t.deepEqual(snapshot(cwd), before);
  await full(32, slm());
  t.false('new/weights/main.safetensors' in snapshot(cwd));
  await json(slm(), cwd);
  const now = snapshot(cwd);
  t.is(now['new/weights/main.safetensors'], before['run/weights/main.safetensors']);
  await full(32, [...tune('run', 'good.jsonl', '--steps', '2'), '--out', 'new-model']);
  t.false('new-model' in snapshot(cwd));
  await json([...tune('run', 'good.jsonl', '--steps', '2'), '--out', 'new-model'], cwd);
  t.true('new-model/model.safetensors' in snapshot(cwd));
});
