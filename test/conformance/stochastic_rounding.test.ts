// Slices in bf16: the optimizer rounds them up or down at random. The mean must be right, nothing may be drawn twice, and
// the same bits must come out on every device.
import test from 'ava';
import type { Backend } from '../../ts/backend/index.js';
import { encodeRow } from '../../ts/backend/rows.js';
import { bf16ToF32, f32ToBf16 } from '../../ts/tensor/float16.js';
import { VARIANTS } from './variants.js';

const [SLICES, SIZE] = [4, 256 * 64];
const COUNT = SLICES * SIZE;

interface Steps {
  readonly rate: number;
  readonly seed: number;
  readonly first: number;
  /** Default: first. */
  readonly last?: number;
  /** Every word of the first moment. Default 0. */
  readonly moment?: number;
}

/** COUNT weights `from` after steps first .. last of weight decay alone: each takes rate times the weight off it. */
async function decayed(backend: Backend, from: number, { rate, seed, first, last = first, moment = 0 }: Steps) {
  const place = (values: Float32Array | Uint16Array) => {
    const buffer = backend.alloc(values.byteLength);
    backend.write(buffer, 0, new Uint8Array(values.buffer));
    return { buffer, offset: 0 };
  };
  const floats = (n: number) => place(new Float32Array(n));
  const t = place(f32ToBf16(new Float32Array(COUNT).fill(from)));
  const m = place(new Float32Array(new Uint32Array(COUNT).fill(moment).buffer));
  const [dw, c, v] = [floats(SIZE), floats(SLICES), floats(COUNT)];
  const clip = place(Float32Array.of(1));
  const hyper = place(new Float32Array(8));
  const dims = { groups: 1, slices: SLICES, size: SIZE, dtype: 1, seed };
  const row = encodeRow('bank_adamw', { dw, c, hyper, clip, t, m, v }, dims, { lrScale: 1, decayScale: 1 });
  const program = backend.compile({ words: row });
  for (let step = first; step <= last; step++) {
    const values = Float32Array.of(1, 0.9, 0.95, 1e-8, rate, 1, 1, step);
    backend.write(hyper.buffer, 0, new Uint8Array(values.buffer));
    backend.run(program);
  }
  const bytes = await backend.read(t.buffer, 0, 2 * COUNT);
  backend.release(program);
  for (const { buffer } of [t, dw, c, m, v, clip, hyper]) backend.free(buffer);
  return bf16ToF32(new Uint16Array(bytes.buffer, bytes.byteOffset, COUNT));
}

/** Within five standard deviations of a share p of `n` draws. */
const likely = (hits: number, n: number, p: number) => Math.abs(hits - n * p) < 5 * Math.sqrt(n * p * (1 - p));
const below = (values: Float32Array, one: number) => Array.from(values, (value) => Math.abs(value) < one);
const both = (a: readonly boolean[], b: readonly boolean[]) => a.filter((x, i) => x && b[i]).length;

for (const variant of VARIANTS.filter((one) => one.available())) {
  test(`${variant.name}: shares, independence and means`, async (t) => {
    const backend = variant.open(2);
    const plain = { rate: 2 ** -10, seed: 7, first: 1 };
    // bf16 has steps of 2^-8 below 1: a quarter of the way down is down in a quarter of the cases, whatever the sign.
    for (const sign of [1, -1]) {
      const one = await decayed(backend, sign, plain);
      t.true(one.every((value) => value === sign || value === sign * (1 - 2 ** -8)));
      t.true(likely(below(one, 1).filter(Boolean).length, COUNT, 1 / 4), `sign ${sign}`);
    }
    const first = below(await decayed(backend, 1, plain), 1);
    const step = below(await decayed(backend, 1, { ...plain, first: 2 }), 1);
    const seed = below(await decayed(backend, 1, { ...plain, seed: 8 }), 1);
    t.true(likely(both(first, step), COUNT, 1 / 16), 'another step draws anew');
    t.true(likely(both(first, seed), COUNT, 1 / 16), 'another seed draws anew');
    for (const away of [1, 4, 8, 16, 256, 1024]) {
      t.true(likely(both(first.slice(away), first), COUNT - away, 1 / 16), `neighbours ${away} apart`);
      t.true(likely(both(first.slice(away), step), COUNT - away, 1 / 16), `${away} apart in the next step`);
    }
    // Rounding to nearest would leave every weight at 1.
    const many = await decayed(backend, 1, { rate: 2 ** -13, seed: 9, first: 1, last: 400 });
    const mean = many.reduce((sum, value) => sum + value, 0) / COUNT;
    t.true(Math.abs(mean - (1 - 2 ** -13) ** 400) < 2e-4, `the mean after 400 steps is ${mean}`);
    await backend.close();
  });
}

test('the same bits on every device, and NaN stays NaN', async (t) => {
  let bits: Uint16Array | undefined;
  for (const variant of VARIANTS.filter((one) => one.available())) {
    for (const threads of [1, 3]) {
      const backend = variant.open(threads);
      const found = f32ToBf16(await decayed(backend, 1, { rate: 2 ** -10, seed: 123456789, first: 16_777_215 }));
      bits ??= found;
      t.deepEqual(found, bits, variant.name);
      // All ones: a carry out of the fraction would make it a zero.
      const nan = await decayed(backend, 1, { rate: 2 ** -10, seed: 1, first: 1, moment: 0x7fffffff });
      t.true(nan.every((value) => Number.isNaN(value)));
      await backend.close();
    }
  }
});
