// The CUDA backend without a GPU: its kernels run on the CPU in test/emulator, every op against the oracle, wrong data, gradients and
// training steps of whole models. A seed decides which thread of a block runs next and whether asynchronous copies and products
// happen early or late; an address sanitizer watches memory where the compiler has one.
import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { projectRoot } from '../conformance/coverage.js';

const root = projectRoot();
const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/build-emulator.mjs'], {
  cwd: root,
  encoding: 'utf8',
});
if (status !== 0) throw new Error(stderr);
const { env, reason } = JSON.parse(stdout) as { env?: NodeJS.ProcessEnv; reason?: string };
/** Where the emulator cannot be built all are skipped, by name. */
const named = (title: string) => (reason === undefined ? title : `${title}: ${reason}`);
const emulated = reason === undefined ? test : test.skip;

/** Runs a script of dist/ over the emulated device; its exit status must be 0. Returns what it printed. */
async function run(t: ExecutionContext, args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<string> {
  const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env, ...more } });
  let output = '';
  child.stdout.on('data', (text: Buffer) => (output += text));
  child.stderr.on('data', (text: Buffer) => (output += text));
  const status = await new Promise<number | null>((resolve) => child.on('exit', resolve));
  t.is(status, 0, output.slice(-4000));
  return output;
}

const suite = path.join('dist', 'bench', 'gpu', 'conformance.js');
const ava = path.join('node_modules', 'ava', 'entrypoints', 'cli.mjs');
const files = (...names: string[]) => names.map((name) => path.join('dist', 'test', `${name}.test.js`));

for (const [capability, seed, ops] of [
  ['90', '1', ''],
  ['90', '2', 'grouped_gemm_dw,attention,bank_mix_backward,bank_adamw'],
  ['80', '3', 'gemm,attention_backward'],
  // Less shared memory than most kernels of attention want for wide heads.
  ['89', '4', 'attention'],
] as const) {
  emulated(named(`conformance on capability ${capability}, seed ${seed}: ${ops || 'every op'}`), async (t) => {
    t.timeout(600_000);
    const given = { SWEETSPOT_EMULATOR_SM: capability, SWEETSPOT_EMULATOR_SEED: seed };
    const output = await run(t, [suite, 'cuda', '2', ops], given);
    t.regex(output, /\ncuda: 0 of \d+ cases failed/);
  });
}

emulated(named('wrong data, gradients of whole models, copies in bf16'), async (t) => {
  t.timeout(600_000);
  const args = [ava, '--timeout=10m', ...files('conformance/errors', 'models/gradient', 'cuda/copies', 'cuda/results')];
  const output = await run(t, args, { SWEETSPOT_BACKEND: 'cuda' });
  t.notRegex(output, /skipped/);
});

emulated(named('training steps give the losses of the CPU, and the same bits a second time'), async (t) => {
  t.timeout(600_000);
  await run(t, [path.join('dist', 'bench', 'gpu', 'training.js'), '6', '--small']);
  t.pass();
});

emulated(named('every path of wgmma, by every element of its results'), async (t) => {
  t.timeout(600_000);
  await run(t, [path.join('dist', 'bench', 'gpu', 'suspects.js'), '--small']);
  t.pass();
});
