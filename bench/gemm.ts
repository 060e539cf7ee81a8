// Matrix products on the shapes of training, side by side with OpenBLAS, oneDNN and BLIS. Weights are stored (out, in): the
// forward pass of a layer is N T, its input gradient N N, its weight gradient T N.
import { PRECISIONS } from '../ts/train/precision.js';
import { type BenchCase, type Context, compete, type Entrant, ours, rate } from './context.js';
import { GEMM_PEERS } from './peers.js';
import type { Result } from './result.js';
import { type RowSpec, TimedRows } from './rows.js';

type Transposes = 'NN' | 'NT' | 'TN';
interface Shape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposes: Transposes;
  readonly quick?: boolean;
}

/** The three products of a layer from `inputs` to `outputs` over `rows` tokens. */
const layer = (rows: number, inputs: number, outputs: number, quick = false): Shape[] => [
  { m: rows, n: outputs, k: inputs, transposes: 'NT', quick },
  { m: rows, n: inputs, k: outputs, transposes: 'NN', quick },
  { m: outputs, n: inputs, k: rows, transposes: 'TN', quick },
];
const square = (n: number, quick = false): Shape => ({ m: n, n, k: n, transposes: 'NN', quick });
/** Weights of 256 MiB: they come from memory. */
const skinny = (m: number): Shape[] => [
  { m, n: 8192, k: 8192, transposes: 'NT', quick: m === 1 },
  { m, n: 8192, k: 8192, transposes: 'NN' },
];

export const SHAPES: Readonly<Record<string, readonly Shape[]>> = {
  'gemm square': [square(256), square(512), square(1024, true), square(2048)],
  'gemm training': [
    ...layer(2048, 256, 1024, true),
    ...layer(2048, 1024, 256),
    ...layer(2048, 512, 2048),
    ...layer(2048, 1024, 4096),
    ...layer(2048, 512, 32000),
  ],
  'gemm small': [
    ...layer(4096, 64, 192),
    ...layer(4096, 64, 352, true),
    ...layer(1024, 64, 2048),
    ...layer(4096, 128, 384),
    ...layer(4096, 128, 704),
    ...layer(4096, 256, 1376),
  ],
  'gemm skinny': [...skinny(1), ...skinny(4), ...skinny(16)],
};

export const gemmCases: readonly BenchCase[] = PRECISIONS.flatMap((dtype) =>
  Object.entries(SHAPES).flatMap(([group, shapes]) =>
    shapes.map((shape): BenchCase => {
      const text = `${shape.m}x${shape.n}x${shape.k} ${shape.transposes}`;
      const name = `${group} ${text} ${dtype}`;
      return {
        group: 'gemm',
        name,
        quick: shape.quick ?? false,
        run: (context) => run(context, name, shape, text, dtype),
      };
    }),
  ),
);

async function run(context: Context, name: string, shape: Shape, text: string, dtype: string): Promise<Result[]> {
  const { m, n, k, transposes } = shape;
  const [transA, transB] = [transposes[0] === 'T' ? 1 : 0, transposes[1] === 'T' ? 1 : 0];
  const bf16 = dtype === 'bf16' ? 1 : 0;
  const spec: RowSpec = {
    op: 'gemm',
    dims: { batch: 1, m, n, k, transA, transB, lda: transA ? m : k, ldb: transB ? k : n, ldc: n, precision: bf16 },
    scalars: { alpha: 1 },
  };
  const [flops, bytes] = [2 * m * n * k, 4 * (m * k + k * n + m * n)];
  const mine = new TimedRows(context.backend, [spec]);
  const entrants: Entrant[] = [ours(context, mine.contender)];
  const calls = Math.max(1, Math.min(500, Math.ceil((m <= 16 ? 1e8 : 1.5e9) / flops)));
  for (const peer of GEMM_PEERS) {
    if (bf16 === 1 && !peer.bf16) continue;
    const process = await context.peers.gemm(peer);
    if (process === undefined) continue;
    const request = { m, n, k, transA, transB, bf16, calls, samples: 5 };
    const backend = context.peers.found[peer.name]!;
    entrants.push({ ...process.contender(peer.name, request), peer: peer.name, backend });
  }
  try {
    return await compete(context, { name, op: 'gemm', shape: text, dtype, ...rate(flops, bytes, dtype) }, entrants);
  } finally {
    mine.free();
  }
}
