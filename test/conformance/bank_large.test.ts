// Weights that are too large for the caches are written past them (native/cpu/kernels/bank.cc): the cases of the suite are
// too small to get there. A large bank must be mixed bit for bit as its first tiles are on their own.
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { encodeRow } from '../../ts/backend/rows.js';
import { Prng } from '../../ts/tensor/prng.js';

for (const [groups, slices] of [
  [1, 3],
  [5, 2],
] as const) {
  test(`a large bank is mixed as its parts, ${groups} groups`, async (t) => {
    const backend = openBackend();
    const size = 256 * 9000;
    const part = 256 * 37;
    const random = new Prng(groups);
    const some = Float32Array.from({ length: 4099 }, () => random.normal());
    const slicesOf = Float32Array.from({ length: slices * size }, (_, i) => some[i % 4099]!);
    const c = Float32Array.from({ length: groups * slices }, () => random.normal());
    const place = (values: Float32Array | number) => {
      const buffer = backend.alloc(4 * (typeof values === 'number' ? values : values.length));
      if (typeof values !== 'number') backend.write(buffer, 0, new Uint8Array(values.buffer));
      return { buffer, offset: 0 };
    };
    const [bank, coefficients] = [place(slicesOf), place(c)];
    const mix = async (length: number) => {
      const w = place(groups * length);
      const words = encodeRow(
        'bank_mix',
        { t: bank, c: coefficients, w },
        { groups, slices, size: length, dtype: 0 },
        {},
      );
      backend.run(backend.compile({ words }));
      const bytes = await backend.read(w.buffer, 0, 4 * groups * length);
      return new Float32Array(bytes.buffer, bytes.byteOffset, groups * length);
    };
    const [whole, first] = [await mix(size), await mix(part)];
    for (let g = 0; g < groups; g++) {
      t.deepEqual(whole.slice(g * size, g * size + part), first.slice(g * part, (g + 1) * part), `group ${g}`);
    }
    t.true(
      whole.every((value) => value !== 0),
      'everything is written',
    );
    await backend.close();
  });
}
