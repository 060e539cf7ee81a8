import test from 'ava';
import { compareReports, comparisonTable } from '../../bench/compare.js';
import { type Report, type Result, table } from '../../bench/result.js';

const row = (given: Partial<Result> = {}): Result => ({
  name: 'gemm 8x8x8 NN fp32',
  op: 'gemm',
  shape: '8x8x8 NN',
  dtype: 'fp32',
  threads: 2,
  backend: 'cpu/avx512',
  peer: null,
  value: 100,
  unit: 'GFLOP/s',
  shareOfRoof: 0.5,
  spread: 0.02,
  ...given,
});

const report = (results: Result[], fp32 = 200): Report => ({
  machine: { cpu: 'x', cores: 2, memoryMB: 1, node: 'v', isa: 'avx512', threads: 2, peers: {}, seconds: 1 },
  roof: { fp32, fp32OneThread: fp32 / 2, bf16: null, bf16OneThread: null, read: 40, readOneThread: 20 },
  results,
});

/** The one row of a comparison. */
const compared = (before: Partial<Result>, after: Partial<Result>, roofs: [number, number] = [200, 200]) =>
  compareReports(report([row(before)], roofs[0]), report([row(after)], roofs[1]))[0]!;

test('a loss beyond a tenth and both spreads is a regression', (t) => {
  t.true(compared({}, { value: 80, shareOfRoof: 0.4 }).regression);
  t.false(compared({}, { value: 92, shareOfRoof: 0.46 }).regression);
  t.false(compared({ spread: 0.3 }, { shareOfRoof: 0.4 }).regression);
  t.false(compared({}, { shareOfRoof: 0.4, spread: 0.3 }).regression);
  t.false(compared({}, { shareOfRoof: 0.9 }).regression);
});

test('roofs are divided out: shares where there are some, the clock for other rates', (t) => {
  // Half the speed on a machine with half the roof.
  t.is(compared({}, { value: 50, shareOfRoof: 0.5 }).ratio, 1);
  t.is(compared({ shareOfRoof: null }, { value: 50, shareOfRoof: null }, [200, 100]).ratio, 1);
  t.is(compared({ shareOfRoof: null }, { value: 50, shareOfRoof: null }).ratio, 0.5);
});

test('times and sizes are better when smaller', (t) => {
  for (const unit of ['ms', 'us', 'MB', 'x'] as const) {
    const plain = { unit, shareOfRoof: null };
    t.true(compared(plain, { ...plain, value: 130 }).regression, unit);
    t.false(compared(plain, { ...plain, value: 70 }).regression, unit);
    t.true(compared(plain, { ...plain, value: 70 }).ratio > 1, unit);
  }
});

test('peers, new rows and other thread counts are not compared', (t) => {
  const before = report([row(), row({ peer: 'openblas', value: 500 })]);
  const after = report([row({ threads: 1 }), row({ name: 'new' }), row({ peer: 'openblas', value: 1 })]);
  t.deepEqual(compareReports(before, after), []);
});

test('tables', (t) => {
  const text = comparisonTable([compared({}, { value: 80, shareOfRoof: 0.4 })]);
  t.regex(text, /gemm 8x8x8 NN fp32 +100 +80 +GFLOP\/s +0\.80x +10% +SLOWER/);
  const lines = table([row(), row({ peer: 'openblas', value: 80 }), row({ name: 'theirs', peer: 'blis', value: 3 })]);
  t.regex(lines, /gemm 8x8x8 NN fp32 +100 +GFLOP\/s +50% +\+-1\.0% +80 \(1\.25x\)/);
  t.regex(lines, /theirs +- +GFLOP\/s/);
});
