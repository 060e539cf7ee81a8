// One holder at a time: within the process, across threads and across processes, with stale locks and a race for one.

import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { FolderLock } from '../../ts/io/lock.js';

const room = fs.mkdtempSync(join(tmpdir(), 'sweetspot-lock-'));
test.after.always(() => fs.rmSync(room, { recursive: true, force: true }));

let count = 0;
function freshFolder(): string {
  const folder = join(room, `${count++}`);
  fs.mkdirSync(folder);
  return folder;
}

const module = JSON.stringify(new URL('../../ts/io/lock.js', import.meta.url).href);
const linux = process.platform === 'linux' ? test : test.skip;

/** A pid that no process has now. */
function deadPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid;
}

function plant(folder: string, holder: object): void {
  const whole = { pid: 1, host: hostname(), started: '2024-01-01T00:00:00.000Z', startTicks: 1, ...holder };
  fs.writeFileSync(join(folder, 'run.lock'), JSON.stringify(whole));
}

function refusal(t: { throws: (f: () => unknown, e: object) => unknown }, folder: string): SweetspotError {
  return t.throws(() => FolderLock.acquire(folder), { instanceOf: SweetspotError }) as SweetspotError;
}

test('held until released, by this process too', (t) => {
  const folder = freshFolder();
  const lock = FolderLock.acquire(folder);
  const holder = JSON.parse(fs.readFileSync(join(folder, 'run.lock'), 'utf8'));
  t.is(holder.pid, process.pid);
  t.is(holder.host, hostname());
  t.true(Math.abs(Date.now() - Date.parse(holder.started)) < 60_000);
  const error = refusal(t, `${folder}/../${folder.split('/').at(-1)}`);
  t.is(error.code, 'SWEETSPOT_LOCKED');
  t.regex(error.message, /this process/);
  t.true(error.message.includes(holder.started));
  t.deepEqual(fs.readdirSync(folder), ['run.lock']);
  lock.release();
  t.deepEqual(fs.readdirSync(folder), []);
  FolderLock.acquire(folder).release();
});

test('using releases; a second release leaves the next holder alone', (t) => {
  const folder = freshFolder();
  const first = FolderLock.acquire(folder);
  first[Symbol.dispose]();
  const second = FolderLock.acquire(folder);
  first.release();
  t.true(fs.existsSync(second.path));
  plant(folder, { pid: process.pid, started: 'by hand' });
  second.release();
  t.true(fs.existsSync(second.path), 'a lock that is not ours is not removed');
});

test('release survives the removal of the folder', (t) => {
  const folder = freshFolder();
  const lock = FolderLock.acquire(folder);
  fs.rmSync(folder, { recursive: true });
  t.notThrows(() => lock.release());
});

test('a worker thread of this process is refused', async (t) => {
  const folder = freshFolder();
  using _lock = FolderLock.acquire(folder);
  const code = await new Promise((resolve, reject) => {
    const source = `import { parentPort, workerData } from 'node:worker_threads';
      import { FolderLock } from ${module};
      try { FolderLock.acquire(workerData); parentPort.postMessage('acquired'); }
      catch (error) { parentPort.postMessage(error.code); }`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), { workerData: folder });
    worker.once('message', resolve).once('error', reject);
  });
  t.is(code, 'SWEETSPOT_LOCKED');
});

test('a running process on this host is named, with its time', (t) => {
  const folder = freshFolder();
  plant(folder, { pid: process.ppid, startTicks: null });
  const error = refusal(t, folder);
  t.is(error.code, 'SWEETSPOT_LOCKED');
  t.true(error.message.includes(`process ${process.ppid} on ${hostname()} since 2024-01-01T00:00:00.000Z`));
});

test('the lock of a process that is gone is taken over', (t) => {
  const folder = freshFolder();
  plant(folder, { pid: deadPid() });
  using lock = FolderLock.acquire(folder);
  t.is(JSON.parse(fs.readFileSync(lock.path, 'utf8')).pid, process.pid);
  t.deepEqual(fs.readdirSync(folder), ['run.lock']);
});

linux('a reused pid is unmasked by its start time', (t) => {
  const folder = freshFolder();
  plant(folder, { pid: process.ppid, startTicks: 1 });
  t.notThrows(() => FolderLock.acquire(folder).release());
});

linux('a process that has ended but was not waited for holds nothing', async (t) => {
  const folder = freshFolder();
  // The shell becomes a sleep before its child ends, and never waits for what it inherits: the child stays a zombie.
  const parent = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 30'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const pid = Number(await new Promise((resolve) => parent.stdout.once('data', (data) => resolve(`${data}`))));
    while (!/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'))) await new Promise((r) => setTimeout(r, 5));
    plant(folder, { pid, startTicks: Number(fs.readFileSync(`/proc/${pid}/stat`, 'latin1').split(' ')[21]) });
    t.notThrows(() => FolderLock.acquire(folder).release());
  } finally {
    parent.kill();
  }
});

test('a lock of another host is never judged stale', (t) => {
  const folder = freshFolder();
  plant(folder, { pid: deadPid(), host: 'elsewhere' });
  const error = refusal(t, folder);
  t.is(error.code, 'SWEETSPOT_LOCKED');
  t.regex(error.message, /on elsewhere/);
  t.regex(error.fix ?? '', /delete/);
});

test('a lock that cannot be understood is refused, not removed', (t) => {
  for (const text of ['', 'null', '{"pid":', '{"pid":-1,"host":"a","started":"b","startTicks":1}', '[]']) {
    const folder = freshFolder();
    fs.writeFileSync(join(folder, 'run.lock'), text);
    t.is(refusal(t, folder).code, 'SWEETSPOT_LOCKED');
    t.is(fs.readFileSync(join(folder, 'run.lock'), 'utf8'), text);
  }
});

test('a crash in the middle of a takeover is taken over in turn; a living one is respected', (t) => {
  const folder = freshFolder();
  plant(folder, { pid: deadPid() });
  const claim = join(folder, 'run.lock.takeover');
  fs.copyFileSync(join(folder, 'run.lock'), claim);
  FolderLock.acquire(folder).release();
  t.deepEqual(fs.readdirSync(folder), []);

  plant(folder, { pid: process.ppid, startTicks: null });
  fs.renameSync(join(folder, 'run.lock'), claim);
  plant(folder, { pid: deadPid() });
  t.is(refusal(t, folder).code, 'SWEETSPOT_LOCKED');
  t.deepEqual(fs.readdirSync(folder).sort(), ['run.lock', 'run.lock.takeover']);
});

test('a missing folder is an input error', (t) => {
  t.is(refusal(t, join(room, 'missing')).code, 'SWEETSPOT_INPUT');
});

test('of many processes that find the same stale lock, one wins', async (t) => {
  const folders = Array.from({ length: 40 }, freshFolder);
  const pid = deadPid();
  for (const folder of folders) plant(folder, { pid });
  // All contenders wait for the same instant before each folder, and hold what they win until all are done.
  const source = `import { FolderLock } from ${module};
    const [start, ...folders] = process.argv.slice(1);
    let won = '';
    for (const [i, folder] of folders.entries()) {
      while (Date.now() < Number(start) + 4 * i) {}
      try { FolderLock.acquire(folder); won += i + ' '; } catch (error) { if (error.code !== 'SWEETSPOT_LOCKED') throw error; }
    }
    console.log(won);
    process.stdin.resume().on('end', () => {});`;
  const start = `${Date.now() + 1000}`;
  const contenders = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', source, start, ...folders]),
  );
  const outputs = contenders.map(
    (child) =>
      new Promise<string>((resolve, reject) => {
        child.stdout.once('data', (data) => resolve(`${data}`));
        child.stderr.once('data', (data) => reject(new Error(`${data}`)));
      }),
  );
  const winners = new Array<number>(folders.length).fill(0);
  // The winners must live until every contender has tried, or their locks would be stale in their turn.
  const won = await Promise.all(outputs).finally(() => {
    for (const child of contenders) child.stdin.end();
  });
  for (const list of won) for (const i of list.trim().split(' ').filter(Boolean)) winners[Number(i)]!++;
  t.deepEqual(winners, new Array(folders.length).fill(1));
  for (const folder of folders) t.deepEqual(fs.readdirSync(folder), ['run.lock']);
});
