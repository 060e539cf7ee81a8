// Products on shapes of language models: TFLOP/s, and how far a sample of each result is from float64.
import { bf16ToF32, f32ToBf16 } from '../../ts/tensor/float16.js';
import { Prng } from '../../ts/tensor/prng.js';
import { Device, type Matmul, type ProductShape, repeats, report, round, row, shapes } from './device.js';

/** Elements of a result that are computed again on the host. */
const SAMPLES = 24;

/** In fp32 and tf32 only one product of each layout. */
const ONE_OF_EACH = ['large', 'gate and up', "gradient of down's input", 'gradient of down'];

const transposed = ({ layout }: ProductShape) => ({ transA: layout[0] === 'T', transB: layout[1] === 'T' });

function lengths(shape: ProductShape) {
  const { m, n, k } = shape;
  const { transA, transB } = transposed(shape);
  const leading = { lda: transA ? m : k, ldb: transB ? k : n, ldc: n, strideA: 0, strideB: 0, strideC: 0 };
  return { batch: 1, m, n, k, transA: Number(transA), transB: Number(transB), ...leading };
}

/** Norm of the difference over the norm, on random elements. Factors lie in the pool from `a` and `b` on. */
async function sampleError(
  device: Device,
  shape: ProductShape,
  [a, b]: readonly [number, number],
  c: { buffer: number; offset: number },
  matmul: Matmul,
): Promise<number> {
  const { m, n, k } = shape;
  const { transA, transB } = transposed(shape);
  const values = matmul === 'bf16' ? bf16ToF32(f32ToBf16(device.block)) : device.block;
  const random = new Prng('samples');
  let [difference, norm] = [0, 0];
  for (let s = 0; s < SAMPLES; s++) {
    const [i, j] = [random.int(m), random.int(n)];
    let sum = 0;
    for (let p = 0; p < k; p++) {
      const x = a + (transA ? p * m + i : i * k + p);
      const y = b + (transB ? j * k + p : p * n + j);
      sum += values[x % values.length]! * values[y % values.length]!;
    }
    difference += ((await device.readFloat(c, i * n + j)) - sum) ** 2;
    norm += sum * sum;
  }
  return Math.sqrt(difference / norm);
}

async function product(device: Device, shape: ProductShape, matmul: Matmul): Promise<void> {
  const { m, n, k } = shape;
  const align = (floats: number) => Math.ceil(floats / 64) * 64;
  const from = [0, align(m * k)] as const;
  const pool = device.pool(from[1] + align(n * k));
  const [a, b] = [
    { buffer: pool, offset: 0 },
    { buffer: pool, offset: from[1] * 4 },
  ];
  const c = device.place(m * n * 4);
  device.once([row('fill', { y: c }, { n: m * n }, { value: Number.NaN })]);
  const words = row('gemm', { a, b, c }, { ...lengths(shape), precision: matmul === 'bf16' ? 1 : 0 }, { alpha: 1 });
  const flops = 2 * m * n * k;
  const seconds = await device.seconds(repeats(flops, shapes.repeats.flops * (matmul === 'fp32' ? 0.1 : 1)), words);
  const library = process.env['SWEETSPOT_CUDA_GEMM'] ?? 'own';
  const figures = { us: round(seconds * 1e6), tflops: round(flops / seconds / 1e12) };
  const error = round(await sampleError(device, shape, from, c, matmul));
  report({ op: 'gemm', matmul, library, ...shape, output: 'f32', ...figures, error });
  if (matmul === 'bf16' && !transposed(shape).transA && library === 'own') {
    const half = await halfSeconds(device, shape, { a, b, c });
    const tflops = round(flops / half / 1e12);
    if (half > 0) report({ op: 'gemm', matmul, library, ...shape, output: 'bf16', us: round(half * 1e6), tflops });
  }
  device.free();
}

/**
 * The same with a result in bf16 alone, as where nothing but a product reads it: c is in the arena, and a small product
 * behind each large one multiplies a corner of it. 0 where that takes too long beside it to be taken off.
 */
async function halfSeconds(
  device: Device,
  shape: ProductShape,
  { a, b, c }: Record<'a' | 'b' | 'c', { buffer: number; offset: number }>,
): Promise<number> {
  const side = Math.min(16, shape.m, shape.n);
  const small = { ...lengths({ ...shape, m: side, n: side, k: side, layout: 'NT' }), lda: shape.n, ldb: shape.n };
  const corner = device.place(side * side * 4);
  const count = repeats(2 * shape.m * shape.n * shape.k, shapes.repeats.flops);
  const large = row('gemm', { a, b, c }, { ...lengths(shape), precision: 1 }, { alpha: 1 });
  const reader = row('gemm', { a: c, b: c, c: corner }, { ...small, precision: 1 }, { alpha: 1 });
  const pair = new Uint32Array([...large, ...reader]);
  const words = new Uint32Array(Array.from({ length: count }, () => [...pair]).flat());
  const both = await device.programSeconds({ words, arena: c.buffer, kept: [] });
  const alone = await device.seconds(count, reader);
  return alone < 0.3 * (both / count) ? both / count - alone : 0;
}

/** Library kernels are asked for by environment variables, for a whole process: run.sh does so. */
export async function products(): Promise<void> {
  const library = process.env['SWEETSPOT_CUDA_GEMM'] ?? 'own';
  for (const matmul of library === 'own' ? (['bf16', 'tf32', 'fp32'] as const) : (['bf16'] as const)) {
    await using device = new Device(matmul);
    // One pool for all.
    device.pool(Math.max(...shapes.products.map(({ m, n, k }) => m * k + n * k + 128)));
    for (const shape of shapes.products) {
      if (matmul !== 'bf16' && !ONE_OF_EACH.includes(shape.name)) continue;
      await product(device, shape, matmul);
    }
  }
}
