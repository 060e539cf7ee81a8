// The oracle itself: that every case runs on it, that it behaves as a backend, and numbers worked out by hand.
import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { encodeRow } from '../../ts/backend/rows.js';
import { decodeHalf, encodeHalf } from '../support/oracle/memory.js';
import { apply } from '../support/oracle/ops.js';
import { OracleBackend } from '../support/oracle.js';
import { CASES } from './cases/index.js';
import { prepare } from './runner.js';

function close(
  t: { true: (value: boolean, message?: string) => unknown },
  got: ArrayLike<number>,
  want: readonly number[],
) {
  const far = want.findIndex((value, i) => !(Math.abs(value - got[i]!) < 1e-12));
  t.true(far < 0 && got.length === want.length, `${Array.from(got)} should be ${want}`);
}

test('every small case runs on the oracle', async (t) => {
  let count = 0;
  for (const cases of Object.values(CASES)) {
    for (const item of cases) {
      t.true(
        item.base % 64 === 0 && Number.isFinite(item.flops) && Number.isFinite(item.bytes),
        `${item.op} ${item.name}`,
      );
      if (item.flops > 1e6) continue;
      await prepare(item);
      count++;
    }
  }
  t.true(count > 1000);
});

test('every op has a case worth timing', (t) => {
  for (const [op, cases] of Object.entries(CASES))
    t.true(
      cases.some((item) => item.large && item.bytes > 0),
      op,
    );
});

test('half precision', (t) => {
  for (const kind of ['bf16', 'f16'] as const) {
    for (let word = 0; word < 0x10000; word++) {
      const value = decodeHalf(word, kind);
      if (!Number.isNaN(value)) t.is(encodeHalf(value, kind), word);
    }
  }
  t.is(encodeHalf(65504, 'f16'), 0x7bff);
  t.is(encodeHalf(65520, 'f16'), 0x7c00);
  t.is(encodeHalf(2 ** -25, 'f16'), 0);
  t.is(encodeHalf(2 ** -25 * 1.001, 'f16'), 1);
  t.is(encodeHalf(1 + 2 ** -8, 'bf16'), 0x3f80);
  t.is(encodeHalf(1 + 3 * 2 ** -8, 'bf16'), 0x3f82);
});

test('products by hand', (t) => {
  const tight = {
    batch: 1,
    m: 2,
    n: 2,
    k: 3,
    transA: 0,
    transB: 0,
    lda: 3,
    ldb: 2,
    ldc: 2,
    strideA: 6,
    strideB: 6,
    strideC: 4,
    precision: 0,
  };
  const a = [1, 2, 3, 4, 5, 6];
  const b = [7, 8, 9, 10, 11, 12];
  close(t, apply('gemm', { a, b }, tight, { alpha: 1 }).c, [58, 64, 139, 154]);
  close(t, apply('gemm', { a, b, bias: [1, -1], add: [1, 1, 1, 1] }, tight, { alpha: 2 }).c, [118, 128, 280, 308]);
  close(
    t,
    apply(
      'gemm',
      { a: [1, 4, 2, 5, 3, 6], b: [7, 9, 11, 8, 10, 12] },
      { ...tight, transA: 1, transB: 1, lda: 2, ldb: 3 },
      { alpha: 1 },
    ).c,
    [58, 64, 139, 154],
  );
  // 1 + 2^-8 lies between two bf16 and goes to the even one, 1 + 3 2^-8 to 1 + 2^-6; 3.4e38 becomes infinity.
  const bf16 = { ...tight, m: 1, n: 1, lda: 3, ldb: 1, ldc: 1, precision: 1 };
  t.deepEqual(
    Array.from(
      apply('gemm', { a: [1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20], b: [1, 16, 256] }, bf16, { alpha: 1 })
        .c!,
    ),
    [1 + 16 + 0.25 + 256 + 2],
  );
  t.deepEqual(Array.from(apply('gemm', { a: [-3.4e38, 0, 0], b: [1, 1, 1] }, bf16, { alpha: 1 }).c!), [-Infinity]);
  const groups = { groups: 2, rows: 2, n: 1, k: 2, transB: 0, precision: 0 };
  close(t, apply('grouped_gemm', { a: [1, 2, 3, 4], b: [1, 1, 10, 10], offsets: [0, 1, 2] }, groups, {}).c, [3, 70]);
  close(
    t,
    apply(
      'csr_gemm',
      { indptr: [0, 2, 2], indices: [0, 2], values: [2, 3], b: [1, 5, 7] },
      { rows: 2, cols: 3, nnz: 2, n: 1 },
      {},
    ).y,
    [23, 0],
  );
});

test('layers by hand', (t) => {
  close(t, apply('rms_norm', { x: [3, 4], w: [1, 2] }, { rows: 1, cols: 2 }, { eps: 0 }).y, [
    3 / Math.sqrt(12.5),
    8 / Math.sqrt(12.5),
  ]);
  const turned = apply(
    'rope',
    { x: [1, 0, 2, 3, 5, 6], positions: [1] },
    { rows: 1, heads: 1, kvHeads: 1, headDim: 2, inverse: 0 },
    { theta: 10_000 },
  );
  close(t, turned.y, [
    Math.cos(1),
    Math.sin(1),
    2 * Math.cos(1) - 3 * Math.sin(1),
    3 * Math.cos(1) + 2 * Math.sin(1),
    5,
    6,
  ]);
  // Two tokens, one head of width 1: scores 0 and ln 3, so weights 1/4 and 3/4.
  const attended = apply(
    'attention',
    { qkv: [1, 0, 8, 1, Math.log(3), 4] },
    { batch: 1, time: 2, heads: 1, kvHeads: 1, headDim: 1, precision: 0 },
    { scale: 1 },
  );
  close(t, attended.y, [8, 5]);
  close(t, attended.lse, [0, Math.log(4)]);
  const entropy = apply(
    'cross_entropy',
    { logits: [0, Math.log(3), 5, 5], targets: [1, -1], scale: [2] },
    { rows: 2, vocab: 2 },
    {},
    ['dlogits'],
  );
  close(t, entropy.loss, [Math.log(4 / 3), 0]);
  close(t, entropy.dlogits, [0.5, -0.5, 0, 0]);
  close(t, apply('swiglu', { x: [2, 3] }, { rows: 1, cols: 1 }, {}).y, [6 / (1 + Math.exp(-2))]);
  // tanh(ln 3) = (9 - 1) / (9 + 1)
  close(t, apply('soft_cap', { x: [5 * Math.log(3)] }, { n: 1 }, { cap: 5 }).y, [4]);
  close(t, apply('soft_cap_backward', { dy: [2], y: [4] }, { n: 1 }, { cap: 5 }).dx, [2 * (1 - 16 / 25)]);
});

test('optimizer and clustering by hand', (t) => {
  const hyper = [0.1, 0.9, 0.99, 0, 0.5, 0.1, 0.01, 0];
  const step = apply(
    'adamw',
    { g: [4], hyper, clip: [0.5], p: [1], m: [0], v: [0] },
    { n: 1 },
    { lrScale: 1, decayScale: 1 },
  );
  // The first step moves by lr whatever the gradient's size, then decays.
  close(t, step.p, [1 - 0.1 * (1 + 0.5)]);
  close(t, step.m, [0.2]);
  const near = apply(
    'kmeans_assign',
    { x: [0, 0, 2, 2], centroids: [1, 1, 1, 1, 2, 3] },
    { rows: 2, cols: 2, clusters: 3 },
    {},
  );
  t.deepEqual([...near.ids], [0, 2]);
  t.deepEqual([...near.distance], [2, 1]);
  t.deepEqual([...apply('clip_scale', { squares: [9, 16] }, { n: 2 }, { maxNorm: 1 }).scale], [0.2]);
});

test('rows share memory, keep full precision, and change its type', async (t) => {
  const oracle = new OracleBackend();
  const buffer = oracle.alloc(256);
  const [x, y] = [
    { buffer, offset: 0 },
    { buffer, offset: 64 },
  ];
  oracle.writeF32(buffer, 0, [0.1, 7.9]);
  const program = oracle.compile({
    words: Uint32Array.from([
      ...encodeRow('add', { a: x, b: x, y: x }, { n: 2 }, { alpha: 1, beta: 1 }),
      ...encodeRow('cast', { x, y }, { n: 2, from: 0, to: 3 }, {}),
      ...encodeRow('cast', { x: y, y }, { n: 2, from: 3, to: 0 }, {}),
    ]),
  });
  oracle.run(program);
  await oracle.fence();
  t.deepEqual([...oracle.readF64(buffer, 0, 2)], [0.2, 15.8]);
  t.deepEqual([...oracle.readF64(buffer, 64, 2)], [0, 15]);
  t.deepEqual([...new Float32Array((await oracle.read(buffer, 0, 8)).buffer)], [Math.fround(0.2), Math.fround(15.8)]);
  oracle.run(program);
  t.deepEqual([...oracle.readF64(buffer, 64, 2)], [0, 31]);
  await oracle.close();
});

test('refuses what devices refuse', async (t) => {
  const oracle = new OracleBackend();
  const buffer = oracle.alloc(192);
  const place = { buffer, offset: 0 };
  const outside = encodeRow('fill', { y: place }, { n: 49 }, { value: 1 });
  t.throws(() => oracle.compile({ words: outside }), { instanceOf: SweetspotError, message: /192/ });
  const roof = encodeRow('roof_fma', { y: place }, { iterations: 1 }, {});
  t.throws(() => oracle.compile({ words: roof }), { instanceOf: SweetspotError, message: /roof_fma/ });
  const bad = encodeRow(
    'embedding',
    { table: place, ids: { buffer, offset: 64 }, y: { buffer, offset: 128 } },
    { rows: 1, cols: 1, vocab: 4 },
    {},
  );
  oracle.writeI32(buffer, 64, [4]);
  oracle.run(oracle.compile({ words: bad }));
  const error = await t.throwsAsync(oracle.fence(), {
    instanceOf: SweetspotError,
    message: /id 4 .*\n.*row 0: embedding/,
  });
  t.is((error as SweetspotError).code, 'SWEETSPOT_PROGRAM');
  await t.notThrowsAsync(oracle.fence());
});
