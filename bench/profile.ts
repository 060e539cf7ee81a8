// Where the time of a training step goes: the step's own rows with a clock row between any two of them, replayed in place,
// so that caches are as they are in training. Sums by op, in milliseconds and as shares, with the rate each op reached.
//   node dist/bench/profile.js [--size d256] [--precision fp32|bf16] [--isa avx512] [--threads 2] [--rows] [--json]
import { parseArgs } from 'node:util';
import { type Backend, openBackend } from '../ts/backend/index.js';
import { type DecodedRow, decodeRows, encodeRow, printRow } from '../ts/backend/rows.js';
import { transformerConfig } from '../ts/models/config.js';
import { trainingFlops } from '../ts/models/cost.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { ParameterSet } from '../ts/nn/parameters.js';
import { ADAMW } from '../ts/optim/adamw.js';
import { Prng } from '../ts/tensor/prng.js';
import { TrainStep } from '../ts/train/step.js';

export interface RowTime {
  readonly row: DecodedRow;
  /** Median over the replays, milliseconds. */
  readonly ms: number;
}

/** Times every row of a compiled list in place: `runs` replays of the same words with clocks between them. */
export async function timeRows(backend: Backend, words: Uint32Array, runs = 7): Promise<RowTime[]> {
  const rows = [...decodeRows(words)];
  const clocks = backend.alloc((rows.length + 1) * 64);
  const list: Uint32Array[] = [];
  let at = 0;
  rows.forEach((row, i) => {
    list.push(encodeRow('clock', { y: { buffer: clocks, offset: i * 64 } }, {}, {}));
    list.push(words.subarray(at, at + row.spec.words));
    at += row.spec.words;
  });
  list.push(encodeRow('clock', { y: { buffer: clocks, offset: rows.length * 64 } }, {}, {}));
  const all = new Uint32Array(list.reduce((sum, part) => sum + part.length, 0));
  let to = 0;
  for (const part of list) {
    all.set(part, to);
    to += part.length;
  }
  const program = backend.compile({ words: all });
  const times = rows.map((): number[] => []);
  for (let run = 0; run < runs; run++) {
    backend.run(program);
    const bytes = await backend.read(clocks, 0, (rows.length + 1) * 64);
    const stamps = new BigUint64Array(bytes.buffer, bytes.byteOffset, (rows.length + 1) * 8);
    rows.forEach((_, i) => {
      times[i]!.push(Number(stamps[(i + 1) * 8]! - stamps[i * 8]!) / 1e6);
    });
  }
  backend.release(program);
  backend.free(clocks);
  return rows.map((row, i) => ({ row, ms: times[i]!.sort((a, b) => a - b)[runs >> 1]! }));
}

const dim = (row: DecodedRow, name: string): number => row.dims[row.spec.dims.indexOf(name)]!;

/** FLOPs of a row that is made of products; 0 for the others. */
export function rowFlops(row: DecodedRow): number {
  const d = (name: string) => dim(row, name);
  switch (row.spec.name) {
    case 'gemm':
      return 2 * d('batch') * d('m') * d('n') * d('k');
    case 'grouped_gemm':
      return 2 * d('rows') * d('n') * d('k');
    case 'grouped_gemm_dw':
      return 2 * d('rows') * d('m') * d('n');
    case 'attention':
      return 2 * d('batch') * d('heads') * d('time') * (d('time') + 1) * d('headDim');
    case 'attention_backward':
      return 5 * d('batch') * d('heads') * d('time') * (d('time') + 1) * d('headDim');
    case 'bank_mix':
    case 'bank_mix_backward':
    case 'bank_adamw':
    case 'bank_sum_squares':
      return 2 * d('groups') * d('slices') * d('size');
    default:
      return 0;
  }
}

/** Bytes of a row's operands, each counted once (an inout operand twice). */
export function rowBytes(row: DecodedRow): number {
  const extents = row.spec.extents(row.dims);
  return row.spec.operands.reduce((sum, operand, i) => {
    if (row.operands[i] === undefined) return sum;
    return sum + extents[i]! * (operand.dtype === 'raw' ? 1 : 4) * (operand.role === 'inout' ? 2 : 1);
  }, 0);
}

/** What a gemm row does in a step, by its flags. */
function label(row: DecodedRow): string {
  if (row.spec.name !== 'gemm') return row.spec.name;
  return `gemm ${dim(row, 'transA') ? 'T' : 'N'}${dim(row, 'transB') ? 'T' : 'N'}`;
}

/** Layers, width C, heads, vocabulary V, windows B, tokens a window T. */
const SIZES: Readonly<Record<string, readonly [number, number, number, number, number, number]>> = {
  d64: [4, 64, 4, 2048, 16, 256],
  d128: [4, 128, 4, 4096, 16, 256],
  d256: [4, 256, 8, 8192, 16, 256],
  d512: [6, 512, 8, 16384, 8, 512],
};

async function main(): Promise<void> {
  const { values: flags } = parseArgs({
    options: {
      size: { type: 'string', default: 'd256' },
      isa: { type: 'string' },
      threads: { type: 'string' },
      precision: { type: 'string' },
      rows: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const size = SIZES[flags.size];
  if (size === undefined) throw new Error(`--size: ${Object.keys(SIZES).join(', ')}`);
  const [layers, C, heads, V, B, T] = size;
  const backend = openBackend({
    isa: flags.isa,
    threads: flags.threads === undefined ? undefined : Number(flags.threads),
  });
  const config = transformerConfig({ vocabSize: V, hiddenSize: C, layers, heads, contextLength: T });
  const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: true });
  parameters.initialize(1);
  const step = new TrainStep(backend, { config, parameters }, { batch: B, time: T }, ADAMW);
  const random = new Prng(1);
  const batch = () => ({
    tokens: Int32Array.from({ length: B * T }, () => random.int(V)),
    targets: Int32Array.from({ length: B * T }, () => random.int(V)),
    clusters: new Int32Array(B),
    count: B * T,
  });
  for (let t = 1; t <= 2; t++) await step.run(batch(), 1e-3, t);
  const whole: number[] = [];
  for (let t = 3; t <= 7; t++) {
    const begin = performance.now();
    await step.run(batch(), 1e-3, t);
    whole.push(performance.now() - begin);
  }
  const stepMs = whole.sort((a, b) => a - b)[2]!;
  const times = await timeRows(backend, step.program.words);
  const flops = trainingFlops(config, B * T, T);
  if (flags.rows) {
    for (const { row, ms } of times)
      console.log(
        `${ms.toFixed(3).padStart(9)} ms ${(rowFlops(row) / ms / 1e6).toFixed(0).padStart(5)} GFLOP/s ${(rowBytes(row) / ms / 1e6).toFixed(0).padStart(4)} GB/s  ${printRow(row)}`,
      );
  }
  const sums = new Map<string, { ms: number; rows: number; flops: number; bytes: number }>();
  for (const { row, ms } of times) {
    const sum = sums.get(label(row)) ?? { ms: 0, rows: 0, flops: 0, bytes: 0 };
    sums.set(label(row), {
      ms: sum.ms + ms,
      rows: sum.rows + 1,
      flops: sum.flops + rowFlops(row),
      bytes: sum.bytes + rowBytes(row),
    });
  }
  const total = times.reduce((sum, { ms }) => sum + ms, 0);
  const table = [...sums]
    .sort((a, b) => b[1].ms - a[1].ms)
    .map(([op, s]) => ({ op, ...s, share: s.ms / total, gflops: s.flops / s.ms / 1e6, gbs: s.bytes / s.ms / 1e6 }));
  if (flags.json) console.log(JSON.stringify({ size: flags.size, stepMs, rowsMs: total, flops, table }));
  else {
    console.log(
      `${flags.size}: ${stepMs.toFixed(1)} ms a step, ${((B * T) / stepMs).toFixed(1)}k tokens/s, ${(flops / stepMs / 1e6).toFixed(0)} GFLOP/s; rows sum to ${total.toFixed(1)} ms`,
    );
    for (const { op, ms, rows, share, gflops, gbs } of table)
      console.log(
        `${op.padEnd(24)} ${String(rows).padStart(4)} rows ${ms.toFixed(2).padStart(8)} ms ${(100 * share).toFixed(1).padStart(5)}%  ${gflops === 0 ? '' : `${gflops.toFixed(0)} GFLOP/s  `}${gbs.toFixed(0)} GB/s`,
      );
  }
  step.dispose();
  await backend.close();
}

if (process.argv[1]?.endsWith('profile.js')) await main();
