// dx of swiglu
import { defineCases, sweep } from '../case.js';
import { sprinkle, uniform } from '../generators.js';

export const cases = defineCases({
  op: 'swiglu_backward',
  flops: ({ rows, cols }) => 10 * rows * cols,
  length: () => 1,
  inputs: { x: uniform(-6, 6) },
  list: [
    ...sweep((cols, base) => ({ dims: { rows: 3, cols }, base })),
    ...[132, 1500, 9000].map((cols) => ({ dims: { rows: 2, cols } })),
    ...[0, 1, 2, 65].map((rows) => ({ dims: { rows, cols: 40 } })),
    {
      dims: { rows: 3, cols: 100 },
      inputs: { x: sprinkle([88, -88, 100, -100, 0, -0], uniform(-20, 20)) },
      label: 'tails',
    },
    { dims: { rows: 3, cols: 40 }, inputs: { x: sprinkle([NaN]), dy: sprinkle([Infinity]) }, label: 'special' },
    { dims: { rows: 512, cols: 352 }, large: true },
  ],
});
