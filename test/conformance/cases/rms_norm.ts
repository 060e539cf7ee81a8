// y = x * rstd * w
import { defineCases, sweep, WIDE } from '../case.js';
import { repeat, sprinkle, uniform } from '../generators.js';

export const cases = defineCases({
  op: 'rms_norm',
  flops: ({ rows, cols }) => 4 * rows * cols,
  length: ({ cols }) => cols,
  scalars: { eps: 1e-5 },
  list: [
    ...sweep((cols, base) => ({ dims: { rows: 3, cols }, base }), 1),
    ...[0, 1, 2, 17, 100].map((rows) => ({ dims: { rows, cols: 72 } })),
    ...WIDE.map((cols) => ({ dims: { rows: 2, cols } })),
    { dims: { rows: 2, cols: 1000 }, inputs: { x: uniform(-1e-4, 1e-4) }, label: 'eps counts' },
    { dims: { rows: 2, cols: 40 }, inputs: { x: repeat([0]) }, label: 'zeros' },
    { dims: { rows: 2, cols: 500 }, inputs: { x: uniform(-1e4, 1e4) }, label: 'big' },
    { dims: { rows: 20, cols: 40 }, inputs: { x: sprinkle([NaN, Infinity, -Infinity]) }, label: 'special' },
    { dims: { rows: 20, cols: 40 }, inputs: { w: sprinkle([NaN, Infinity]) }, label: 'special w' },
    { dims: { rows: 1024, cols: 256 }, large: true },
  ],
});
