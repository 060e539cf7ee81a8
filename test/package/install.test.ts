// The package in the four ways it is installed: with a built addon, without compiler and CMake, with --ignore-scripts, and with
// a backend forced. In each the demo that comes with it runs. A real compilation takes minutes, so the addon comes from a
// platform package made of the local build; SWEETSPOT_TEST_COMPILE=1 compiles too.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { loadAddon, surveyBackends } from '../../ts/backend/index.js';
import { barePath, diskBytes, install, type Outcome, pack, packPlatform, run, sweetspot } from './support.js';

const local = loadAddon();
const noAddon = 'addon' in local ? undefined : 'there is no addon to make a platform package of';
const noWasm = surveyBackends().find(({ name }) => name === 'wasm')!.reasons[0];
type Body = (t: ExecutionContext) => void;
/** A test that is skipped by name where something is missing. */
const unless = (missing: string | undefined) => (title: string, body: Body) =>
  missing === undefined ? test.serial(title, body) : test.serial.skip(`${title}: ${missing}`, body);
const wasm = unless(noWasm);
const native = unless(noAddon);
const compiles = unless(
  process.env['SWEETSPOT_TEST_COMPILE'] === '1' ? undefined : 'SWEETSPOT_TEST_COMPILE=1 compiles',
);
/** A user reads of megabytes as du counts them. */
const MOST_BYTES = 15e6;
/** A tenth of a second of work, however busy the machine. */
const MOST_IMPORT_MS = 100;

let tarball: string;
let bare: { folder: string; log: string };
let ignoring: string;
let built: string;

interface Demo {
  readonly backend: { readonly name: string };
  readonly rows: readonly {
    readonly before: { readonly perplexity: number };
    readonly after: { readonly perplexity: number };
  }[];
  readonly sample: string;
}

function runsDemo(t: ExecutionContext, folder: string, backend: string, env: NodeJS.ProcessEnv = {}): Outcome {
  const outcome = sweetspot(folder, ['demo', '--json'], env);
  t.is(outcome.status, 0, outcome.stderr);
  const demo = JSON.parse(outcome.stdout) as Demo;
  t.is(demo.backend.name, backend);
  t.is(demo.rows.length, 4);
  for (const { before, after } of demo.rows) t.true(after.perplexity < before.perplexity && before.perplexity < 20);
  t.true(demo.sample.length > 40);
  return outcome;
}

/** The one error of a backend that cannot be had: every reason, numbered remedies, nothing else. */
function refuses(t: ExecutionContext, folder: string, env: NodeJS.ProcessEnv, ...reasons: RegExp[]): void {
  const { status, stdout, stderr } = sweetspot(folder, ['demo'], env);
  t.is(status, 1);
  t.is(stdout, '');
  t.regex(stderr, /^error SWEETSPOT_BACKEND_UNAVAILABLE: /);
  t.regex(stderr, /\n {4}1\. .*\n {4}2\. /);
  for (const reason of reasons) t.regex(stderr, reason);
}

const fallbacks = ({ stderr }: Outcome): number => stderr.match(/\[SWEETSPOT_FALLBACK\]/g)?.length ?? 0;

test.before(() => {
  tarball = pack();
});

test.serial('(b) without compiler or CMake: installs, with a notice of one line', (t) => {
  bare = install('bare', [tarball], { env: { PATH: barePath() }, flags: ['--foreground-scripts'] });
  const notices = bare.log.split('\n').filter((line) => line.startsWith('sweetspot: '));
  t.is(notices.length, 1, bare.log);
  t.regex(notices[0]!, /not built \(no C\+\+ compiler was found\): WebAssembly will compute/);
  const kept = JSON.parse(readFileSync(path.join(bare.folder, 'node_modules/sweetspot/build/install.json'), 'utf8'));
  t.is(kept.ok, false);
  t.regex(kept.log, /Compiler toolset is not available/);
});

test.serial('(c) --ignore-scripts: installs, and nothing is built', (t) => {
  ignoring = install('ignoring', [tarball], { flags: ['--ignore-scripts'] }).folder;
  t.false(existsSync(path.join(ignoring, 'node_modules/sweetspot/build')));
});

native('(a) with an addon: the platform package makes a build unnecessary, and computes', (t) => {
  const { folder } = install('built', [tarball, packPlatform()]);
  built = folder;
  const kept = JSON.parse(readFileSync(path.join(built, 'node_modules/sweetspot/build/install.json'), 'utf8'));
  t.deepEqual(kept, { ok: true, skipped: `${packageOf(built)} is installed` });
  t.is(fallbacks(runsDemo(t, built, 'cpu')), 0);
  const doctor = sweetspot(built, ['doctor', '--json']);
  t.is(doctor.status, 0, doctor.stderr);
  const facts = JSON.parse(doctor.stdout);
  t.is(facts.addon.source, 'platform package');
  t.is(facts.backend, 'cpu');
});

const packageOf = (folder: string) => {
  const scope = path.join(folder, 'node_modules/@sweetspot');
  return `@sweetspot/${readdirSync(scope)[0]}`;
};

compiles('(a) with a compiler: builds while it installs', (t) => {
  const { folder } = install('compiled', [tarball], { env: { SWEETSPOT_REQUIRE_NATIVE: '1' } });
  t.deepEqual(readdirSync(path.join(folder, 'node_modules/sweetspot/build')).sort(), ['Release', 'install.json']);
  t.true(diskBytes(path.join(folder, 'node_modules')) < MOST_BYTES);
  runsDemo(t, folder, 'cpu');
});

wasm('(b) and (c) compute in WebAssembly, and say so once', (t) => {
  for (const folder of [bare.folder, ignoring]) {
    t.is(fallbacks(runsDemo(t, folder, 'wasm')), 1);
    t.is(fallbacks(runsDemo(t, folder, 'wasm', { SWEETSPOT_BACKEND: 'wasm' })), 0);
    const twice = `import { openBackend } from 'sweetspot';
      for (let i = 0; i < 3; i++) await openBackend().close();`;
    t.is(fallbacks(run(process.execPath, ['--input-type=module', '-e', twice], folder)), 1);
  }
});

native('(d) cpu forced: computes where there is an addon', (t) => {
  runsDemo(t, built, 'cpu', { SWEETSPOT_BACKEND: 'cpu' });
});

test.serial('(d) cpu forced: one error with every reason where there is none', (t) => {
  for (const folder of [bare.folder, ignoring]) {
    refuses(
      t,
      folder,
      { SWEETSPOT_BACKEND: 'cpu' },
      /local build .*: not there/,
      /npx sweetspot build/,
      /allowScripts/,
    );
    refuses(t, folder, { SWEETSPOT_BACKEND: 'cpu', SWEETSPOT_ADDON: tarball }, /SWEETSPOT_ADDON .*: /);
  }
});

test.serial('(d) cuda forced: refused where there is no device', (t) => {
  const cuda = surveyBackends().find(({ name }) => name === 'cuda')!;
  if (cuda.reasons.length === 0) return t.pass('there is a device');
  for (const folder of [bare.folder, ...(built === undefined ? [] : [built])])
    refuses(t, folder, { SWEETSPOT_BACKEND: 'cuda' });
});

native(`(d) wasm forced beside an addon: ${noWasm === undefined ? 'computes' : 'refused with its reason'}`, (t) => {
  if (noWasm === undefined) runsDemo(t, built, 'wasm', { SWEETSPOT_BACKEND: 'wasm' });
  else refuses(t, built, { SWEETSPOT_BACKEND: 'wasm' }, /the backend wasm cannot be used\n {2}found: /);
});

test.serial('the doctor says what is missing and ends with 1 only when nothing computes', (t) => {
  const { status, stdout } = sweetspot(bare.folder, ['doctor', '--json']);
  const facts = JSON.parse(stdout);
  t.is(status, noWasm === undefined ? 0 : 1);
  t.is(facts.backend, noWasm === undefined ? 'wasm' : null);
  t.is(facts.addon, null);
  t.true(facts.addonFailures.length > 0);
  t.is(facts.install.reason, 'no C++ compiler was found');
  const text = sweetspot(bare.folder, ['doctor']).stdout;
  t.regex(text, /the build failed: no C\+\+ compiler was found/);
  t.regex(text, /end of the log of the build:\n/);
  t.regex(sweetspot(ignoring, ['doctor']).stdout, /the install script has not run/);
});

native('the installed package is small, and quick to import', (t) => {
  const modules = path.join(built, 'node_modules');
  const bytes = diskBytes(modules);
  t.log(`${(bytes / 1e6).toFixed(1)} MB`);
  t.true(bytes < MOST_BYTES);
  t.false(existsSync(path.join(modules, 'zod')));
  const names = readdirSync(path.join(modules, 'sweetspot'), { recursive: true }) as string[];
  t.deepEqual(
    names.filter((name) => /(^|\/)(test|bench)\/|\.map$/.test(name)),
    [],
  );
  const script = `const begin = process.cpuUsage();
    await import('sweetspot');
    const { user, system } = process.cpuUsage(begin);
    console.log((user + system) / 1000);`;
  const times = Array.from({ length: 5 }, () =>
    Number(run(process.execPath, ['--input-type=module', '-e', script], built).stdout),
  );
  t.log(`import: ${Math.min(...times).toFixed(0)} ms of processor time`);
  t.true(Math.min(...times) < MOST_IMPORT_MS);
});
