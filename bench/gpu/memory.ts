// The ceilings of this GPU, and the kernels that only move memory as a share of them. Bytes are those that must be read and
// written, once each.
import type { Place } from '../../ts/backend/rows.js';
import { TILE } from '../../ts/nn/parameters.js';
import { bf16ToF32, f32ToBf16 } from '../../ts/tensor/float16.js';
import { Prng } from '../../ts/tensor/prng.js';
import { Device, repeats, report, round, row, shapes } from './device.js';

/** The better of reading alone and of copying, bytes a second. */
export async function roofs(): Promise<number> {
  await using device = new Device();
  const n = shapes.memory.floats;
  const x = { buffer: device.pool(n), offset: 0 };
  const [y, one] = [device.place(n * 4), device.place(64)];
  const count = repeats(4 * n, shapes.repeats.bytes);
  const read = (4 * n) / (await device.seconds(count, row('roof_read', { x, y: one }, { n }, {})));
  const copied = (8 * n) / (await device.seconds(count, row('cast', { x, y }, { n, from: 0, to: 0 }, {})));
  // The ops say how many GFLOP they did; 0 where the kernels have no such thing.
  const iterations = shapes.repeats.flops > 0 ? 4096 : 1;
  const rate = async (op: 'roof_fma' | 'roof_bf16') => {
    const seconds = await device.seconds(2, row(op, { y: one }, { iterations }, {}));
    return (await device.readFloat(one, 0)) / seconds / 1e3;
  };
  const [fp32, bf16] = [await rate('roof_fma'), await rate('roof_bf16')];
  report({
    op: 'roof',
    readGBs: round(read / 1e9),
    copyGBs: round(copied / 1e9),
    fp32Tflops: round(fp32),
    bf16Tflops: round(bf16),
  });
  return Math.max(read, copied);
}

/** How far random elements of w are from float64, over their norm. Slices, coefficients and s all begin where the pool does. */
async function mixError(device: Device, w: Place, groups: number): Promise<number> {
  const { block } = device;
  const [size, slices] = [shapes.memory.matrix, shapes.bank.slices];
  const t = bf16ToF32(f32ToBf16(block));
  const random = new Prng('samples');
  let [difference, norm] = [0, 0];
  for (let i = 0; i < 32; i++) {
    const [g, e] = [random.int(groups), random.int(size)];
    let sum = block[e % block.length]!;
    for (let r = 0; r < slices; r++) {
      const place = (Math.floor(e / TILE) * slices + r) * TILE + (e % TILE);
      sum += block[g * slices + r]! * t[place % t.length]!;
    }
    difference += ((await device.readFloat(w, g * size + e)) - sum) ** 2;
    norm += sum * sum;
  }
  return Math.sqrt(difference / norm);
}

/** Slices in bf16 of one generated matrix, and AdamW on a dense one of the same size. */
export async function bank(roof: number): Promise<void> {
  await using device = new Device();
  const { matrix: size, groups: all } = shapes.memory;
  const { slices } = shapes.bank;
  const pool = device.pool(slices * size);
  const numbers: Place = { buffer: pool, offset: 0 };
  const [t, m, v] = [device.place(2 * slices * size), device.place(4 * slices * size), device.place(4 * slices * size)];
  device.once([
    row('cast', { x: numbers, y: t }, { n: slices * size, from: 0, to: 1 }, {}),
    row('fill', { y: v }, { n: slices * size }, { value: 1e-4 }),
  ]);
  const hyper = device.floats([1e-6, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 1]);
  const clip = device.floats([1]);
  const ds = device.place(4 * size);
  const scalars = { lrScale: 1, decayScale: 1 };
  const measure = async (
    op: string,
    words: Uint32Array,
    bytes: number,
    shape: object,
    error?: () => Promise<number>,
  ) => {
    const seconds = await device.seconds(repeats(bytes, shapes.repeats.bytes), words);
    const rate = bytes / seconds;
    const figures = { us: round(seconds * 1e6), GBs: round(rate / 1e9), share: round(rate / roof) };
    report({ op, ...shape, ...figures, ...(error && { error: round(await error()) }) });
  };
  for (const groups of all) {
    const w = device.place(4 * groups * size);
    const dc = device.place(4 * groups * slices);
    const c = numbers;
    const dw = numbers;
    const dims = { groups, slices, size };
    const typed = { ...dims, dtype: 1 };
    const [slice, group] = [2 * slices * size, 4 * groups * size];
    await measure('bank_mix', row('bank_mix', { t, c, s: numbers, w }, typed, {}), slice + group + 4 * size, dims, () =>
      mixError(device, w, groups),
    );
    await measure(
      'bank_mix_backward',
      row('bank_mix_backward', { dw, t, dc, ds }, typed, {}),
      slice + group + 4 * size,
      dims,
    );
    await measure('bank_sum_squares', row('bank_sum_squares', { dw, c, y: ds }, dims, {}), group, dims);
    const update = row('bank_adamw', { dw, c, hyper, clip, t, m, v }, { ...typed, seed: 0 }, scalars);
    await measure('bank_adamw', update, 2 * slice + 16 * slices * size + group, dims);
  }
  const n = Math.min(slices * size, 1 << 27);
  const p = device.place(4 * n);
  const dense = row('adamw', { g: numbers, hyper, clip, p, m, v }, { n }, scalars);
  await measure('adamw', dense, 28 * n, { n });
  device.free();
}
