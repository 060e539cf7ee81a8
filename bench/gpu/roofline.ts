// The roofline of a training step of the paper's 126M model, from its rows alone, without a device: bytes and FLOPs by kernel,
// and the time that each takes at least. Prints Markdown for docs/cuda.md. Needs a C compiler and a build of the CUDA library
// beside the addon, as nvcc makes it or for the emulator.
//   node dist/bench/gpu/roofline.js [--memory TB/s] [--bf16 TFLOP/s] [--fp32 TFLOP/s] [--results folder of a run]
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { DecodedRow } from '../../ts/backend/rows.js';
import { trainingFlops } from '../../ts/models/cost.js';
import { rowFlops } from '../profile.js';
import { countBytes } from './bytes.js';
import type { Shapes } from './device.js';
import { Recorder } from './recorder.js';
import { PaperStep } from './step.js';

const { values: flags } = parseArgs({
  options: {
    memory: { type: 'string', default: '3.0' },
    bf16: { type: 'string', default: '800' },
    fp32: { type: 'string', default: '60' },
    results: { type: 'string' },
  },
});
/** Clusters in a batch; 0: the plain model. */
const CLUSTERS = [0, 4, 16, 32];
const shapes: Shapes = JSON.parse(readFileSync(new URL('../../../bench/gpu/shapes.json', import.meta.url), 'utf8'));

/** A second's worth of each. */
interface Ceilings {
  readonly bytes: number;
  readonly bf16: number;
  readonly fp32: number;
  readonly source: string;
}

function ceilings(): Ceilings {
  const given = {
    bytes: Number(flags.memory) * 1e12,
    bf16: Number(flags.bf16) * 1e12,
    fp32: Number(flags.fp32) * 1e12,
  };
  const file = path.join(flags.results ?? '', 'figures.json');
  if (flags.results === undefined || !existsSync(file)) return { ...given, source: 'assumed, not measured' };
  const { memoryRoof, matrixRoof } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>;
  return { ...given, bytes: memoryRoof! * 1e9, bf16: matrixRoof! * 1e12, source: 'of memory and matrices measured' };
}

/** Products by shape, everything else by op. */
function label(row: DecodedRow): string {
  const d = (name: string) => row.dims[row.spec.dims.indexOf(name)]!;
  const { name } = row.spec;
  if (name === 'gemm')
    return `gemm ${d('transA') ? 'T' : 'N'}${d('transB') ? 'T' : 'N'} ${d('m')} x ${d('n')} x ${d('k')}`;
  if (name === 'grouped_gemm') return `grouped_gemm N${d('transB') ? 'T' : 'N'} ${d('rows')} x ${d('n')} x ${d('k')}`;
  if (name === 'grouped_gemm_dw') return `grouped_gemm_dw ${d('m')} x ${d('n')} x ${d('rows')}`;
  return name;
}

interface Sum {
  bytes: number;
  flops: number;
  seconds: number;
  bound: string;
}

interface Step {
  readonly name: string;
  readonly sums: ReadonlyMap<string, Sum>;
  readonly parameters: number;
  readonly tokens: number;
  /** By the cost formula. */
  readonly flops: number;
  /** Bytes in buffers, and those of copies apart from them. */
  readonly buffers: number;
  readonly copies: number;
}

function step(sequences: number, clusters: number, top: Ceilings): Step {
  const recorder = new Recorder();
  const model = new PaperStep(recorder, shapes, sequences, clusters);
  const { rows, copies } = countBytes(recorder.program!);
  const sums = new Map<string, Sum>();
  const count = (name: string, bytes: number, flops: number, rate: number) => {
    const [moving, computing] = [bytes / top.bytes, flops / rate];
    const bound = moving > computing ? 'memory' : 'arithmetic';
    const sum = sums.get(name) ?? { bytes: 0, flops: 0, seconds: 0, bound };
    sum.bytes += bytes;
    sum.flops += flops;
    sum.seconds += Math.max(moving, computing);
    sums.set(name, sum);
  };
  for (const { row, bytes, rounding } of rows) {
    // A gather reads the rows that it takes, not the table.
    const { spec, dims } = row;
    const table = spec.name === 'embedding' ? 4 * (dims[2]! - dims[0]!) * dims[1]! : 0;
    const bf16 = dims[spec.dims.indexOf('precision')] === 1;
    count(label(row), bytes - table, rowFlops(row), bf16 ? top.bf16 : top.fp32);
    if (rounding > 0) count('rounding to bf16, a kernel of its own', rounding, 0, top.fp32);
  }
  const tokens = sequences * shapes.model.time;
  return {
    name: clusters === 0 ? 'plain' : `${clusters} clusters`,
    sums,
    parameters: model.parameters.count,
    tokens,
    flops: trainingFlops(model.config, tokens),
    buffers: recorder.allocated(),
    copies,
  };
}

const total = ({ sums }: Step, of: (sum: Sum) => number) => [...sums.values()].reduce((sum, one) => sum + of(one), 0);
const seconds = (one: Step) => total(one, (sum) => sum.seconds);

/** A line for every kernel that takes its share of a step, the longest first. */
function print(steps: readonly Step[]): void {
  const line = (cells: readonly string[]) => console.log(`| ${cells.join(' | ')} |`);
  const cells = (gigabytes: number, time: number) => [gigabytes.toFixed(2), (1e3 * time).toFixed(2)];
  line(['kernel', 'TFLOP', 'bound by', ...steps.flatMap(({ name }) => [`${name}: GB`, 'ms'])]);
  line(['---', '---:', '---', ...steps.flatMap(() => ['---:', '---:'])]);
  const longest = (name: string) => Math.max(...steps.map(({ sums }) => sums.get(name)?.seconds ?? 0));
  const names = [...new Set(steps.flatMap(({ sums }) => [...sums.keys()]))].sort((a, b) => longest(b) - longest(a));
  const shown = names.filter((name) => longest(name) > 0.004 * seconds(steps[0]!));
  for (const name of shown) {
    const { flops, bound } = steps.flatMap(({ sums }) => sums.get(name) ?? []).at(-1)!;
    line([
      name,
      flops === 0 ? '' : (flops / 1e12).toFixed(2),
      bound,
      ...steps.flatMap(({ sums }) => {
        const sum = sums.get(name);
        return sum === undefined ? ['', ''] : cells(sum.bytes / 1e9, sum.seconds);
      }),
    ]);
  }
  const others = steps.map(({ sums }) => [...sums].flatMap(([name, sum]) => (shown.includes(name) ? [] : [sum])));
  const add = (sums: readonly Sum[], of: (sum: Sum) => number) => sums.reduce((all, sum) => all + of(sum), 0);
  const rest = others.flatMap((sums) =>
    cells(
      add(sums, ({ bytes }) => bytes / 1e9),
      add(sums, (sum) => sum.seconds),
    ),
  );
  line(['all others', '', '', ...rest]);
  line([
    '**sum**',
    '',
    '',
    ...steps.flatMap((one) =>
      cells(
        total(one, ({ bytes }) => bytes / 1e9),
        seconds(one),
      ),
    ),
  ]);
}

function printTotals(steps: readonly Step[], top: Ceilings): void {
  console.log(
    '\n| step | values | TFLOP | at the floor: tokens/s | of the matrix ceiling | buffers, GB | copies apart, GB |',
  );
  console.log('| --- | ---: | ---: | ---: | ---: | ---: | ---: |');
  for (const one of steps) {
    const { name, parameters, tokens, flops, buffers, copies } = one;
    const rate = `${Math.round(tokens / seconds(one) / 1000)}k`;
    const share = `${((100 * flops) / top.bf16 / seconds(one)).toFixed(0)}%`;
    const [millions, memory, apart] = [
      (parameters / 1e6).toFixed(0),
      (buffers / 1e9).toFixed(1),
      (copies / 1e9).toFixed(1),
    ];
    console.log(
      `| ${name} | ${millions} million | ${(flops / 1e12).toFixed(1)} | ${rate} | ${share} | ${memory} | ${apart} |`,
    );
  }
}

const top = ceilings();
console.log(
  `Ceilings (${top.source}): ${(top.bytes / 1e12).toFixed(2)} TB/s, ${(top.bf16 / 1e12).toFixed(0)} TFLOP/s in bf16, ${(top.fp32 / 1e12).toFixed(0)} TFLOP/s in float32.\n`,
);
const steps = CLUSTERS.map((clusters) => step(shapes.sequences[0]!, clusters, top));
print(steps);
printTotals(steps, top);
