// Every op on the cases of the conformance suite that are worth timing, and on the sizes of a training step (d 256, 4,096
// tokens). Work that stays in the caches has no share of a roof.
import { CASES } from '../test/conformance/cases/index.js';
import { drawInputs } from '../test/conformance/generators.js';
import type { OpName } from '../ts/backend/ops.gen.js';
import { type BenchCase, compete, ours, rate } from './context.js';
import { type RowSpec, rowBytes, TimedRows } from './rows.js';

interface Sized extends RowSpec {
  readonly label: string;
  readonly flops?: number;
}

const [rows, width, inner, heads, vocab] = [4096, 256, 688, 4, 8192];
const qkv = { heads, kvHeads: heads, headDim: width / heads };
const attention = { batch: 16, time: 256, ...qkv, precision: 0 };
/** Scores and values of the half below the diagonal. */
const attentionFlops = 2 * 2 * attention.batch * (attention.time ** 2 / 2) * width;
const hyper = Float32Array.of(1e-6, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 0);
const one = Float32Array.of(1);
/** A second moment is never negative. */
const moments = (n: number) => new Float32Array(n).fill(1e-4);
const ids = (count: number, below: number) =>
  Int32Array.from({ length: count }, (_, i) => (Math.imul(i, 2654435761) >>> 8) % below);

const n = 16 << 20;
const long = 64 << 20;
const training = (): Sized[] => [
  { op: 'attention', label: 'B16 T256 H4 D64', dims: attention, scalars: { scale: 0.125 }, flops: attentionFlops },
  {
    op: 'attention_backward',
    label: 'B16 T256 H4 D64',
    dims: attention,
    scalars: { scale: 0.125 },
    flops: 2.5 * attentionFlops,
  },
  { op: 'rms_norm', label: `${rows}x${width}`, dims: { rows, cols: width }, scalars: { eps: 1e-5 } },
  {
    op: 'rms_norm_backward',
    label: `${rows}x${width}`,
    dims: { rows, cols: width },
    present: ['add', 'addw'],
  },
  { op: 'rope', label: `${rows} H4 D64`, dims: { rows, ...qkv, inverse: 0 }, scalars: { theta: 10000 } },
  { op: 'swiglu', label: `${rows}x${inner}`, dims: { rows, cols: inner } },
  { op: 'swiglu_backward', label: `${rows}x${inner}`, dims: { rows, cols: inner } },
  { op: 'embedding', label: `${rows}x${width}`, dims: { rows, cols: width, vocab }, inputs: { ids: ids(rows, vocab) } },
  {
    op: 'embedding_backward',
    label: `${rows}x${width}`,
    dims: { rows, cols: width, vocab },
    inputs: { ids: ids(rows, vocab) },
    present: ['add'],
  },
  {
    op: 'cross_entropy',
    label: `${rows}x${vocab}`,
    dims: { rows, vocab },
    inputs: { targets: ids(rows, vocab), scale: one },
    present: ['scale', 'dlogits'],
  },
  { op: 'add', label: '64M', dims: { n: long }, scalars: { alpha: 1, beta: 1 } },
  { op: 'sum_squares', label: '64M', dims: { n: long } },
  {
    op: 'adamw',
    label: '16M',
    dims: { n },
    scalars: { lrScale: 1, decayScale: 1 },
    inputs: { hyper, clip: one, v: moments(n) },
  },
];

const QUICK: readonly string[] = ['attention', 'rms_norm', 'swiglu', 'adamw'];

const sized = training();
const trainingCases = sized.map((spec): BenchCase => {
  const name = `ops ${spec.op} ${spec.label}`;
  return {
    group: 'ops',
    name,
    quick: QUICK.includes(spec.op),
    run: (context) => time(context, name, spec, spec.label, spec.flops ?? 0, rowBytes(spec)),
  };
});

const conformanceCases = (Object.keys(CASES) as (keyof typeof CASES)[]).flatMap((op) =>
  CASES[op]
    .filter((item) => item.large)
    .map((item): BenchCase => {
      const shape = item.name.replace(/ (ld[abc]|stride[ABC])=\d+/g, '');
      const name = `conformance ${op} ${shape}`;
      return {
        group: 'ops',
        name,
        quick: false,
        run: (context) => {
          const { dims, scalars, present } = item;
          const spec: RowSpec = { op: op as OpName, dims, scalars, present, inputs: drawInputs(item) };
          return time(context, name, spec, shape, item.flops, item.bytes);
        },
      };
    }),
);

async function time(
  context: Parameters<BenchCase['run']>[0],
  name: string,
  spec: RowSpec,
  shape: string,
  flops: number,
  bytes: number,
) {
  const mine = new TimedRows(context.backend, [spec]);
  const dtype = spec.dims['precision'] === 1 ? 'bf16' : 'fp32';
  const work = { name, op: spec.op, shape, dtype, ...rate(flops, bytes, dtype) };
  try {
    return await compete(context, work, [ours(context, mine.contender)]);
  } finally {
    mine.free();
  }
}

export const opCases: readonly BenchCase[] = [...trainingCases, ...conformanceCases];
