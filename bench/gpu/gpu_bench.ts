// How fast the CUDA kernels are: node dist/bench/gpu/gpu_bench.js. Products in each precision on shapes of language models,
// the memory roof, the ops of a bank as a share of it, and whole training steps. One JSON object a line on stdout, all of
// them in $OUT/gpu_bench.json when OUT is set.
//
// A time is that of a Program of many equal rows, divided: launches from a graph follow each other without gaps. Inputs
// are random. Small products find theirs in the cache, as they do in a model; what a bank reads is far larger than it.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { TestStep } from '../../test/support/train_step.js';
import { type Backend, cudaInfo, openBackend } from '../../ts/backend/index.js';
import type { OpName } from '../../ts/backend/ops.gen.js';
import { encodeRow, type Place, type RowDims, type RowOperands, type RowScalars } from '../../ts/backend/rows.js';
import { type BankConfig, bankConfig, transformerConfig } from '../../ts/models/config.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { Prng } from '../../ts/tensor/prng.js';

const PRECISIONS = ['fp32', 'tf32', 'bf16'] as const;
const REPEATS = 7;
const results: object[] = [];

/** The file is written at once: a run that is cut short keeps what it has. */
function report(result: object): void {
  results.push(result);
  console.log(JSON.stringify(result));
  const out = process.env['OUT'];
  if (out !== undefined) writeFileSync(path.join(out, 'gpu_bench.json'), JSON.stringify(results, null, 1));
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const round = (value: number) => Number(value.toPrecision(4));

/** Buffers of random float32 numbers, freed together. */
class Bench {
  readonly #buffers: number[] = [];
  readonly #pattern: Uint8Array;

  constructor(readonly backend: Backend) {
    const random = new Prng('bench');
    this.#pattern = new Uint8Array(Float32Array.from({ length: 1 << 20 }, () => random.normal()).buffer);
  }

  floats(count: number): Place {
    const buffer = this.backend.alloc(count * 4);
    this.#buffers.push(buffer);
    for (let at = 0; at < count * 4; at += this.#pattern.length)
      this.backend.write(buffer, at, this.#pattern.subarray(0, Math.min(this.#pattern.length, count * 4 - at)));
    return { buffer, offset: 0 };
  }

  ints(values: readonly number[]): Place {
    const buffer = this.backend.alloc(values.length * 4);
    this.#buffers.push(buffer);
    this.backend.write(buffer, 0, new Uint8Array(Int32Array.from(values).buffer));
    return { buffer, offset: 0 };
  }

  /** Median seconds of a row. `make(i)` gives the i-th of `rows` rows. */
  async seconds(rows: number, make: (i: number) => Uint32Array): Promise<number> {
    const words = Array.from({ length: rows }, (_, i) => make(i)).flatMap((row) => [...row]);
    const program = this.backend.compile({ words: Uint32Array.from(words) });
    const times: number[] = [];
    for (let i = 0; i < REPEATS + 2; i++) {
      await this.backend.fence();
      const began = performance.now();
      this.backend.run(program);
      await this.backend.fence();
      if (i >= 2) times.push((performance.now() - began) / 1000 / rows);
    }
    this.backend.release(program);
    return median(times);
  }

  free(): void {
    for (const buffer of this.#buffers.splice(0)) this.backend.free(buffer);
  }
}

function row<K extends OpName>(op: K, operands: RowOperands<K>, dims: RowDims<K>, scalars: RowScalars<K>): Uint32Array {
  return encodeRow(op, operands, dims, scalars);
}

/** m, n, k, a transposed, b transposed, and what it is. */
const PRODUCTS = [
  [8192, 8192, 8192, 0, 1, 'large'],
  [16384, 768, 256, 0, 1, 'd 256: qkv'],
  [16384, 1376, 256, 0, 1, 'd 256: gate and up'],
  [16384, 4096, 256, 0, 1, 'd 256: logits'],
  [256, 1376, 16384, 1, 0, 'd 256: weight gradient'],
  [8192, 8192, 1024, 0, 1, 'd 1024: gate and up'],
  [8192, 1024, 4096, 0, 1, 'd 1024: down'],
  [8192, 32000, 1024, 0, 1, 'd 1024: logits'],
  [8192, 1024, 8192, 0, 0, 'd 1024: input gradient'],
  [1024, 8192, 8192, 1, 0, 'd 1024: weight gradient'],
] as const;

async function products(matmul: (typeof PRECISIONS)[number]): Promise<void> {
  const backend = openBackend({ backend: 'cuda', matmul });
  const bench = new Bench(backend);
  for (const [m, n, k, transA, transB, what] of PRODUCTS) {
    const [a, b, c] = [bench.floats(m * k), bench.floats(k * n), bench.floats(m * n)];
    const dims = {
      batch: 1,
      m,
      n,
      k,
      transA,
      transB,
      lda: transA ? m : k,
      ldb: transB ? k : n,
      ldc: n,
      strideA: 0,
      strideB: 0,
      strideC: 0,
      precision: 0,
    };
    const flops = 2 * m * n * k;
    const rows = Math.max(4, Math.min(64, Math.round(2e12 / flops)));
    const seconds = await bench.seconds(rows, () => row('gemm', { a, b, c }, dims, { alpha: 1 }));
    report({
      op: 'gemm',
      matmul,
      what,
      m,
      n,
      k,
      transA,
      transB,
      us: round(seconds * 1e6),
      tflops: round(flops / seconds / 1e12),
    });
    bench.free();
  }
  const [groups, rows, n, k] = [16, 16384, 1376, 256];
  const offsets = bench.ints(Array.from({ length: groups + 1 }, (_, g) => Math.round((rows * g) / groups)));
  const [a, b, c] = [bench.floats(rows * k), bench.floats(groups * n * k), bench.floats(rows * n)];
  const grouped = { groups, rows, n, k, transB: 1, precision: 0 };
  const forward = await bench.seconds(64, () => row('grouped_gemm', { a, b, offsets, c }, grouped, {}));
  const back = { groups, rows, m: n, n: k, precision: 0 };
  const backward = await bench.seconds(64, () => row('grouped_gemm_dw', { a: c, b: a, offsets, dw: b }, back, {}));
  for (const [op, seconds] of [
    ['grouped_gemm', forward],
    ['grouped_gemm_dw', backward],
  ] as const) {
    report({
      op,
      matmul,
      groups,
      rows,
      n,
      k,
      us: round(seconds * 1e6),
      tflops: round((2 * rows * n * k) / seconds / 1e12),
    });
  }
  bench.free();
  await backend.close();
}

/** Bytes a second of the ops that only move memory, and their share of the best of the roofs. */
async function memory(): Promise<void> {
  const backend = openBackend({ backend: 'cuda' });
  const bench = new Bench(backend);
  const n = 1 << 28;
  const [x, y, one] = [bench.floats(n), bench.floats(n), bench.floats(1)];
  const read = (4 * n) / (await bench.seconds(8, () => row('roof_read', { x, y: one }, { n }, {})));
  const copied = (8 * n) / (await bench.seconds(8, () => row('cast', { x, y }, { n, from: 0, to: 0 }, {})));
  const iterations = 4096;
  const flops = await bench.seconds(2, () => row('roof_fma', { y: one }, { iterations }, {}));
  const counted = new Float32Array((await backend.read(one.buffer, 0, 4)).slice().buffer)[0]!;
  report({
    op: 'roof',
    readGBs: round(read / 1e9),
    copyGBs: round(copied / 1e9),
    fp32Tflops: round(counted / flops / 1e3),
  });
  bench.free();

  const roof = Math.max(read, copied);
  const share = (op: string, bytes: number, seconds: number, shape: object) =>
    report({
      op,
      ...shape,
      us: round(seconds * 1e6),
      GBs: round(bytes / seconds / 1e9),
      share: round(bytes / seconds / roof),
    });
  // Slices of a layer of the 126M model, four groups; one float32 pass over t, m and v is far larger than the cache.
  const [groups, slices, size] = [4, 16, 1024 * 4096];
  const [t, m, v] = [bench.floats(slices * size), bench.floats(slices * size), bench.floats(slices * size)];
  const [w, c, hyper, clip] = [
    bench.floats(groups * size),
    bench.floats(groups * slices),
    bench.floats(8),
    bench.floats(1),
  ];
  const good = Float32Array.of(1e-6, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 0);
  backend.write(hyper.buffer, 0, new Uint8Array(good.buffer));
  backend.write(clip.buffer, 0, new Uint8Array(Float32Array.of(1).buffer));
  backend.write(v.buffer, 0, new Uint8Array(slices * size * 4));
  const sizes = { groups, slices, size };
  const dims = { ...sizes, dtype: 0 };
  const dc = bench.floats(groups * slices);
  const mixed = await bench.seconds(8, () => row('bank_mix', { t, c, w }, dims, {}));
  share('bank_mix', 4 * size * (slices + groups), mixed, dims);
  const back = await bench.seconds(8, () => row('bank_mix_backward', { dw: w, t, dc }, dims, {}));
  share('bank_mix_backward', 4 * size * (slices + groups), back, dims);
  const squares = await bench.seconds(8, () => row('bank_sum_squares', { dw: w, c, y: dc }, sizes, {}));
  share('bank_sum_squares', 4 * size * groups, squares, dims);
  const adam = await bench.seconds(4, () =>
    row('bank_adamw', { dw: w, c, hyper, clip, t, m, v }, { ...dims, seed: 0 }, { lrScale: 1, decayScale: 1 }),
  );
  share('bank_adamw', 4 * size * (6 * slices + groups), adam, dims);
  const dense = await bench.seconds(4, () =>
    row('adamw', { g: t, hyper, clip, p: t, m, v }, { n: slices * size }, { lrScale: 1, decayScale: 1 }),
  );
  share('adamw', 4 * slices * size * 6, dense, { n: slices * size });
  bench.free();
  await backend.close();
}

/** Tokens a second of whole training steps: forward, backward, clipping, AdamW. */
async function training(
  what: string,
  sizes: Parameters<typeof transformerConfig>[0],
  batch: number,
  matmul: (typeof PRECISIONS)[number],
  given?: Partial<BankConfig> & Pick<BankConfig, 'experts'>,
): Promise<void> {
  const backend = openBackend({ backend: 'cuda', matmul });
  const config = transformerConfig(sizes);
  const time = config.contextLength;
  const bank = given === undefined ? undefined : bankConfig(config, given);
  const random = new Prng(what);
  const ids = () => Int32Array.from({ length: batch * time }, () => random.int(config.vocabSize));
  const groups = Math.min(batch, bank?.experts ?? 0);
  const clusters = Int32Array.from({ length: groups }, (_, g) => g);
  const offsets = Int32Array.from({ length: groups + 1 }, (_, g) => Math.round((batch * g) / groups) * time);
  const step = new TestStep(
    backend,
    config,
    { batch, time, tokens: ids(), targets: ids(), ...(bank === undefined ? {} : { clusters, offsets }) },
    { optimizer: ADAMW, ...(bank === undefined ? {} : { bank }) },
  );
  step.parameters.initialize(1);
  const times: number[] = [];
  let loss = 0;
  for (let i = 0; i < 12; i++) {
    const began = performance.now();
    step.run(1e-4);
    loss = await step.readLoss();
    if (i >= 2) times.push((performance.now() - began) / 1000);
  }
  const seconds = median(times);
  const memory = backend.allocated();
  report({
    op: 'train step',
    what,
    matmul,
    batch,
    time,
    ms: round(seconds * 1e3),
    tokensPerSecond: Math.round((batch * time) / seconds),
    loss: round(loss),
    allocatedMB: Math.round(memory / 1e6),
  });
  step.dispose();
  await backend.close();
}

const info = cudaInfo();
report({ device: info });
await memory();
for (const matmul of PRECISIONS) await products(matmul);
const small = { vocabSize: 4096, hiddenSize: 256, layers: 4, heads: 4, contextLength: 256 };
const paper = { vocabSize: 32000, hiddenSize: 1024, layers: 7, heads: 8, intermediateSize: 4096, contextLength: 1024 };
for (const matmul of PRECISIONS) {
  await training('d 256, 4 layers', small, 64, matmul);
  await training('d 256, 4 layers, bank of 16', small, 64, matmul, { experts: 16 });
  await training('126M of the paper', paper, 16, matmul);
}
await training('126M of the paper, bank of 16', paper, 16, 'bf16', { experts: 16, slices: 16 });
process.exit(0);
