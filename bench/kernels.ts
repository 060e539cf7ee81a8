// The kernels that are particular to this library, beside PyTorch and scikit-learn: weights of a bank and their gradients,
// nearest centroids, softmax top-k routing.
import { OPS } from '../ts/backend/ops.gen.js';
import type { SliceType } from '../ts/nn/parameters.js';
import { type BenchCase, type Context, compete, type Entrant, ours, rate, type Work } from './context.js';
import type { Result } from './result.js';
import { type RowSpec, TimedRows } from './rows.js';

interface Kernel {
  readonly name: string;
  readonly op: string;
  readonly shape: string;
  readonly quick: boolean;
  readonly rows: () => readonly RowSpec[];
  /** Task of peers/torch_ops.py. */
  readonly task: Readonly<Record<string, unknown>>;
  readonly peer: string;
  readonly work: Pick<Work, 'value' | 'unit' | 'ideal'>;
}

/** Milliseconds with a share of the memory roof: the bytes are what the row of ours moves, which a peer may not need. */
const milliseconds = (bytes: number, flops = 0): Pick<Work, 'value' | 'unit' | 'ideal'> => ({
  unit: 'ms',
  value: (seconds) => seconds * 1e3,
  ideal: (roof) => Math.max(bytes / 1e9 / roof.read, flops / 1e9 / roof.fp32),
});

const SIZE = 1024 * 4096;
const hyper = Float32Array.of(1e-6, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 1);

/** PyTorch's slices are float32 in any case. */
function bankKernels(slices: number, groups: number, sliceType: SliceType = 'f32'): Kernel[] {
  const half = sliceType === 'bf16';
  const dims = { slices, groups, size: SIZE, dtype: half ? 1 : 0 };
  const shape = `h${slices}${half ? ' bf16' : ''} G${groups} 1024x4096`;
  const mix: RowSpec = { op: 'bank_mix', dims, present: ['s'] };
  const back: RowSpec = { op: 'bank_mix_backward', dims, present: ['ds'] };
  const update = (): RowSpec => ({
    op: 'bank_adamw',
    dims,
    scalars: { lrScale: 1, decayScale: 1 },
    inputs: { hyper, clip: Float32Array.of(1), v: new Float32Array(slices * SIZE).fill(1e-4) },
  });
  const task = { task: 'bank', slices, groups, size: SIZE };
  const read = (half ? 2 : 4) * SIZE * slices;
  const moments = 2 * 4 * SIZE * slices;
  const weights = 4 * SIZE * groups;
  return [
    {
      name: `bank weights ${shape}`,
      op: 'bank_mix',
      shape,
      quick: false,
      rows: () => [mix],
      task: { ...task, forward: 1 },
      peer: 'torch',
      work: rate(0, read + 4 * SIZE + weights, 'fp32'),
    },
    {
      // The gradient of a slice is never stored: the next row forms it while it updates.
      name: `bank weights, coefficient gradient ${shape}`,
      op: 'bank_mix_backward',
      shape,
      quick: false,
      rows: () => [mix, back],
      task,
      peer: 'torch',
      work: milliseconds(2 * read + 8 * SIZE + 2 * weights),
    },
    {
      name: `bank weights, gradients, AdamW ${shape}`,
      op: 'bank_adamw',
      shape,
      quick: groups === 1 && !half,
      rows: () => [mix, back, update()],
      task: { ...task, update: 1 },
      peer: 'torch',
      work: milliseconds(4 * read + 2 * moments + 8 * SIZE + 3 * weights),
    },
  ];
}

const [points, cols, clusters] = [100_000, 384, 1024];
const [tokens, experts, k] = [8192, 64, 2];

const KERNELS: readonly Kernel[] = [
  ...bankKernels(23, 1),
  ...bankKernels(23, 1, 'bf16'),
  ...bankKernels(16, 16),
  {
    name: `k-means assignment ${points}x${cols} to ${clusters}`,
    op: 'kmeans_assign',
    shape: `${points}x${cols} ${clusters}`,
    quick: true,
    rows: () => [{ op: 'kmeans_assign', dims: { rows: points, cols, clusters } }],
    task: { task: 'kmeans', rows: points, cols, clusters },
    peer: 'scikit-learn',
    work: milliseconds(4 * points * cols, 2 * points * cols * clusters),
  },
  {
    name: `softmax top-k ${tokens}x${experts} k ${k}`,
    op: 'topk_softmax',
    shape: `${tokens}x${experts} k${k}`,
    quick: true,
    rows: () => [{ op: 'topk_softmax' as never, dims: { rows: tokens, experts, k, normalize: 0 } }],
    task: { task: 'route', rows: tokens, experts, k, calls: 10 },
    peer: 'torch',
    work: { ...milliseconds(0), ideal: () => null },
  },
];

export const kernelCases: readonly BenchCase[] = KERNELS.map((kernel) => ({
  group: 'kernels',
  name: kernel.name,
  quick: kernel.quick,
  run: (context) => run(context, kernel),
}));

async function run(context: Context, kernel: Kernel): Promise<Result[]> {
  const { name, op, shape, peer } = kernel;
  const mine = op in OPS ? new TimedRows(context.backend, kernel.rows()) : undefined;
  if (mine === undefined) context.skip(name, `no op ${op}`);
  const entrants: Entrant[] = mine === undefined ? [] : [ours(context, mine.contender)];
  const torch = await context.peers.torchOps();
  if (torch !== undefined) {
    const contender = torch.contender(peer, { ...kernel.task, samples: 3 });
    entrants.push({ ...contender, peer, backend: `torch ${context.peers.found['torch']}` });
  }
  try {
    return await compete(context, { name, op, shape, dtype: 'fp32', ...kernel.work }, entrants);
  } finally {
    mine?.free();
  }
}
