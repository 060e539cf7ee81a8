// Where the time of a training step goes: the step's own rows with a clock row between any two of them, replayed in place,
// so that caches are as they are in training. Sums by op, in milliseconds and as shares, with the rate each op reached.
//   node dist/bench/profile.js [--size d64,d256-h23] [--precision fp32,bf16] [--isa avx512] [--threads 2] [--rows] [--json]
//     [--picture file.svg]
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type Backend, openBackend, type RowList } from '../ts/backend/index.js';
import type { OpName } from '../ts/backend/ops.gen.js';
import { type DecodedRow, decodeRows, encodeRow, printRow } from '../ts/backend/rows.js';
import { trainingFlops } from '../ts/models/cost.js';
import { PRECISIONS, type Precision } from '../ts/train/precision.js';
import { concatenate, rowBytes } from './rows.js';
import { stepModel } from './step_model.js';
import { BANK_SIZES, STEP_SIZES, type StepArguments } from './step_sizes.js';

const widthOf = (name: string) => name.split(' ')[0]!;

/** The sizes of bench/step_sizes.ts: d64, d128 ... and, with a bank of h slices, d256-h23, d256-h23-bf16 ... */
const SIZES = new Map<string, Omit<StepArguments, 'dtype' | 'threads'>>([
  ...STEP_SIZES.map(({ name, sizes }) => [widthOf(name), { ...sizes, slices: 0, experts: 1, groups: 1 }] as const),
  ...BANK_SIZES.map(({ name, sizes, quick: _, ...bank }) => {
    const key = `${widthOf(name)}-h${bank.slices}${bank.sliceType === 'bf16' ? '-bf16' : ''}`;
    return [key, { ...sizes, ...bank }] as const;
  }),
]);

export interface RowTime {
  readonly row: DecodedRow;
  /** Median over the replays, milliseconds. */
  readonly ms: number;
}

/** Times every row of a list in place: `runs` replays of the same words with clocks between them. */
export async function timeRows(backend: Backend, { words, ...memory }: RowList, runs = 7): Promise<RowTime[]> {
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
  const program = backend.compile({ ...memory, words: concatenate(list) });
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

/** Bytes that a row must read and write. */
const bytesOf = ({ spec, dims, operands }: DecodedRow): number =>
  rowBytes({
    op: spec.name as OpName,
    dims: Object.fromEntries(spec.dims.map((name, i) => [name, dims[i]!])),
    present: spec.operands.flatMap(({ name }, i) => (operands[i] === undefined ? [] : [name])),
  });

/** What a gemm row does in a step, by its flags. */
export function label(row: DecodedRow): string {
  if (row.spec.name !== 'gemm') return row.spec.name;
  return `gemm ${dim(row, 'transA') ? 'T' : 'N'}${dim(row, 'transB') ? 'T' : 'N'}`;
}

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
  readonly precision: Precision;
  readonly stepMs: number;
  readonly rowsMs: number;
  readonly flops: number;
  readonly tokens: number;
  readonly table: readonly OpShare[];
}

async function profile(
  backend: Backend,
  size: string,
  precision: Precision,
  each?: (time: RowTime) => void,
): Promise<Profile> {
  const sizes = SIZES.get(size)!;
  const tokens = sizes.batch * sizes.time;
  const model = stepModel(backend, { ...sizes, dtype: precision });
  const { step, batch } = model;
  for (let t = 1; t <= 2; t++) await step.run(batch, 1e-3, t);
  const whole: number[] = [];
  for (let t = 3; t <= 7; t++) {
    const begin = performance.now();
    await step.run(batch, 1e-3, t);
    whole.push(performance.now() - begin);
  }
  // Rows have room for more groups than the batch has, and spend nothing on those.
  const times = (await timeRows(backend, { words: step.program.words })).map(({ row, ms }) => {
    const dims = row.dims.map((value, i) => (row.spec.dims[i] === 'groups' ? sizes.groups : value));
    return { row: { ...row, dims }, ms };
  });
  const sums = new Map<string, { ms: number; rows: number; flops: number; bytes: number }>();
  for (const time of times) {
    each?.(time);
    const { row, ms } = time;
    const sum = sums.get(label(row)) ?? { ms: 0, rows: 0, flops: 0, bytes: 0 };
    sums.set(label(row), {
      ms: sum.ms + ms,
      rows: sum.rows + 1,
      flops: sum.flops + rowFlops(row),
      bytes: sum.bytes + bytesOf(row),
    });
  }
  const rowsMs = times.reduce((sum, { ms }) => sum + ms, 0);
  model.dispose();
  return {
    size,
    precision,
    stepMs: whole.sort((a, b) => a - b)[2]!,
    rowsMs,
    flops: trainingFlops(model.config, tokens),
    tokens,
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
    color: ops.map((_, i) => `hsl(${(i * 137) % 360}, ${i % 2 === 0 ? 55 : 40}%, ${45 + 15 * (i % 3)}%)`),
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
    ...sizes.filter((size) => !SIZES.has(size)),
    ...precisions.filter((p) => !(PRECISIONS as readonly string[]).includes(p)),
  ];
  if (unknown.length > 0)
    throw new Error(
      `${unknown.join(', ')}: --size takes ${[...SIZES.keys()].join(', ')}; --precision takes ${PRECISIONS.join(', ')}`,
    );
  const backend = openBackend({
    isa: flags.isa,
    threads: flags.threads === undefined ? undefined : Number(flags.threads),
  });
  const printed = ({ row, ms }: RowTime) =>
    console.log(
      `${ms.toFixed(3).padStart(9)} ms ${(rowFlops(row) / ms / 1e6).toFixed(0).padStart(5)} GFLOP/s ${(bytesOf(row) / ms / 1e6).toFixed(0).padStart(4)} GB/s  ${printRow(row)}`,
    );
  const profiles: Profile[] = [];
  for (const size of sizes) {
    for (const precision of precisions as Precision[]) {
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
