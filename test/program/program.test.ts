// A Program: readable in print, refused whole, replayed bit for bit, given back; and the cache of Programs.
import test from 'ava';
import { tape } from '../../ts/autograd/tape.js';
import type { Backend } from '../../ts/backend/backend.js';
import { openBackend, SweetspotError } from '../../ts/backend/index.js';
import { add } from '../../ts/ops/elementwise.js';
import { linear } from '../../ts/ops/matmul.js';
import { rmsNorm } from '../../ts/ops/norm.js';
import { ProgramCache } from '../../ts/program/cache.js';
import { Program } from '../../ts/program/program.js';
import { bufferTensor, type Tensor } from '../../ts/tensor/tensor.js';

let backend: Backend;
test.before(() => {
  backend = openBackend();
});
test.after.always(() => backend?.close());

function input(name: string, shape: number[], fill = 1): Tensor {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => fill * Math.sin(i + 1));
  const buffer = backend.alloc(values.byteLength);
  backend.write(buffer, 0, new Uint8Array(values.buffer));
  return bufferTensor(name, shape, 'f32', { buffer, offset: 0 });
}

function recordLayer(name = 'layer'): Program {
  const [x, w, norm] = [input('x', [4, 16]), input('w', [16, 16]), input('norm', [16])];
  return Program.record(backend, name, (t) => t.output('y', add(x, linear(rmsNorm(x, norm, 1e-5), w))));
}

test('print lists memory, then one line a row with names, types, shapes and scalars', (t) => {
  const program = recordLayer();
  const lines = program.print().split('\n');
  t.is(lines.length, 4);
  const { arenaBytes, sumBytes } = program.plan;
  t.regex(lines[0]!, new RegExp(`^program layer: 3 rows, arena ${arenaBytes} bytes of ${sumBytes} \\(\\d+%\\)$`));
  t.regex(
    lines[1]!,
    /^ +0 {2}rms_norm x=x:f32\[4,16\] w=norm:f32\[16\] -> y=%0:f32\[4,16\] rstd=%1:f32\[4\] \(eps 0\.00001\)$/,
  );
  t.regex(lines[2]!, /^ +1 {2}gemm a=%0:f32.* b=w:f32\[1?,?16,16\].* -> c=%2:f32.*transB 1/);
  t.regex(lines[3]!, /^ +2 {2}add a=x:f32\[64\] b=%2:f32\[64\] -> y=%3:f32\[64\]/);
  program.release();
});

test('a replay gives the same bits', async (t) => {
  const program = recordLayer();
  program.run();
  const first = await program.read('y');
  t.true(first.some((value) => value !== 0));
  for (let i = 0; i < 5; i++) program.run();
  t.deepEqual(await program.read('y'), first);
  program.release();
});

test('reads see the runs queued before them and not those after', async (t) => {
  const x = input('x', [16]);
  const program = Program.record(backend, 'double', (now) => now.output('y', add(x, x)));
  const place = x.storage.kind === 'buffer' ? x.storage.place.buffer : -1;
  const pending = [];
  for (let i = 0; i < 20; i++) {
    backend.write(place, 0, new Uint8Array(new Float32Array(16).fill(i).buffer));
    program.run();
    pending.push(program.read('y'));
  }
  const values = await Promise.all(pending);
  t.deepEqual(
    values.map((y) => y[3]),
    Array.from({ length: 20 }, (_, i) => 2 * i),
  );
  program.release();
});

test('release gives the arena back, once', async (t) => {
  const own = openBackend();
  const buffer = own.alloc(64);
  const x = bufferTensor('x', [16], 'f32', { buffer, offset: 0 });
  const before = own.allocated();
  const program = Program.record(own, 'double', (now) => now.output('y', add(x, x)));
  t.true(own.allocated() >= before + program.plan.arenaBytes);
  program.run();
  program.release();
  program.release();
  await own.fence();
  t.is(own.allocated(), before);
  await own.close();
});

test('a Program that the backend refuses leaves no memory behind', async (t) => {
  const own = openBackend();
  const outside = bufferTensor('outside', [1 << 20], 'f32', { buffer: own.alloc(64), offset: 0 });
  await own.fence();
  const before = own.allocated();
  const record = () => {
    Program.record(own, 'outside', (now) => now.output('y', add(outside, outside)));
  };
  t.throws(record, { instanceOf: SweetspotError, code: 'SWEETSPOT_PROGRAM' });
  await own.fence();
  t.is(own.allocated(), before);
  await own.close();
});

test('an op whose operands do not fit is refused while it is written down, by name', (t) => {
  const [x, w] = [input('x', [4, 16]), input('w', [16, 32])];
  const record = () => {
    Program.record(backend, 'wrong', () => linear(x, w));
  };
  t.throws(record, { instanceOf: SweetspotError, code: 'SWEETSPOT_PROGRAM', message: /linear: x.*32.*\[4,16\]/s });
  t.throws(
    () => tape(),
    { instanceOf: SweetspotError, message: /outside record/ },
    'the tape is closed after a failure',
  );
});

test('the cache records once a key and releases the one not used for longest', async (t) => {
  const own = openBackend();
  const x = bufferTensor('x', [16], 'f32', { buffer: own.alloc(64), offset: 0 });
  const empty = own.allocated();
  const cache = new ProgramCache(2);
  const made: string[] = [];
  const get = (key: string) =>
    cache.get(key, () => {
      made.push(key);
      return Program.record(own, key, (now) => now.output('y', add(x, x)));
    });
  const a = get('a');
  const arena = own.allocated() - empty;
  get('b');
  t.is(get('a'), a);
  get('c');
  get('a');
  get('b');
  t.deepEqual(made, ['a', 'b', 'c', 'b']);
  t.is(cache.size, 2);
  await own.fence();
  t.is(own.allocated(), empty + 2 * arena);
  cache.clear();
  await own.fence();
  t.is(cache.size, 0);
  t.is(own.allocated(), empty);
  await own.close();
});
