// Which addon is loaded, and what becomes of one that is broken, old or not there. Each in a process of its own: an addon is
// loaded once. An addon may be any file that require() takes, so old ones are a few lines of JavaScript here.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { loadAddon, packageRoot, surveyBackends } from '../../ts/backend/index.js';

const place = mkdtempSync(path.join(tmpdir(), 'sweetspot-load-'));
test.after.always(() => rmSync(place, { recursive: true }));
const native = 'addon' in loadAddon() ? test : test.skip;

const INDEX = path.join(packageRoot(), 'dist/ts/backend/index.js');

function load(env: NodeJS.ProcessEnv) {
  const script = `import { loadAddon, openBackend } from ${JSON.stringify(INDEX)};
    const { path, source, failures } = loadAddon();
    const backend = openBackend();
    console.log(JSON.stringify({ path, source, failures, name: backend.name }));
    await backend.close();`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as { path: string; source: string; failures: string[]; name: string };
}

function addon(name: string, text: string): string {
  const file = path.join(place, name);
  writeFileSync(file, text);
  return file;
}

const OTHERS: Readonly<Record<string, { file: string; text: string; reason: RegExp }>> = {
  'no addon at all': { file: 'text.node', text: 'not a library', reason: /text\.node: .+/ },
  'from before addons had a version': {
    file: 'old.cjs',
    text: 'module.exports = { cpuIsas: () => ["scalar"], Device: class {} };',
    reason: /old\.cjs: it is of version none, and this library needs 1\.[0-9a-f]{12}/,
  },
  'of another op table': {
    file: 'other.cjs',
    text: 'module.exports = { version: "1.000000000000", cpuIsas: () => ["scalar"], Device: class {} };',
    reason: /other\.cjs: it is of version 1\.000000000000/,
  },
  'one that throws': { file: 'broken.cjs', text: 'throw new Error("half a file")', reason: /broken\.cjs: half a file/ },
  'one that is not there': { file: '', text: '', reason: /not there/ },
};

for (const [name, { file, text, reason }] of Object.entries(OTHERS)) {
  native(`passed over, with its reason: ${name}`, (t) => {
    const given = file === '' ? path.join(place, 'absent.node') : addon(file, text);
    const found = load({ SWEETSPOT_ADDON: given });
    t.is(found.name, 'cpu');
    t.not(found.path, given);
    t.regex(found.failures[0]!, reason);
    t.true(found.failures[0]!.startsWith('SWEETSPOT_ADDON '));
  });
}

native('SWEETSPOT_ADDON comes first', (t) => {
  const first = loadAddon() as { path: string };
  const found = load({ SWEETSPOT_ADDON: first.path });
  t.is(found.source, 'SWEETSPOT_ADDON');
  t.deepEqual(found.failures, []);
});

test('every backend is usable or says why not', (t) => {
  const reports = surveyBackends();
  t.deepEqual(
    reports.map(({ name }) => name),
    ['cpu', 'cuda', 'wasm'],
  );
  for (const { variants, reasons } of reports) t.not(variants.length > 0, reasons.length > 0);
});
