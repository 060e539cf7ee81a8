// Causal attention in bf16, forward and backward: TFLOP/s, and how far a sample of the result is from float64.
import { bf16ToF32, f32ToBf16 } from '../../ts/tensor/float16.js';
import { Device, repeats, report, round, row, shapes } from './device.js';

/** One head's row of the result, from the numbers of the pool. */
function reference(values: Float32Array, window: number, head: number, t: number): Float64Array {
  const { time, heads, headDim: D } = shapes.attention;
  const width = 3 * heads * D;
  const at = (row: number, part: number, d: number) =>
    values[((window * time + row) * width + (part * heads + head) * D + d) % values.length]!;
  const scores = Float64Array.from({ length: t + 1 }, (_, s) => {
    let sum = 0;
    for (let d = 0; d < D; d++) sum += at(t, 0, d) * at(s, 1, d);
    return sum / Math.sqrt(D);
  });
  const most = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - most));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Float64Array.from({ length: D }, (_, d) => weights.reduce((sum, w, s) => sum + w * at(s, 2, d), 0) / total);
}

export async function attention(): Promise<void> {
  await using device = new Device();
  const { batch, time, heads, headDim } = shapes.attention;
  const width = heads * headDim;
  const floats = batch * time * 3 * width;
  const qkv = { buffer: device.pool(floats), offset: 0 };
  const [y, dqkv, lse] = [
    device.place(batch * time * width * 4),
    device.place(floats * 4),
    device.place(batch * heads * time * 4),
  ];
  const dims = { batch, time, heads, kvHeads: heads, headDim, precision: 1 };
  const scalars = { scale: 1 / Math.sqrt(headDim) };
  const flops = 2 * batch * heads * time * (time + 1) * headDim;
  const count = repeats(flops, shapes.repeats.flops / 8);
  const forward = await device.seconds(count, row('attention', { qkv, y, lse }, dims, scalars));

  const values = bf16ToF32(f32ToBf16(device.block));
  let [difference, norm] = [0, 0];
  for (const [window, head, t] of [
    [0, 0, time - 1],
    [batch - 1, heads - 1, time - 1],
    [batch >> 1, heads >> 1, time >> 1],
    [batch - 1, 0, 3],
  ] as const) {
    const want = reference(values, window, head, t);
    const from = ((window * time + t) * width + head * headDim) * 4;
    const bytes = await device.backend.read(y.buffer, from, headDim * 4);
    const got = new DataView(bytes.buffer, bytes.byteOffset);
    want.forEach((value, d) => {
      difference += (got.getFloat32(d * 4, true) - value) ** 2;
      norm += value * value;
    });
  }
  const shape = { batch, time, heads, headDim };
  const line = (op: string, seconds: number, work: number, more: object = {}) =>
    report({ op, ...shape, us: round(seconds * 1e6), tflops: round(work / seconds / 1e12), ...more });
  line('attention', forward, flops, { error: round(Math.sqrt(difference / norm)) });

  const dy = qkv;
  const words = row('attention_backward', { dy, qkv, y, lse, dqkv }, dims, scalars);
  line('attention_backward', await device.seconds(count, words), 2.5 * flops);
  device.free();
}
