// Matrix products against this machine's own fp32 roof, side by side: the roof is measured before and after, the cases by benny.
//   npm run bench                     all shapes
//   npm run bench -- --json out.json  the same as data
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import b from 'benny';
import { type Backend, openBackend } from '../ts/backend/index.js';
import { encodeRow } from '../ts/backend/rows.js';
import { emitGemm, type GemmShape } from '../ts/ops/matmul.js';
import { Program } from '../ts/program/program.js';
import { Prng } from '../ts/tensor/prng.js';
import { bufferTensor } from '../ts/tensor/tensor.js';

const { values: flags } = parseArgs({
  options: { json: { type: 'string' }, threads: { type: 'string' }, isa: { type: 'string' } },
});

interface Shape extends GemmShape {
  readonly name: string;
}

/** The shapes of the promise (60% of the roof), then those of small training steps: forward, input and weight gradients. */
const SHAPES: readonly Shape[] = [
  { name: '1024^3 NN', m: 1024, n: 1024, k: 1024 },
  { name: '2048x1024x256 NN', m: 2048, n: 1024, k: 256 },
  { name: '2048x256x1024 NT', m: 2048, n: 256, k: 1024, transB: true },
  { name: '256x1024x2048 TN', m: 256, n: 1024, k: 2048, transA: true },
  { name: '4096x192x64 NT', m: 4096, n: 192, k: 64, transB: true },
  { name: '4096x64x192 NN', m: 4096, n: 64, k: 192 },
  { name: '192x64x4096 TN', m: 192, n: 64, k: 4096, transA: true },
  { name: '4096x2048x64 NT', m: 4096, n: 2048, k: 64, transB: true },
];

const backend = openBackend({
  isa: flags.isa,
  threads: flags.threads === undefined ? undefined : Number(flags.threads),
});

/** GFLOP/s of independent fused multiply-adds on all threads. */
async function roof(device: Backend): Promise<number> {
  const buffer = device.alloc(64);
  const program = device.compile({
    words: encodeRow('roof_fma', { y: { buffer, offset: 0 } }, { iterations: 200_000 }, {}),
  });
  let best = 0;
  for (let i = 0; i < 9; i++) {
    const begin = performance.now();
    device.run(program);
    await device.fence();
    const seconds = (performance.now() - begin) / 1000;
    const bytes = await device.read(buffer, 0, 4);
    best = Math.max(best, new Float32Array(bytes.buffer, bytes.byteOffset, 1)[0]! / seconds);
  }
  device.release(program);
  device.free(buffer);
  return best;
}

const random = new Prng(1);
const REPEATS = 8;
const cases = SHAPES.map((shape) => {
  const tensor = (name: string, rows: number, cols: number) => {
    const buffer = backend.alloc(rows * cols * 4);
    const values = Float32Array.from({ length: rows * cols }, () => random.normal());
    backend.write(buffer, 0, new Uint8Array(values.buffer));
    return bufferTensor(name, [rows, cols], 'f32', { buffer, offset: 0 });
  };
  const { name, m, n, k } = shape;
  const [a, b, c] = [tensor('a', m, k), tensor('b', k, n), tensor('c', m, n)];
  const program = Program.record(backend, name, () => {
    for (let i = 0; i < REPEATS; i++) emitGemm({ a, b, c }, shape);
  });
  return { name, flops: 2 * m * n * k * REPEATS, program };
});

const before = await roof(backend);
const summary = await b.suite(
  `fp32 GEMM, ${backend.capabilities.isa}, ${backend.capabilities.threads} threads`,
  ...cases.map(({ name, program }) =>
    b.add(
      name,
      async () => {
        program.run();
        await backend.fence();
      },
      { minSamples: 15, maxTime: 1.5 },
    ),
  ),
);
const after = await roof(backend);
const peak = Math.max(before, after);
const results = summary.results.map((result, i) => {
  const value = cases[i]!.flops / result.details.median / 1e9;
  return {
    name: result.name,
    op: 'gemm',
    dtype: 'f32',
    value,
    unit: 'GFLOP/s',
    shareOfRoof: value / peak,
    spread: result.margin,
  };
});
console.log(`\nroof ${before.toFixed(0)} before, ${after.toFixed(0)} after (GFLOP/s)`);
for (const { name, value, shareOfRoof } of results) {
  console.log(
    `${name.padEnd(18)} ${value.toFixed(0).padStart(5)} GFLOP/s  ${(100 * shareOfRoof).toFixed(0).padStart(3)}% of the roof`,
  );
}
if (flags.json !== undefined) {
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, ...backend.capabilities };
  writeFileSync(flags.json, `${JSON.stringify({ machine, roof: { fp32: peak }, results }, null, 2)}\n`);
}
await backend.close();
