// The host of the WebAssembly backend (bindings/wasm): memory, order, failures and the ends of threads. What kernels compute is the
// business of test/conformance.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { Engine } from '../../bindings/wasm/engine.js';
import { Heap } from '../../bindings/wasm/heap.js';
import { wasmModule } from '../../bindings/wasm/node.js';
import { checkRows } from '../../ts/backend/check.js';
import { type Backend, type BufferId, SweetspotError } from '../../ts/backend/index.js';
import { encodeRow } from '../../ts/backend/rows.js';
import { openWasm } from '../../ts/backend/wasm.js';
import { Prng } from '../../ts/tensor/prng.js';
import { projectRoot } from '../conformance/coverage.js';

const GIB = 2 ** 30;
const modules = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../ts/backend');

const open = (threads = 2, shared = true): Backend => openWasm({ isa: 'simd', threads, shared });
const bytesOf = (values: readonly number[]) => new Uint8Array(Float32Array.from(values).buffer);
const numbers = async (backend: Backend, id: BufferId, count: number) => [
  ...new Float32Array((await backend.read(id, 0, count * 4)).slice().buffer),
];

/** y = value, n numbers. */
const fill = (id: BufferId, n: number, value: number) =>
  encodeRow('fill', { y: { buffer: id, offset: 0 } }, { n }, { value });
/** y = y + y */
function twice(id: BufferId, n: number) {
  const place = { buffer: id, offset: 0 };
  return encodeRow('add', { a: place, b: place, y: place }, { n }, { alpha: 1, beta: 1 });
}

/** A Program that keeps two threads busy for a minute and more, over a buffer of 16 MiB. */
function endless(backend: Backend) {
  const n = 4 << 20;
  const buffer = backend.alloc(n * 4);
  const row = twice(buffer, n);
  const words = new Uint32Array(row.length * 20_000);
  for (let at = 0; at < words.length; at += row.length) words.set(row, at);
  return backend.compile({ words });
}

/** Runs a script in a process of its own; `open` and `endless` are there. */
function inProcess(script: string) {
  const text = `import { openWasm } from ${JSON.stringify(path.join(modules, 'wasm.js'))};
    import { encodeRow } from ${JSON.stringify(path.join(modules, 'rows.js'))};
    const open = (threads = 2, shared = true) => openWasm({ isa: 'simd', threads, shared });
    ${twice}
    ${endless}
    ${script}`;
  const start = performance.now();
  const options = { encoding: 'utf8', timeout: 60_000 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', text], options);
  return { status, stdout, stderr, ms: performance.now() - start };
}

test('a block never overlaps another, and what is freed comes back whole', (t) => {
  const random = new Prng(7);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 512 });
  const heap = new Heap(memory, 8192);
  const blocks: { at: number; bytes: number }[] = [];
  let refused = 0;
  for (let step = 0; step < 20_000; step++) {
    // Phases that mostly take and phases that mostly give back, so that memory is full and nearly empty in turn.
    const taking = random.int(100) < (Math.floor(step / 1000) % 2 === 0 ? 70 : 30);
    if (taking || blocks.length === 0) {
      const bytes = random.int(10) === 0 ? random.int(4 << 20) : random.int(5000);
      const at = heap.alloc(bytes);
      if (at === 0) refused++;
      else blocks.push({ at, bytes });
    } else {
      const [gone] = blocks.splice(random.int(blocks.length), 1);
      heap.free(gone!.at);
    }
    if (step % 100 !== 0) continue;
    const sorted = [...blocks].sort((a, b) => a.at - b.at);
    let end = 8192;
    for (const { at, bytes } of sorted) {
      if (at % 64 !== 0 || at < end) t.fail(`step ${step}: a block at ${at}, the one before ends at ${end}`);
      end = at + Math.max(bytes, 1);
    }
    if (end > memory.buffer.byteLength) t.fail(`step ${step}: a block ends at ${end} of ${memory.buffer.byteLength}`);
  }
  t.true(refused > 0, 'memory never ran out, so that was not tried');
  for (const { at } of blocks) heap.free(at);
  // All ranges have joined: one block takes the whole memory, and nothing is left.
  const all = memory.buffer.byteLength - 8192;
  t.is(heap.alloc(all), 8192);
  t.is(heap.alloc(1), 0, 'of a memory that is full and cannot grow');
  heap.free(8192);
  heap.free(8192);
  t.is(heap.alloc(all), 8192, 'after it was freed twice');
});

test('memory grows by what is missing, in steps, and to the last page', (t) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 200 });
  const heap = new Heap(memory, 64);
  t.is(heap.alloc(100), 64);
  t.is(memory.buffer.byteLength, 65536);
  const second = heap.alloc(65536);
  t.is(second, 192, 'what was free at the end is part of it');
  t.is(memory.buffer.byteLength, 65536 + (4 << 20));
  const rest = 200 * 65536 - (second + 65536);
  t.is(heap.alloc(rest + 1), 0);
  t.is(heap.alloc(rest), second + 65536, 'less than a step was left to grow by');
  t.is(memory.buffer.byteLength, 200 * 65536);
});

test('memory that runs out behind a queue is told by the next fence, and what has its memory goes on', (t) => {
  // 2 MiB in all, which no caller could have weighed: as if 4 GiB were in pieces.
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 32, shared: true });
  const engine = new Engine({ role: 'stream', module: wasmModule('simd', true), memory, threads: 1 });
  const fence = () => engine.do({ do: 'fence', ticket: 1 });
  const link = (program: number, words: Uint32Array) => {
    const { rows, operands } = checkRows(words, () => {});
    engine.do({ do: 'compile', program, words, rows, operands });
  };
  engine.do({ do: 'alloc', id: 0, bytes: 1 << 20 });
  engine.do({ do: 'alloc', id: 1, bytes: 1 << 20 });
  link(7, fill(1, 1, 1));
  engine.do({ do: 'run', program: 7 });
  t.regex(
    engine.do({ do: 'read', ticket: 2, id: 1, offset: 0, length: 4 })?.error ?? '',
    /no WebAssembly memory for a buffer/,
  );
  t.deepEqual(fence(), { ticket: 1, error: 'alloc failed: no WebAssembly memory for a buffer of 1048576 bytes' });
  engine.do({ do: 'run', program: 7 });
  t.regex(fence()?.error ?? '', /program 7 is not compiled/);
  engine.do({ do: 'free', id: 1 });

  // A kernel's scratch: half a million ids need 2 MiB of counts.
  const place = { buffer: 0, offset: 0 };
  link(
    8,
    encodeRow('embedding_backward', { dy: place, ids: place, dtable: place }, { rows: 0, cols: 1, vocab: 500_000 }, {}),
  );
  engine.do({ do: 'run', program: 8 });
  t.regex(fence()?.error ?? '', /^8\t0\tthere is no memory for 2000008 bytes of scratch$/);
  link(9, fill(0, 2, 4));
  engine.do({ do: 'run', program: 9 });
  const { bytes } = engine.do({ do: 'read', ticket: 3, id: 0, offset: 0, length: 8 })!;
  t.deepEqual([...new Float32Array(bytes!.buffer)], [4, 4]);
  t.deepEqual(fence(), { ticket: 1 });
});

for (const shared of [true, false]) {
  const memory = shared ? 'shared memory' : 'memory of its own';

  test.serial(`more than 4 GiB is refused with a typed error, and no harm is done (${memory})`, async (t) => {
    const backend = open(2, shared);
    t.is(backend.capabilities.threads, shared ? 2 : 1);
    const kept = backend.alloc(64);
    backend.write(kept, 0, bytesOf([5]));
    for (const bytes of [4 * GIB, 8 * GIB, Number.MAX_SAFE_INTEGER]) {
      const error = t.throws(() => backend.alloc(bytes), { instanceOf: SweetspotError });
      t.is(error?.code, 'SWEETSPOT_BACKEND_UNAVAILABLE');
      t.regex(error?.message ?? '', new RegExp(`no buffer of ${bytes} bytes\\n.*4 GiB of WebAssembly 64 are in use`));
    }
    for (const bytes of [-1, 1.5, NaN]) t.throws(() => backend.alloc(bytes), { instanceOf: SweetspotError });
    t.is(backend.allocated(), 64);
    await backend.fence();
    t.deepEqual(await numbers(backend, kept, 1), [5]);
    backend.free(kept);
    t.is(backend.allocated(), 0);
    await backend.close();
  });

  test.serial(
    `buffers start as zeros, keep what is written while memory grows, and come back (${memory})`,
    async (t) => {
      const backend = open(2, shared);
      const small = backend.alloc(64);
      backend.write(small, 0, bytesOf([1, 2]));
      const before = process.memoryUsage.rss();
      for (let round = 0; round < 10; round++) {
        const ids = [backend.alloc(40 << 20), backend.alloc(round * 1000)];
        t.deepEqual(await numbers(backend, ids[0]!, 3), [0, 0, 0]);
        backend.run(backend.compile({ words: fill(ids[0]!, 10 << 20, round) }));
        t.deepEqual(await numbers(backend, ids[0]!, 2), [round, round]);
        for (const id of ids) backend.free(id);
      }
      t.true(process.memoryUsage.rss() - before < 200 << 20, '400 MiB one after the other stay below 200');
      t.deepEqual(await numbers(backend, small, 2), [1, 2]);
      t.is(backend.allocated(), 64);
      await backend.close();
    },
  );

  test.serial(`writes, runs, reads and fences happen in the order of the calls (${memory})`, async (t) => {
    const backend = open(3, shared);
    const buffer = backend.alloc(40_000);
    const double = backend.compile({ words: twice(buffer, 10_000) });
    const seen: string[] = [];
    const answers: Promise<void>[] = [];
    for (let i = 1; i <= 50; i++) {
      const bytes = bytesOf([i]);
      backend.write(buffer, 0, bytes);
      bytes.fill(255); // It was copied before write returned.
      backend.run(double);
      answers.push(numbers(backend, buffer, 1).then(([value]) => void seen.push(`read ${value}`)));
      if (i % 10 === 0) answers.push(backend.fence().then(() => void seen.push('fence')));
    }
    await Promise.all(answers);
    const due = Array.from({ length: 50 }, (_, i) => [`read ${(i + 1) * 2}`, ...(i % 10 === 9 ? ['fence'] : [])]);
    t.deepEqual(seen, due.flat());
    await backend.close();
  });

  test.serial(
    `a Program whose buffer was freed is refused, and one that waits for its run is not (${memory})`,
    async (t) => {
      const backend = open(2, shared);
      const [freed, kept] = [backend.alloc(64), backend.alloc(64)];
      const program = backend.compile({ words: Uint32Array.from([...fill(kept, 2, 3), ...fill(freed, 1, 1)]) });
      backend.run(program);
      backend.free(freed);
      t.throws(() => backend.run(program), { message: /uses buffer \d+, which was freed/ });
      const again = backend.alloc(64);
      t.is(again, freed, 'the number is used again');
      t.throws(() => backend.run(program), { message: /which was freed/ });
      t.throws(() => backend.write(again, 60, new Uint8Array(8)), { message: /bytes 60 to 68 of a buffer of 64/ });
      await t.throwsAsync(backend.read(again + 100, 0, 1), { message: /is not allocated/ });
      backend.free(again);
      t.throws(() => backend.free(again), { message: /is not allocated/ });
      t.throws(() => backend.compile({ words: fill(again, 1, 1) }), {
        instanceOf: SweetspotError,
        message: /not allocated/,
      });
      t.throws(() => backend.compile({ words: fill(kept, 17, 1) }), {
        message: /fill y.*bytes 0 to 68 of a buffer of 64/,
      });
      t.deepEqual(await numbers(backend, kept, 2), [3, 3]);
      backend.release(program);
      t.throws(() => backend.run(program), { message: /is not compiled/ });
      await backend.close();
    },
  );

  test.serial(`an error is latched until the fence, then everything works again (${memory})`, async (t) => {
    const backend = open(2, shared);
    const [y, wrong] = [backend.alloc(64), backend.alloc(128)];
    backend.write(wrong, 0, new Uint8Array(Int32Array.of(7).buffer));
    const places = {
      table: { buffer: y, offset: 0 },
      ids: { buffer: wrong, offset: 0 },
      y: { buffer: wrong, offset: 64 },
    };
    const bad = encodeRow('embedding', places, { rows: 1, cols: 1, vocab: 3 }, {});
    const program = backend.compile({ words: Uint32Array.from([...fill(y, 1, 1), ...bad, ...fill(y, 1, 2)]) });
    const next = backend.compile({ words: fill(y, 1, 9) });
    backend.run(program);
    backend.run(next);
    const early = backend.read(y, 0, 4);
    const message = /token id 7 is outside the table of 3 rows.*\n.*row 1: embedding/;
    await t.throwsAsync(early, { instanceOf: SweetspotError, message });
    await t.throwsAsync(backend.fence(), { instanceOf: SweetspotError, message });
    t.deepEqual(await numbers(backend, y, 1), [1], 'rows and Programs behind the failed row were skipped');
    backend.run(next);
    await backend.fence();
    t.deepEqual(await numbers(backend, y, 1), [9]);
    await backend.close();
  });

  test.serial(`closing in the middle of a long run rejects what waits and ends soon (${memory})`, async (t) => {
    const backend = open(2, shared);
    const buffer = backend.alloc(64);
    backend.run(endless(backend));
    const waiting = [backend.fence(), backend.read(buffer, 0, 4)];
    await new Promise((resolve) => setTimeout(resolve, 200));
    const start = performance.now();
    await backend.close();
    for (const promise of waiting) await t.throwsAsync(promise, { instanceOf: SweetspotError, message: /is closed/ });
    t.true(performance.now() - start < 1000);
    await backend.close();
    t.is(backend.allocated(), 0);
    t.throws(() => backend.alloc(64), { instanceOf: SweetspotError, message: /is closed/ });
    t.throws(() => backend.free(buffer), { message: /is closed/ });
    await t.throwsAsync(backend.fence(), { instanceOf: SweetspotError, message: /is closed/ });
  });

  test.serial(`a process ends by itself, closed or not, idle or at work (${memory})`, (t) => {
    const end = (script: string) => {
      const { status, stdout, stderr, ms } = inProcess(`const b = open(2, ${shared}); ${script}`);
      t.is(stderr, '');
      t.is(status, 0, script);
      t.true(ms < 20_000, `${ms} ms: ${script}`);
      return stdout.trim();
    };
    t.is(end('b.run(endless(b)); setTimeout(() => process.exit(), 300); await b.fence();'), '', 'exit in the middle');
    const late = 'const y = b.alloc(64); await b.fence(); console.log((await b.read(y, 0, 4)).length);';
    t.is(end(late), '4', 'a pending answer keeps it alive, and nothing else');
    if (!shared) return;
    t.is(end(''), '', 'threads were still starting');
    t.is(end('await b.fence(); b.run(endless(b));'), '', 'a run nobody waits for');
    t.is(end('await b.fence(); b.run(endless(b)); setTimeout(() => b.close(), 300);'), '', 'closed in the middle');
  });
}

test.serial('many backends, one after the other', async (t) => {
  for (let i = 0; i < 20; i++) {
    const backend = open(1 + (i % 3), i % 4 !== 0);
    const y = backend.alloc(400);
    backend.run(backend.compile({ words: fill(y, 100, i) }));
    if (i % 2 === 0) t.deepEqual(await numbers(backend, y, 1), [i]);
    await backend.close();
  }
});

function withoutModules(t: ExecutionContext, kept: readonly string[]): string {
  const root = projectRoot();
  const place = mkdtempSync(path.join(tmpdir(), 'sweetspot-wasm-'));
  t.teardown(() => rmSync(place, { recursive: true }));
  for (const part of ['package.json', 'dist/ts', 'dist/bindings', ...kept])
    cpSync(path.join(root, part), path.join(place, part), { recursive: true });
  symlinkSync(path.join(root, 'node_modules'), path.join(place, 'node_modules'));
  return place;
}

test.serial('a missing module is named, with what to do', (t) => {
  const say = (place: string, options: string) => {
    const text = `const { openWasm } = await import(${JSON.stringify(path.join(place, 'dist/ts/backend/wasm.js'))});
      try { await openWasm(${options}).close(); console.log('opened'); }
      catch (error) { console.log(error.code, error.message); }`;
    return spawnSync(process.execPath, ['--input-type=module', '-e', text], { encoding: 'utf8' }).stdout;
  };
  const none = say(withoutModules(t, []), '{ threads: 2 }');
  t.regex(none, /^SWEETSPOT_BACKEND_UNAVAILABLE the backend wasm cannot be used/);
  t.regex(none, /found: [\s\S]*relaxed-threads\.wasm[\s\S]*simd-threads\.wasm.*no such file/);
  t.regex(none, /to fix: [\s\S]*install the package again/);
  const half = withoutModules(t, ['dist/assembly/simd-threads.wasm']);
  t.is(say(half, '{ threads: 2 }').trim(), 'opened');
  t.regex(say(half, '{ threads: 2, shared: false }'), /^SWEETSPOT_BACKEND_UNAVAILABLE [\s\S]* simd\.wasm/);
  t.regex(
    say(half, `{ threads: 2, isa: 'relaxed' }`),
    /^SWEETSPOT_USAGE .*'relaxed'[\s\S]*one of simd\n[\s\S]*relaxed-threads\.wasm/,
  );
});
