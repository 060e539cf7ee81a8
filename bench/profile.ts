// Where the time of a training step goes: the step's own rows with a clock row between any two of them, replayed in place,
// so that caches are as they are in training. Sums by op, in milliseconds and as shares, with the rate each op reached.
//   node dist/bench/profile.js [--size d64,d256] [--precision fp32,bf16] [--isa avx512] [--threads 2] [--rows] [--json]
//     [--picture file.svg]
import { writeFileSync } from 'node:fs';
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

interface OpShare {
  readonly op: string;
  readonly ms: number;
  readonly rows: number;
  readonly share: number;
  readonly gflops: number;
  readonly gbs: number;
}

interface Profile {
  readonly size: string;
  readonly precision: 'fp32' | 'bf16';
  readonly stepMs: number;
  readonly rowsMs: number;
  readonly flops: number;
  readonly tokens: number;
  readonly table: readonly OpShare[];
}

async function profile(
  backend: Backend,
  size: string,
  precision: 'fp32' | 'bf16',
  each?: (time: RowTime) => void,
): Promise<Profile> {
  const [layers, C, heads, V, B, T] = SIZES[size]!;
  const config = transformerConfig({ vocabSize: V, hiddenSize: C, layers, heads, contextLength: T });
  const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: true });
  parameters.initialize(1);
  const step = new TrainStep(backend, { config, parameters }, { batch: B, time: T, precision }, ADAMW);
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
  const times = await timeRows(backend, step.program.words);
  const sums = new Map<string, { ms: number; rows: number; flops: number; bytes: number }>();
  for (const time of times) {
    each?.(time);
    const { row, ms } = time;
    const sum = sums.get(label(row)) ?? { ms: 0, rows: 0, flops: 0, bytes: 0 };
    sums.set(label(row), {
      ms: sum.ms + ms,
      rows: sum.rows + 1,
      flops: sum.flops + rowFlops(row),
      bytes: sum.bytes + rowBytes(row),
    });
  }
  const rowsMs = times.reduce((sum, { ms }) => sum + ms, 0);
  step.dispose();
  parameters.dispose();
  return {
    size,
    precision,
    stepMs: whole.sort((a, b) => a - b)[2]!,
    rowsMs,
    flops: trainingFlops(config, B * T, T),
    tokens: B * T,
    table: [...sums]
      .sort((a, b) => b[1].ms - a[1].ms)
      .map(([op, { ms, rows, flops, bytes }]) => ({
        op,
        ms,
        rows,
        share: ms / rowsMs,
        gflops: flops / ms / 1e6,
        gbs: bytes / ms / 1e6,
      })),
  };
}

/** One bar a profile, cut by op: where the step goes. */
async function picture(profiles: readonly Profile[], file: string): Promise<void> {
  const echarts = await import('echarts');
  const chart = echarts.init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: 900,
    height: 120 + 70 * profiles.length,
  });
  const ops = [
    ...new Set(profiles.flatMap(({ table }) => table.filter(({ share }) => share > 0.005).map(({ op }) => op))),
  ];
  const names = profiles.map(
    ({ size, precision, tokens, stepMs }) => `${size} ${precision}\n${(tokens / stepMs).toFixed(1)}k tokens/s`,
  );
  chart.setOption({
    animation: false,
    backgroundColor: '#fff',
    title: { text: 'Where a training step goes', left: 'center' },
    legend: { top: 'bottom', type: 'plain', textStyle: { fontSize: 11 } },
    grid: { left: 130, right: 30, top: 40, bottom: 90 },
    xAxis: { type: 'value', max: 100, axisLabel: { formatter: '{value}%' } },
    yAxis: { type: 'category', data: names, inverse: true },
    series: ops.map((op) => ({
      name: op,
      type: 'bar',
      stack: 'step',
      barWidth: 34,
      label: {
        show: true,
        fontSize: 10,
        formatter: ({ value }: { value: unknown }) => (Number(value) >= 4 ? `${Number(value).toFixed(0)}%` : ''),
      },
      data: profiles.map(({ table }) => Number((100 * (table.find((row) => row.op === op)?.share ?? 0)).toFixed(2))),
    })),
  });
  writeFileSync(file, chart.renderToSVGString());
  chart.dispose();
}

async function main(): Promise<void> {
  const { values: flags } = parseArgs({
    options: {
      size: { type: 'string', default: 'd256' },
      isa: { type: 'string' },
      threads: { type: 'string' },
      precision: { type: 'string', default: 'fp32' },
      rows: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      picture: { type: 'string' },
    },
  });
  const sizes = flags.size.split(',');
  const precisions = flags.precision.split(',');
  const unknown = [
    ...sizes.filter((size) => SIZES[size] === undefined),
    ...precisions.filter((p) => !/^(fp32|bf16)$/.test(p)),
  ];
  if (unknown.length > 0)
    throw new Error(
      `${unknown.join(', ')}: --size takes ${Object.keys(SIZES).join(', ')}; --precision takes fp32, bf16`,
    );
  const backend = openBackend({
    isa: flags.isa,
    threads: flags.threads === undefined ? undefined : Number(flags.threads),
  });
  const printed = ({ row, ms }: RowTime) =>
    console.log(
      `${ms.toFixed(3).padStart(9)} ms ${(rowFlops(row) / ms / 1e6).toFixed(0).padStart(5)} GFLOP/s ${(rowBytes(row) / ms / 1e6).toFixed(0).padStart(4)} GB/s  ${printRow(row)}`,
    );
  const profiles: Profile[] = [];
  for (const size of sizes) {
    for (const precision of precisions as ('fp32' | 'bf16')[]) {
      const one = await profile(backend, size, precision, flags.rows ? printed : undefined);
      profiles.push(one);
      if (flags.json) continue;
      const { stepMs, rowsMs, flops, tokens, table } = one;
      console.log(
        `${size} ${precision}: ${stepMs.toFixed(1)} ms a step, ${(tokens / stepMs).toFixed(1)}k tokens/s, ${(flops / stepMs / 1e6).toFixed(0)} GFLOP/s; rows sum to ${rowsMs.toFixed(1)} ms`,
      );
      for (const { op, ms, rows, share, gflops, gbs } of table)
        console.log(
          `${op.padEnd(24)} ${String(rows).padStart(4)} rows ${ms.toFixed(2).padStart(8)} ms ${(100 * share).toFixed(1).padStart(5)}%  ${gflops === 0 ? '' : `${gflops.toFixed(0)} GFLOP/s  `}${gbs.toFixed(0)} GB/s`,
        );
    }
  }
  if (flags.json) console.log(JSON.stringify(profiles));
  if (flags.picture !== undefined) await picture(profiles, flags.picture);
  await backend.close();
}

if (process.argv[1]?.endsWith('profile.js')) await main();
