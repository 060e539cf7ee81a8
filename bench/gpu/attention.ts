// Causal attention in bf16, forward and backward: TFLOP/s, and how far samples of both results are from float64.
import { bf16ToF32, f32ToBf16 } from '../../ts/tensor/float16.js';
import { Device, repeats, report, round, row, shapes } from './device.js';

const { batch, time, heads, headDim: D } = shapes.attention;
const width = heads * D;
const scale = 1 / Math.sqrt(D);

/** One head's row of y and of the gradient of q, from the numbers of the pool: q, k, v and dy all begin where it does. */
function reference(values: Float32Array, window: number, head: number, t: number): { y: number[]; dq: number[] } {
  const at = (row: number, part: number, d: number) =>
    values[((window * time + row) * 3 * width + part * width + head * D + d) % values.length]!;
  const dy = (d: number) => values[((window * time + t) * width + head * D + d) % values.length]!;
  const keys = Array.from({ length: t + 1 }, (_, s) => s);
  const axis = Array.from({ length: D }, (_, d) => d);
  const sum = (terms: readonly number[]) => terms.reduce((all, term) => all + term, 0);
  const scores = keys.map((s) => scale * sum(axis.map((d) => at(t, 0, d) * at(s, 1, d))));
  const most = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - most));
  const total = sum(weights);
  const p = weights.map((weight) => weight / total);
  const dp = keys.map((s) => sum(axis.map((d) => dy(d) * at(s, 2, d))));
  const mean = sum(keys.map((s) => p[s]! * dp[s]!));
  return {
    y: axis.map((d) => sum(keys.map((s) => p[s]! * at(s, 2, d)))),
    dq: axis.map((d) => scale * sum(keys.map((s) => p[s]! * (dp[s]! - mean) * at(s, 1, d)))),
  };
}

/** Norm of the difference over the norm, on rows here and there. `stride` floats a row of the result. */
async function sampleError(device: Device, of: 'y' | 'dq', buffer: number, stride: number): Promise<number> {
  const values = bf16ToF32(f32ToBf16(device.block));
  let [difference, norm] = [0, 0];
  for (const [window, head, t] of [
    [0, 0, time - 1],
    [batch - 1, heads - 1, time - 1],
    [batch >> 1, heads >> 1, time >> 1],
    [batch - 1, 0, 3],
  ] as const) {
    const bytes = await device.backend.read(buffer, ((window * time + t) * stride + head * D) * 4, D * 4);
    const got = new DataView(bytes.buffer, bytes.byteOffset);
    reference(values, window, head, t)[of].forEach((value, d) => {
      difference += (got.getFloat32(d * 4, true) - value) ** 2;
      norm += value * value;
    });
  }
  return round(Math.sqrt(difference / norm));
}

export async function attention(): Promise<void> {
  await using device = new Device();
  const floats = batch * time * 3 * width;
  const qkv = { buffer: device.pool(floats), offset: 0 };
  const [y, dqkv] = [device.place(batch * time * width * 4), device.place(floats * 4)];
  const lse = device.place(batch * heads * time * 4);
  const dims = { batch, time, heads, kvHeads: heads, headDim: D, precision: 1 };
  const flops = 2 * batch * heads * time * (time + 1) * D;
  const measure = async (op: string, words: Uint32Array, work: number, error: () => Promise<number>) => {
    const seconds = await device.seconds(repeats(flops, shapes.repeats.flops / 8), words);
    const figures = { us: round(seconds * 1e6), tflops: round(work / seconds / 1e12) };
    report({ op, ...shapes.attention, ...figures, error: await error() });
  };
  const forward = row('attention', { qkv, y, lse }, dims, { scale });
  await measure('attention', forward, flops, () => sampleError(device, 'y', y.buffer, width));
  const backward = row('attention_backward', { dy: qkv, qkv, y, lse, dqkv }, dims, { scale });
  await measure('attention_backward', backward, 2.5 * flops, () => sampleError(device, 'dq', dqkv.buffer, 3 * width));
  device.free();
}
