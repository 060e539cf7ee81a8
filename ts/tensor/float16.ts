// Sixteen-bit floats to and from float32, bit by bit: F16 is IEEE 754 binary16, BF16 the upper half of a float32.
// Sixteen-bit values travel as their bits in a Uint16Array. Widening is exact and keeps the payload of a NaN; narrowing
// rounds to the nearest, ties to even, makes too large values infinite and keeps NaN a (quiet) NaN.
// To add a format: one function each way, and its row in the exhaustive round-trip test.

/** F16 bits to float32, exactly. `bits` (N) -> (N). */
export function f16ToF32(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) {
    const h = bits[i]!;
    const sign = (h & 0x8000) << 16;
    const exponent = (h >>> 10) & 0x1f;
    const mantissa = h & 0x3ff;
    if (exponent === 0) {
      // Zero and subnormals count in units of 2^-24; all of them are normal in float32.
      out[i] = mantissa * 2 ** -24;
      words[i] = words[i]! | sign;
    } else {
      words[i] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (mantissa << 13);
    }
  }
  return out;
}

/** Float32 to F16 bits, nearest even; from 65520 up it gives infinity. `values` (N) -> (N). */
export function f32ToF16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    const magnitude = word & 0x7fffffff;
    out[i] = ((word >>> 16) & 0x8000) | f16Magnitude(magnitude);
  }
  return out;
}

/** BF16 bits to float32, exactly. `bits` (N) -> (N). */
export function bf16ToF32(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

/** Float32 to BF16 bits, nearest even. `values` (N) -> (N). */
export function f32ToBf16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    const isNaNBits = (word & 0x7fffffff) > 0x7f800000;
    // Setting the quiet bit keeps a NaN whose payload lies in the lower half from becoming infinity.
    out[i] = isNaNBits ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** F16 bits of a float32 whose sign bit is cleared, given as its bits. */
function f16Magnitude(bits: number): number {
  if (bits > 0x7f800000) return 0x7e00 | ((bits >>> 13) & 0x3ff);
  if (bits >= 0x47800000) return 0x7c00; // 65536 and more
  // Normal: move the exponent bias from 127 to 15, drop 13 bits; a carry runs into the exponent, as it should.
  if (bits >= 0x38800000) return (bits - 0x38000000 + 0xfff + ((bits >>> 13) & 1)) >>> 13;
  const exponent = bits >>> 23;
  if (exponent < 102) return 0; // below 2^-25, half of the smallest subnormal
  const mantissa = (bits & 0x7fffff) | 0x800000;
  const shift = 126 - exponent; // 14..24
  const half = 1 << (shift - 1);
  const kept = mantissa >>> shift;
  const dropped = mantissa & ((1 << shift) - 1);
  return dropped > half || (dropped === half && (kept & 1) === 1) ? kept + 1 : kept;
}
