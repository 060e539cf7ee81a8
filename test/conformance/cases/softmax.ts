// Softmax of each row; minus infinity is a weight of zero, plus infinity and NaN poison their row.
import { defineCases, sweep, WIDE } from '../case.js';
import { repeat, sprinkle, uniform } from '../generators.js';

export const cases = defineCases({
  op: 'softmax',
  flops: ({ rows, cols }) => 5 * rows * cols,
  length: ({ cols }) => cols,
  inputs: { x: uniform(-5, 5) },
  list: [
    ...sweep((cols, base) => ({ dims: { rows: 3, cols }, base })),
    ...WIDE.map((cols) => ({ dims: { rows: 2, cols } })),
    ...[0, 1, 2, 65].map((rows) => ({ dims: { rows, cols: 70 } })),
    { dims: { rows: 4, cols: 300 }, inputs: { x: uniform(-1e4, 1e4) }, label: 'sharp' },
    { dims: { rows: 4, cols: 300 }, inputs: { x: uniform(1e4, 1e4 + 4) }, label: 'far from zero' },
    { dims: { rows: 4, cols: 50 }, inputs: { x: sprinkle(Array(30).fill(-Infinity)) }, label: 'minus infinity' },
    { dims: { rows: 2, cols: 50 }, inputs: { x: repeat([-Infinity]) }, label: 'minus infinity alone' },
    { dims: { rows: 9, cols: 40 }, inputs: { x: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { rows: 128, cols: 2048 }, large: true },
  ],
});
