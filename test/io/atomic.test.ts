// Whole or not at all: the happy paths, and every failure that can be brought about without root. A full disk is played
// by a child process whose files may not grow past 8 KiB (ulimit -f): the system then takes a part of a write and
// refuses the rest, exactly as a disk does when it fills up.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { appendLine, createFolderAtomic, writeFileAtomic } from '../../ts/io/atomic.js';

const room = fs.mkdtempSync(join(tmpdir(), 'sweetspot-atomic-'));
test.after.always(() => fs.rmSync(room, { recursive: true, force: true }));

let count = 0;
function freshFolder(): string {
  const folder = join(room, `${count++}`);
  fs.mkdirSync(folder);
  return folder;
}

/** Runs `body` (statements of a module) where no file can grow past 8 KiB; returns what it prints. */
function withFullDisk(body: string, ...argv: string[]): string {
  const module = fileURLToPath(new URL('../../ts/io/atomic.js', import.meta.url));
  const script = `import * as atomic from ${JSON.stringify(module)};
    const [a] = process.argv.slice(1);
    try { ${body} } catch (error) { process.stdout.write(error.code + ' ' + error.cause?.code); }`;
  const limited = 'ulimit -f 16 2>/dev/null && exec "$@"';
  const node = [process.execPath, '--input-type=module', '-e', script, ...argv];
  return execFileSync('sh', ['-c', limited, 'sh', ...node], { encoding: 'utf8' });
}

const posix = process.platform === 'win32' ? test.skip : test;

test('writeFileAtomic stores strings, bytes and parts, and replaces', (t) => {
  const folder = freshFolder();
  const path = join(folder, 'file');
  writeFileAtomic(path, 'größe');
  t.is(fs.readFileSync(path, 'utf8'), 'größe');
  writeFileAtomic(path, Uint8Array.of(1, 2, 3).subarray(1));
  t.deepEqual([...fs.readFileSync(path)], [2, 3]);
  writeFileAtomic(path, [Uint8Array.of(9), new Uint8Array(0), Uint8Array.of(8, 7)]);
  t.deepEqual([...fs.readFileSync(path)], [9, 8, 7]);
  writeFileAtomic(path, []);
  t.is(fs.readFileSync(path).length, 0);
  t.deepEqual(fs.readdirSync(folder), ['file']);
});

test('writeFileAtomic names a missing folder and leaves a folder in its place alone', (t) => {
  const folder = freshFolder();
  t.is(
    t.throws(() => writeFileAtomic(join(folder, 'no', 'file'), 'x'), { instanceOf: SweetspotError })?.code,
    'SWEETSPOT_INPUT',
  );
  fs.mkdirSync(join(folder, 'taken'));
  t.is(t.throws(() => writeFileAtomic(`${folder}/taken/`, 'x'), { instanceOf: SweetspotError })?.code, 'SWEETSPOT_IO');
  fs.writeFileSync(join(folder, 'plain'), 'x');
  const below = t.throws(() => writeFileAtomic(join(folder, 'plain', 'file'), 'x'), { instanceOf: SweetspotError });
  t.is(below?.code, 'SWEETSPOT_INPUT');
  t.deepEqual(fs.readdirSync(folder).sort(), ['plain', 'taken']);
  t.deepEqual(fs.readdirSync(join(folder, 'taken')), []);
});

posix('a full disk leaves the old file and no temporary', (t) => {
  const folder = freshFolder();
  const path = join(folder, 'file');
  fs.writeFileSync(path, 'old');
  t.is(withFullDisk('atomic.writeFileAtomic(a, new Uint8Array(100_000))', path), 'SWEETSPOT_IO EFBIG');
  t.is(fs.readFileSync(path, 'utf8'), 'old');
  t.deepEqual(fs.readdirSync(folder), ['file']);
  t.is(withFullDisk('atomic.writeFileAtomic(a, new Uint8Array(8000))', path), '');
  t.is(fs.readFileSync(path).length, 8000);
});

posix('a full disk leaves a log as it was', (t) => {
  const path = join(freshFolder(), 'log');
  fs.writeFileSync(path, 'first\n');
  t.is(withFullDisk(`atomic.appendLine(a, 'x'.repeat(100_000))`, path), 'SWEETSPOT_IO EFBIG');
  t.is(fs.readFileSync(path, 'utf8'), 'first\n');
});

posix('a full disk leaves no folder', (t) => {
  const folder = freshFolder();
  const fill = `async (tmp) => { (await import('node:fs')).writeFileSync(tmp + '/big', new Uint8Array(100_000)); }`;
  t.is(withFullDisk(`await atomic.createFolderAtomic(a, ${fill})`, join(folder, 'run')), 'SWEETSPOT_IO EFBIG');
  t.deepEqual(fs.readdirSync(folder), []);
});

test('createFolderAtomic shows the folder only when it is whole, and creates parents', async (t) => {
  const folder = freshFolder();
  const target = join(folder, 'a', 'b');
  await createFolderAtomic(`${target}/`, async (tmp) => {
    fs.mkdirSync(join(tmp, 'sub'));
    fs.writeFileSync(join(tmp, 'sub', 'file'), 'x');
    await Promise.resolve();
    t.false(fs.existsSync(target));
  });
  t.is(fs.readFileSync(join(target, 'sub', 'file'), 'utf8'), 'x');
  t.deepEqual(fs.readdirSync(join(folder, 'a')), ['b']);
});

test('createFolderAtomic refuses anything that exists before it calls fill', async (t) => {
  const folder = freshFolder();
  fs.writeFileSync(join(folder, 'file'), '');
  fs.mkdirSync(join(folder, 'empty'));
  fs.symlinkSync('nowhere', join(folder, 'link'));
  const before = fs.readdirSync(folder);
  for (const name of before) {
    const refused = createFolderAtomic(join(folder, name), async () => t.fail());
    t.is((await t.throwsAsync(refused, { instanceOf: SweetspotError }))?.code, 'SWEETSPOT_EXISTS');
  }
  t.deepEqual(fs.readdirSync(folder), before);
});

test('createFolderAtomic keeps the folder of a faster process', async (t) => {
  const folder = freshFolder();
  const target = join(folder, 'run');
  const late = createFolderAtomic(target, async () => {
    fs.mkdirSync(target);
    fs.writeFileSync(join(target, 'theirs'), '');
  });
  t.is((await t.throwsAsync(late, { instanceOf: SweetspotError }))?.code, 'SWEETSPOT_EXISTS');
  t.deepEqual(fs.readdirSync(folder), ['run']);
  t.deepEqual(fs.readdirSync(target), ['theirs']);
});

test('createFolderAtomic clears up and throws on what fill threw', async (t) => {
  const folder = freshFolder();
  const abort = new AbortController();
  abort.abort();
  const thrown: unknown[] = [new RangeError('a bug'), abort.signal.reason, undefined];
  for (const reason of thrown) {
    const failing = createFolderAtomic(join(folder, 'run'), async (tmp) => {
      fs.writeFileSync(join(tmp, 'file'), 'x');
      throw reason;
    });
    t.is(
      await failing.then(
        () => 'resolved',
        (error: unknown) => error,
      ),
      reason,
    );
    t.deepEqual(fs.readdirSync(folder), []);
  }
  const system = createFolderAtomic(join(folder, 'run'), async (tmp) => void fs.readFileSync(join(tmp, 'missing')));
  t.is((await t.throwsAsync(system, { instanceOf: SweetspotError }))?.code, 'SWEETSPOT_INPUT');
  t.deepEqual(fs.readdirSync(folder), []);
});

test('appendLine creates, appends and closes a torn last line first', (t) => {
  const path = join(freshFolder(), 'log');
  appendLine(path, 'one');
  appendLine(path, '');
  appendLine(path, 'zwölf');
  t.is(fs.readFileSync(path, 'utf8'), 'one\n\nzwölf\n');
  fs.appendFileSync(path, '{"step":');
  appendLine(path, '{"step":2}');
  t.is(fs.readFileSync(path, 'utf8'), 'one\n\nzwölf\n{"step":\n{"step":2}\n');
});

test('appendLine refuses a newline inside, and names a missing folder', (t) => {
  const path = join(freshFolder(), 'log');
  t.is(t.throws(() => appendLine(path, 'a\nb'), { instanceOf: SweetspotError })?.code, 'SWEETSPOT_USAGE');
  t.false(fs.existsSync(path));
  t.is(t.throws(() => appendLine(join(path, 'x'), 'a'), { instanceOf: SweetspotError })?.code, 'SWEETSPOT_INPUT');
});
