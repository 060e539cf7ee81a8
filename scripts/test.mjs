// `npm test`: the quick checks, then ava on the compiled tests; ends with ava's summary and "N passed, N failed" alone on a line.
import { spawnSync } from 'node:child_process';
import path from 'node:path';

const root = path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '..');
for (const script of [
  ['bindings/generate.mjs', '--check'],
  ['scripts/check-imports.mjs'],
  ['scripts/docs.mjs', '--check'],
]) {
  const { status } = spawnSync(process.execPath, script, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}
// Without the addon everything computes in WebAssembly, chosen by name: the warning of falling back would meet tests of what is printed.
const { loadAddon } = await import(path.join(root, 'dist', 'bindings', 'load.js'));
const env = { ...process.env };
if (!('addon' in loadAddon())) {
  console.log('there is no addon here: the tests compute in WebAssembly');
  env.SWEETSPOT_BACKEND ||= 'wasm';
}
const ava = path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs');
const run = spawnSync(process.execPath, [ava, '--tap', ...process.argv.slice(2)], {
  cwd: root,
  env,
  encoding: 'utf8',
  maxBuffer: 1 << 28,
});
const lines = run.stdout.split('\n');
for (const line of lines) if (/^ok .*# SKIP/.test(line)) console.log(line.replace(/^ok \d+ - /, 'skipped: '));
// TAP: a failure is its "not ok" line and the indented block after it.
let failing = false;
for (const line of lines) {
  if (line.startsWith('not ok')) failing = true;
  else if (/^(ok|#|1\.\.)/.test(line)) failing = false;
  if (failing) console.log(line);
}
if (run.stderr) process.stderr.write(run.stderr);
const count = (name) =>
  Number(
    lines
      .findLast((line) => line.startsWith(`# ${name} `))
      ?.split(' ')
      .at(-1) ?? 0,
  );
const [tests, passed, failed] = [count('tests'), count('pass'), count('fail')];
const broken = run.status !== 0 && failed === 0 ? 1 : 0;
console.log(`ava: ${tests} tests`);
console.log(`${passed} passed, ${failed + broken} failed`);
process.exit(run.status ?? 1);
