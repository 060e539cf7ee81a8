// The CUDA library as the addon sees it: the reasons when there is no device, and the border between the two, with a library that
// only pretends.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { cudaInfo, loadAddon, openBackend, SweetspotError } from '../../ts/backend/index.js';
import { projectRoot } from '../conformance/coverage.js';

const addon = loadAddon();
const here = path.dirname(fileURLToPath(import.meta.url));
const sources = path.join(projectRoot(), 'test/cuda');
const compiler = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0);

function folder(t: ExecutionContext): string {
  const made = mkdtempSync(path.join(tmpdir(), 'sweetspot-cuda-'));
  t.teardown(() => rmSync(made, { recursive: true }));
  return made;
}

/** False, and a line in the log, when this machine cannot build C or has no addon. */
function can(t: ExecutionContext): boolean {
  const missing = compiler === undefined ? 'no C compiler' : 'addon' in addon ? undefined : 'no addon';
  if (missing === undefined) return true;
  t.log(`skipped: ${missing}`);
  t.pass();
  return false;
}

function build(t: ExecutionContext, source: string, target: string, ...flags: string[]): void {
  const include = path.join(projectRoot(), 'native');
  const { status, stderr } = spawnSync(compiler!, ['-I', include, '-o', target, path.join(sources, source), ...flags], {
    encoding: 'utf8',
  });
  t.is(status, 0, stderr);
}

/** A folder with the addon and a library built from fake_cuda.c; runs `script` there, which sees `backend` as `b`. */
function withFake(t: ExecutionContext, flags: readonly string[], script: string) {
  const place = folder(t);
  if ('addon' in addon) copyFileSync(addon.path, path.join(place, 'sweetspot.node'));
  build(t, 'fake_cuda.c', path.join(place, 'sweetspot_cuda.so'), '-shared', '-fPIC', ...flags);
  return runScript(place, script);
}

function runScript(place: string, script: string) {
  const module = path.join(here, '../../ts/backend');
  const text = `import * as b from ${JSON.stringify(path.join(module, 'index.js'))};
    import { encodeRow } from ${JSON.stringify(path.join(module, 'rows.js'))};
    const print = (value) => console.log(JSON.stringify(value));
    ${script}`;
  const env = { ...process.env, SWEETSPOT_ADDON: path.join(place, 'sweetspot.node') };
  const result = spawnSync(process.execPath, ['--input-type=module', '-e', text], { encoding: 'utf8', env });
  return { lines: result.stdout.split('\n').filter((line) => line !== ''), log: result.stderr, status: result.status };
}

test('without a device there is a reason, and asking for CUDA says it', (t) => {
  const info = cudaInfo();
  if (info === undefined || info.reason === undefined) {
    t.log(`skipped: ${info === undefined ? 'no addon' : `there is ${info.name}`}`);
    return t.pass();
  }
  t.true(info.reason.length > 10, info.reason);
  const error = t.throws(() => openBackend({ backend: 'cuda' }), { instanceOf: SweetspotError });
  t.is(error?.code, 'SWEETSPOT_BACKEND_UNAVAILABLE');
  t.is(error?.found, info.reason);
  t.is(openBackend({ backend: 'auto' }).name, 'cpu');
});

test('a precision that does not exist is refused before anything is opened', (t) => {
  if (!('addon' in addon)) return t.pass();
  const error = t.throws(() => openBackend({ backend: 'cuda', matmul: 'fp8' as never }), {
    instanceOf: SweetspotError,
  });
  t.is(error?.code, 'SWEETSPOT_USAGE');
  t.regex(error?.message ?? '', /fp8/);
});

test('no library, one of another version, one that is something else, one without a device', (t) => {
  if (!can(t)) return;
  const say = 'print(b.cudaInfo().reason); const c = b.openBackend(); await c.fence(); print(c.name); await c.close();';
  const empty = folder(t);
  if ('addon' in addon) copyFileSync(addon.path, path.join(empty, 'sweetspot.node'));
  const absent = runScript(empty, say);
  t.regex(absent.lines[0]!, /could not be opened.*sweetspot_cuda\.so/);
  t.is(absent.lines[1], '"cpu"');
  const old = withFake(t, ['-DFAKE_VERSION=99'], say);
  t.regex(old.lines[0]!, /interface version 99, the addon has \d+; build both again/);
  t.is(old.lines[1], '"cpu"');
  const stranger = withFake(t, ['-Dsweetspot_cuda_api=another_name'], say);
  t.regex(stranger.lines[0]!, /is not a CUDA library of sweetspot/);
  const idle = withFake(t, ['-DFAKE_REASON="the driver is asleep"'], say);
  t.is(idle.lines[0], '"the driver is asleep"');
});

test('a device: info, copies, failures when queued and when waited for, programs forgotten, closing', (t) => {
  if (!can(t)) return;
  const { lines, log, status } = withFake(
    t,
    [],
    `const { name, arch, driver } = b.cudaInfo();
    print([name, arch, driver]);
    try { b.openBackend({ backend: 'cuda', matmul: 'bf16' }); } catch (error) { print(error.found); }
    const c = b.openBackend({ backend: 'cuda', matmul: 'tf32' });
    print([c.name, c.capabilities.isa]);
    const buffer = c.alloc(256);
    const y = { buffer, offset: 64 };
    const fill = encodeRow('fill', { y }, { n: 3 }, { value: 2.5 });
    const late = encodeRow('argmax', { x: y, y: { buffer, offset: 0 } }, { rows: 1, cols: 1 }, {});
    const never = encodeRow('mul', { a: y, b: y, y }, { n: 1 }, {});
    const floats = async () => [...new Float32Array((await c.read(buffer, 64, 12)).slice().buffer)];
    const failure = (promise) => promise.then(() => 'no failure', (error) => error.message.split('\\n'));
    const first = c.compile({ words: fill });
    c.run(first);
    print(await floats());
    c.release(first);
    c.run(c.compile({ words: Uint32Array.from([...fill, ...late, ...fill]) }));
    print(await failure(c.read(buffer, 64, 12)));
    print(await failure(c.fence()));
    print(await failure(c.fence()));
    c.run(c.compile({ words: Uint32Array.from([...fill, ...never]) }));
    print(await failure(c.fence()));
    c.write(buffer, 64, new Uint8Array(Float32Array.of(7, 8, 9).buffer));
    print(await floats());
    await c.close();`,
  );
  t.is(status, 0, log);
  const late = ['failed late', '  found: row 1: argmax'];
  const [info, refused, device, filled, read, fenced, again, queued, written] = lines.map((line) => JSON.parse(line));
  t.deepEqual(info, ['fake', 'sm_90', '13.0']);
  t.is(refused, 'no bf16 here');
  t.deepEqual(device, ['cuda', 'sm_90']);
  t.deepEqual(filled, [2.5, 2.5, 2.5]);
  for (const message of [read, fenced]) {
    t.is(message[0], late[0]);
    t.true(message[1].startsWith(late[1]), message[1]);
  }
  t.is(again, 'no failure');
  t.is(queued[0], 'cannot be queued');
  t.regex(queued[1], /row 1: mul/);
  t.deepEqual(written, [7, 8, 9]);
  t.regex(log, /forgot 1\n[\s\S]*closed\n/);
});
