// The roofline of a training step of the paper's 126M model, from its rows alone, without a device: bytes and FLOPs by kernel,
// and the time that each takes at least. Prints Markdown for docs/cuda.md.
//   node dist/bench/gpu/roofline.js [--memory TB/s] [--bf16 TFLOP/s] [--fp32 TFLOP/s] [--results folder of a run]
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { DecodedRow } from '../../ts/backend/rows.js';
import { trainingFlops } from '../../ts/models/cost.js';
import { rowFlops } from '../profile.js';
import { Copies } from './copies.js';
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
  rows: number;
  bytes: number;
  flops: number;
  seconds: number;
  bound: string;
}

function print(sequences: number, clusters: number, top: Ceilings): void {
  const recorder = new Recorder();
  const model = new PaperStep(recorder, shapes, sequences, clusters);
  const copies = new Copies(recorder.program!);
  const sums = new Map<string, Sum>();
  const count = (name: string, bytes: number, flops: number, rate: number) => {
    const [moving, computing] = [bytes / top.bytes, flops / rate];
    const sum = sums.get(name) ?? {
      rows: 0,
      bytes: 0,
      flops: 0,
      seconds: 0,
      bound: moving > computing ? 'memory' : 'arithmetic',
    };
    sum.rows++;
    sum.bytes += bytes;
    sum.flops += flops;
    sum.seconds += Math.max(moving, computing);
    sums.set(name, sum);
  };
  for (const { row, bytes, rounding } of copies.rows()) {
    // A gather reads the rows that it takes, not the table.
    const { spec, dims } = row;
    const table = spec.name === 'embedding' ? 4 * (dims[2]! - dims[0]!) * dims[1]! : 0;
    const bf16 = dims[spec.dims.indexOf('precision')] === 1;
    count(label(row), bytes - table, rowFlops(row), bf16 ? top.bf16 : top.fp32);
    if (rounding > 0) count('rounding to bf16, a kernel of its own', rounding, 0, top.fp32);
  }
  const all = [...sums.values()];
  const total = (of: (sum: Sum) => number) => all.reduce((sum, one) => sum + of(one), 0);
  const tokens = sequences * shapes.model.time;
  const seconds = total((sum) => sum.seconds);
  const flops = trainingFlops(model.config, tokens);
  const buffers = recorder.allocated();
  const what = clusters === 0 ? 'Plain' : `Bank, ${clusters} clusters`;
  console.log(`### ${what}: ${model.parameters.count.toLocaleString('en')} parameters, ${tokens} tokens\n`);
  console.log('| kernel | rows | GB | TFLOP | floor, ms | bound by | share |');
  console.log('| --- | ---: | ---: | ---: | ---: | --- | ---: |');
  const sorted = [...sums].sort(([, a], [, b]) => b.seconds - a.seconds);
  const rest = { rows: 0, bytes: 0, flops: 0, seconds: 0, bound: '' };
  const line = (name: string, { rows, bytes, flops: work, seconds: s, bound }: Sum) =>
    console.log(
      `| ${name} | ${rows} | ${(bytes / 1e9).toFixed(2)} | ${work === 0 ? '' : (work / 1e12).toFixed(2)} | ${(1e3 * s).toFixed(2)} | ${bound} | ${((100 * s) / seconds).toFixed(1)}% |`,
    );
  for (const [name, sum] of sorted) {
    if (sum.seconds > 0.002 * seconds) line(name, sum);
    else {
      rest.rows += sum.rows;
      rest.bytes += sum.bytes;
      rest.flops += sum.flops;
      rest.seconds += sum.seconds;
    }
  }
  line('all others', rest);
  line('**sum**', {
    rows: total((s) => s.rows),
    bytes: total((s) => s.bytes),
    flops: total((s) => s.flops),
    seconds,
    bound: '',
  });
  console.log(
    `\nBy the cost formula the step has ${(flops / 1e12).toFixed(1)} TFLOP, ${((1e3 * flops) / top.bf16).toFixed(1)} ms at the matrix ceiling: at its floor of ` +
      `${(1e3 * seconds).toFixed(1)} ms it would reach ${((100 * flops) / top.bf16 / seconds).toFixed(0)}% of that and ${Math.round(tokens / seconds / 1000)}k tokens/s. ` +
      `Memory: ${(buffers / 1e9).toFixed(1)} GB in buffers, of them the arena of activations; ${(copies.bytes() / 1e9).toFixed(1)} GB of bf16 copies apart from it.\n`,
  );
}

const top = ceilings();
console.log(
  `Ceilings (${top.source}): ${(top.bytes / 1e12).toFixed(2)} TB/s, ${(top.bf16 / 1e12).toFixed(0)} TFLOP/s in bf16, ${(top.fp32 / 1e12).toFixed(0)} TFLOP/s in float32.\n`,
);
print(shapes.sequences[0]!, 0, top);
for (const clusters of shapes.bank.clusters) print(shapes.sequences[0]!, clusters, top);
