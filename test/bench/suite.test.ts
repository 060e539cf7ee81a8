import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'ava';
import { interleave } from '../../bench/measure.js';
import { parseBenchOptions, selectCases } from '../../bench/options.js';
import { buildPeer, PeerProcess, Peers } from '../../bench/peers.js';
import { intensity, writePictures } from '../../bench/picture.js';
import { type Report, reportSchema } from '../../bench/result.js';
import { CASES, runBenches } from '../../bench/suite.js';
import { listIsas } from '../../ts/backend/index.js';

test('flags', (t) => {
  const options = parseBenchOptions(['--filter', 'gemm,step', '--filter', 'decode', '--quick', '--threads', '3']);
  t.deepEqual(options.filter, ['gemm', 'step', 'decode']);
  t.true(options.quick && options.peers);
  t.is(options.threads, 3);
  t.is(options.rounds, 2);
  t.false(parseBenchOptions(['--no-peers']).peers);
  t.throws(() => parseBenchOptions(['--threads', '0']), { message: /--threads takes a whole number/ });
  t.throws(() => parseBenchOptions(['--unknown']));
});

test('a filter looks at groups and names; a full name runs with --quick too', (t) => {
  const cases = [
    { group: 'gemm', name: 'gemm small 1', quick: true },
    { group: 'gemm', name: 'gemm small 2', quick: false },
    { group: 'step', name: 'step d64', quick: false },
  ];
  const names = (filter: string[], quick = false) => selectCases(cases, { filter, quick }).map(({ name }) => name);
  t.deepEqual(names([]), ['gemm small 1', 'gemm small 2', 'step d64']);
  t.deepEqual(names(['GEMM']), ['gemm small 1', 'gemm small 2']);
  t.deepEqual(names(['gemm'], true), ['gemm small 1']);
  t.deepEqual(names(['Step D64'], true), ['step d64']);
  t.deepEqual(names(['none']), []);
});

test('names are unique and every group has quick cases', (t) => {
  t.is(new Set(CASES.map(({ name }) => name)).size, CASES.length);
  for (const group of new Set(CASES.map((item) => item.group)))
    t.true(
      CASES.some((item) => item.group === group && item.quick),
      group,
    );
});

/** The suite times the addon. */
const nativeTest = listIsas().length > 0 ? test.serial : test.serial.skip;

nativeTest('a small run gives rows of the schema, and pictures', async (t) => {
  const one = 'gemm small 192x64x4096 TN fp32';
  const filter = [one, 'boundary native call', 'gemm square 256x256x256 NN fp32'];
  const options = { ...parseBenchOptions(['--quick', '--no-peers', '--rounds', '1', '--threads', '2']), filter };
  const report: Report = reportSchema.parse(JSON.parse(JSON.stringify(await runBenches(options))));
  t.deepEqual(report.results.map(({ name }) => name).sort(), [...filter].sort());
  const row = report.results.find(({ name }) => name === one)!;
  t.is(row.peer, null);
  t.is(row.unit, 'GFLOP/s');
  t.is(row.shape, '192x64x4096 TN');
  t.is(row.threads, 2);
  t.true(row.shareOfRoof! > 0 && row.value > 0);
  t.deepEqual(report.machine.peers, {});

  const folder = mkdtempSync(path.join(os.tmpdir(), 'bench-'));
  t.deepEqual(writePictures(report, folder), ['gemm_fp32.svg', 'roofline.svg']);
  t.regex(readFileSync(path.join(folder, 'roofline.svg'), 'utf8'), /^<svg/);
  rmSync(folder, { recursive: true });
  await t.throwsAsync(runBenches({ ...options, filter: ['nothing like it'] }), { message: /nothing like it/ });
});

test('intensity', (t) => {
  t.is(intensity('4x4x4 NN'), 128 / 192);
  t.is(intensity('B16'), undefined);
});

test('contenders take turns; one that fails loses the rest of them', async (t) => {
  const order: string[] = [];
  const contender = (name: string, seconds: number) => ({
    name,
    turn: async () => {
      order.push(name);
      return [seconds, 3 * seconds];
    },
  });
  const broken = {
    name: 'c',
    turn: async () => {
      order.push('c');
      throw new Error('away');
    },
  };
  const [a, b, c] = await interleave('turns', [contender('a', 1), contender('b', 2), broken], 2);
  t.deepEqual(order, ['a', 'b', 'c', 'a', 'b']);
  t.is(a!.median, 2);
  t.is(b!.median, 4);
  t.is(c!.failure, 'away');
});

test('a peer that is not there is skipped by name', async (t) => {
  const absent = { name: 'absent', source: 'openblas.c', libraries: ['no_such_library'] };
  t.throws(() => buildPeer(absent), { message: /not installed|no compiler/ });

  const saved = process.env['SWEETSPOT_PYTHON'];
  process.env['SWEETSPOT_PYTHON'] = '/no/such/python';
  const peers = new Peers(1, true);
  t.is(await peers.torchOps(), undefined);
  t.regex(peers.found['torch']!, /^skipped: .*ENOENT/);
  // It is not tried again.
  t.is(await peers.torchStep({}), undefined);
  if (saved === undefined) delete process.env['SWEETSPOT_PYTHON'];
  else process.env['SWEETSPOT_PYTHON'] = saved;
  peers.close();

  const off = new Peers(1, false);
  t.is(await off.torchOps(), undefined);
  t.deepEqual(off.found, {});
});

test('the protocol: hello, answers, errors, an end', async (t) => {
  const script = `
    console.log(JSON.stringify({ peer: 'p', version: '1', kernel: 'k', threads: 1 }));
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { n } = JSON.parse(line);
      if (n === 3) process.exit(4);
      console.log(JSON.stringify(n === 2 ? { error: 'two' } : { seconds: [n] }));
    });`;
  const peer = new PeerProcess(process.execPath, ['-e', script], process.env);
  t.is((await peer.hello).version, '1');
  t.deepEqual((await peer.ask({ n: 1 })).seconds, [1]);
  await t.throwsAsync(peer.ask({ n: 2 }), { message: 'two' });
  await t.throwsAsync(peer.ask({ n: 3 }), { message: /ended with 4/ });
  peer.close();
});
