// Every pair of dtypes, with numbers that round, overflow, vanish and saturate. Integers stay below 2^24 where the target
// is a half: rounding once or by way of float32 is then the same.
import { defineCases, product } from '../case.js';
import { integers, repeat, sprinkle, uniform } from '../generators.js';

const F32 = 0;
const I32 = 3;
const specials = [
  ...[NaN, Infinity, -Infinity, 0, -0, 1, -1, 1.5, -2.5, 0.1],
  // Ties and their neighbours for 8 and 11 significant bits.
  ...[1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -11 + 2 ** -22],
  // Largest numbers and the first that overflow.
  ...[65504, 65519.996, 65520, -65520, 3.3895314e38, 3.3961775e38, 3.4028235e38],
  // Subnormals of each type, down to half of the smallest.
  ...[
    2 ** -14,
    2 ** -15,
    2 ** -24,
    2 ** -25,
    2 ** -25 * 1.01,
    3 * 2 ** -25,
    2 ** -126,
    2 ** -133,
    2 ** -134,
    2 ** -149,
  ],
  // Edges of int32.
  ...[0.99, -0.99, 2147483520, 2147483648, 4e9, -2147483648, -2147483904, -4e9, 16777217],
];
const whole = [0, 1, -1, 255, 257, 2049, 4097, 65503, 65520, 16777215, -16777215];

export const cases = defineCases({
  op: 'cast',
  flops: () => 0,
  length: () => 1,
  list: [
    ...product([0, 1, 2, 3], [0, 1, 2, 3]).flatMap(([from, to]) => {
      const x =
        from === I32
          ? repeat(to === I32 || to === F32 ? [...whole, 2147483647, -2147483648, 33554435] : whole)
          : repeat(specials);
      return [
        { dims: { n: 67, from, to }, inputs: { x }, label: 'edges' },
        ...[0, 1, 2, 3, 15, 16, 17, 31, 33].map((n) => ({
          dims: { n, from, to },
          inputs: { x: from === I32 ? integers(-70000, 70000) : uniform(-300, 300) },
          base: (n % 3) * 64,
        })),
      ];
    }),
    { dims: { n: 300_001, from: 0, to: 1 }, inputs: { x: sprinkle([NaN]) }, large: true as const },
    { dims: { n: 300_001, from: 2, to: 0 }, large: true as const },
  ],
});
