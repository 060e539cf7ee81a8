// Every 16-bit value both ways, the rounding points between neighbours, and an independent float64 definition.

import test from 'ava';
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from '../../ts/tensor/float16.js';

const all = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** The value of F16 or BF16 bits by the definition of the format. */
function decode(bits: number, mantissaBits: number, bias: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const mantissa = (bits & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  const exponent = (bits & 0x7fff) >> mantissaBits;
  if (exponent === 2 ** (15 - mantissaBits) - 1) return mantissa === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * mantissa * 2 ** (1 - bias) : sign * (1 + mantissa) * 2 ** (exponent - bias);
}

const formats = [
  { name: 'F16', widen: f16ToF32, narrow: f32ToF16, mantissaBits: 10, bias: 15, infinity: 0x7c00 },
  { name: 'BF16', widen: bf16ToF32, narrow: f32ToBf16, mantissaBits: 7, bias: 127, infinity: 0x7f80 },
];

for (const { name, widen, narrow, mantissaBits, bias, infinity } of formats) {
  test(`${name}: every value widens to what the format defines, and back to the same bits`, (t) => {
    const wide = widen(all);
    const back = narrow(wide);
    const wrong: number[] = [];
    for (const bits of all) {
      const isNaNBits = (bits & 0x7fff) > infinity;
      if (!Object.is(wide[bits], decode(bits, mantissaBits, bias))) wrong.push(bits);
      // A NaN comes back with its quiet bit set.
      if (back[bits] !== (isNaNBits ? bits | (1 << (mantissaBits - 1)) : bits)) wrong.push(bits);
    }
    t.deepEqual(wrong, []);
  });

  test(`${name}: between two neighbours the nearer wins, and a tie goes to the even one`, (t) => {
    const wrong: number[] = [];
    for (let low = 0; low < infinity; low++) {
      // Above the largest finite value rounding goes on as if the exponent had no end.
      const below = decode(low, mantissaBits, bias);
      const above = low + 1 === infinity ? 2 ** (2 ** (14 - mantissaBits)) : decode(low + 1, mantissaBits, bias);
      const middle = (below + above) / 2;
      // One float32 step down and up from the middle, by its bits.
      const around = new Float32Array([middle, middle, middle]);
      const words = new Uint32Array(around.buffer);
      words[0]!--;
      words[2]!++;
      const even = low % 2 === 0 ? low : low + 1;
      if (narrow(around).join() !== [low, even, low + 1].join()) wrong.push(low);
      const negative = narrow(around.map((x) => -x));
      if (negative.join() !== [low, even, low + 1].map((x) => x | 0x8000).join()) wrong.push(-low);
    }
    t.deepEqual(wrong, []);
  });

  test(`${name}: the ends of float32`, (t) => {
    const huge = 3.4028234663852886e38;
    t.deepEqual(
      [...narrow(Float32Array.of(huge, -huge, Infinity, -Infinity))],
      [infinity, infinity | 0x8000, infinity, infinity | 0x8000],
    );
    t.deepEqual([...narrow(Float32Array.of(0, -0, 1.4e-45, -1.4e-45))], [0, 0x8000, 0, 0x8000]);
    // A NaN whose payload sits only in the bits that are dropped, and one with all bits set.
    const nans = new Float32Array(Uint32Array.of(0x7f800001, 0xffffffff).buffer);
    t.true(widen(narrow(nans)).every(Number.isNaN));
    t.is(narrow(new Float32Array(0)).length, 0);
    t.is(widen(new Uint16Array(0)).length, 0);
  });
}

test('a view into a larger buffer converts its own part', (t) => {
  const values = Float32Array.of(1, 2, 3, 4).subarray(1, 3);
  t.deepEqual([...f16ToF32(f32ToF16(values))], [2, 3]);
  t.deepEqual([...bf16ToF32(f32ToBf16(values))], [2, 3]);
});
