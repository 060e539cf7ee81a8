// Ctrl-C, killed processes, damaged checkpoints, two processes on one folder: what happens, and that work goes on to the
// same bits as if nothing had been.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { readSafetensors } from '../../ts/io/safetensors.js';
import { cli, documents, json, jsonLines, start, TINY, workplace } from './support.js';

const cwd = workplace();
const texts = [...documents('law', 60, 'generic'), ...documents('sea', 60, 'generic')];
writeFileSync(join(cwd, 'generic.jsonl'), jsonLines(texts));
await json(['corpus', 'build', '--input', 'generic.jsonl', '--out', 'corpus', '--vocab', '300'], cwd);
await json(['corpus', 'cluster', 'corpus', '--clusters', '2', '--context', '32', '--dimensions', '4'], cwd);

const pretrain = (out: string) => [
  ...['pretrain', '--method', 'projected', '--corpus', 'corpus', '--clusters', '2', '--slices', '2', '--tokens', '80k'],
  ...['--out', out, ...TINY],
];
const specialize = (out: string) => [
  ...['specialize', 'whole', '--domain', 'generic.jsonl', '--out', out, '--steps', '150', '--learning-rate', '0.002'],
];
const read = (...path: string[]) => readFileSync(join(cwd, ...path));
/** Hashes of the tensors of a finished run; the file around them also holds the mean loss of the call that wrote it. */
const weights = (run: string): Record<string, string> => {
  const { tensors } = readSafetensors(join(cwd, run, 'weights/main.safetensors'));
  return Object.fromEntries(
    Array.from(tensors, ([name, { data }]) => [name, createHash('sha256').update(data).digest('hex')]),
  );
};

/** Waits until the run in `folder` has trained so many steps. */
async function trained(folder: string, steps: number, child: ChildProcess): Promise<void> {
  const file = join(cwd, folder, 'metrics.jsonl');
  while (!existsSync(file) || readFileSync(file, 'utf8').split('\n').length <= steps) {
    if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode} before step ${steps}`);
    await setTimeout(5);
  }
}

const checkpoints = (folder: string) =>
  readdirSync(join(cwd, folder, 'checkpoints')).map((name) => join(cwd, folder, 'checkpoints', name));

test.serial('an interrupted pretraining says what to type and ends with the same bits', async (t) => {
  await json(pretrain('whole'), cwd);
  const { child, done } = start(pretrain('broken'), cwd);
  await trained('broken', 15, child);

  // Twice at once, as npx passes it on: still one interrupt.
  child.kill('SIGINT');
  child.kill('SIGINT');
  const { code, stdout, stderr } = await done;
  t.is(code, 130);
  t.is(stdout, '');
  t.regex(stderr, /interrupted at step \d+ of 313; saved/);
  t.true(stderr.includes(`to go on: npx sweetspot ${pretrain('broken').join(' ')}\n`));
  t.false(existsSync(join(cwd, 'broken/result.json')));
  t.false(existsSync(join(cwd, 'broken/run.lock')));
  for (const copy of ['cut', 'altered', 'changed', 'killed'])
    cpSync(join(cwd, 'broken'), join(cwd, copy), { recursive: true });

  const unfinished = await cli(['specialize', 'broken', '--domain', 'generic.jsonl', '--out', 'model', '--json'], cwd);
  t.is(unfinished.code, 1);
  t.regex(JSON.parse(unfinished.stderr).error.message, /broken is not finished/);

  await json(pretrain('broken'), cwd);
  t.deepEqual(weights('broken'), weights('whole'));
});

test.serial('a second process on the same run folder is kept out', async (t) => {
  const long = [...pretrain('held'), '--tokens', '1G'];
  const { child, done } = start(long, cwd);
  await trained('held', 1, child);
  const { code, stderr } = await cli([...long, '--json'], cwd);
  t.is(code, 1);
  const { error } = JSON.parse(stderr);
  t.is(error.code, 'SWEETSPOT_LOCKED');
  t.true(error.message.includes(`process ${child.pid}`));
  child.kill('SIGINT');
  t.is((await done).code, 130);
});

test.serial('a run goes on only with the settings it was started with', async (t) => {
  const { code, stderr } = await cli([...pretrain('changed'), '--seed', '1', '--json'], cwd);
  t.is(code, 1);
  const { error } = JSON.parse(stderr);
  t.is(error.code, 'SWEETSPOT_MISMATCH');
  t.regex(error.message, /seed/);
});

test.serial('a checkpoint that is cut short or altered is refused by name', async (t) => {
  for (const path of checkpoints('cut')) truncateSync(path, 3000);
  for (const path of checkpoints('altered')) {
    const bytes = readFileSync(path);
    bytes[bytes.length - 1000]! ^= 1;
    writeFileSync(path, bytes);
  }
  for (const folder of ['cut', 'altered']) {
    const { code, stderr } = await cli([...pretrain(folder), '--json'], cwd);
    t.is(code, 1);
    const { error } = JSON.parse(stderr);
    t.is(error.code, 'SWEETSPOT_CORRUPT', folder);
    t.regex(error.message, /main-\d{8}\.safetensors/);
    t.false(existsSync(join(cwd, folder, 'weights/main.safetensors')));
  }
});

test.serial(
  'a killed process leaves a lock that the next takes over, and a run that ends with the same bits',
  async (t) => {
    const { child, done } = start(pretrain('killed'), cwd);
    const before = read('killed/metrics.jsonl').toString().split('\n').length;
    await trained('killed', before + 5, child);
    child.kill('SIGKILL');
    await done;
    t.true(existsSync(join(cwd, 'killed/run.lock')));
    await json(pretrain('killed'), cwd);
    t.deepEqual(weights('killed'), weights('whole'));
  },
);

test.serial('an interrupted specialization goes on to the same model; SIGTERM is an interrupt too', async (t) => {
  await json(specialize('model-whole'), cwd);
  const { child, done } = start([...specialize('model-broken'), '--json'], cwd);
  await trained('model-broken.part', 20, child);
  child.kill('SIGTERM');
  const { code, stderr } = await done;
  t.is(code, 130);
  const { error } = JSON.parse(stderr);
  t.is(error.code, 'SWEETSPOT_ABORTED');
  t.is(error.fix, `npx sweetspot ${[...specialize('model-broken'), '--json'].join(' ')}`);
  t.false(existsSync(join(cwd, 'model-broken')));
  await json(specialize('model-broken'), cwd);
  t.false(existsSync(join(cwd, 'model-broken.part')));
  t.is(Buffer.compare(read('model-broken/model.safetensors'), read('model-whole/model.safetensors')), 0);
});

test.serial('a second Ctrl-C ends at once what the first has not ended', async (t) => {
  // Work that does not listen, in place of a device that is busy for a long time.
  const deaf = `
    const { interruptSignal } = await import(${JSON.stringify(new URL('../../ts/cli/interrupt.js', import.meta.url))});
    interruptSignal(() => console.log('first'));
    setInterval(() => {}, 1000);
    console.log('ready');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', deaf], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  let text = '';
  const said = async (word: string) => {
    while (!text.includes(word)) text += String((await once(child.stdout, 'data'))[0]);
  };
  await said('ready');
  child.kill('SIGINT');
  child.kill('SIGINT');
  await said('first');
  await setTimeout(800);
  t.is(child.exitCode, null);
  child.kill('SIGINT');
  t.is((await ended)[0], 130);
  t.is(text.match(/first/g)?.length, 1);
});
