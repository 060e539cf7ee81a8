// The first of the largest; NaN never wins.
import { defineCases, sweep, WIDE } from '../case.js';
import { integers, repeat, sprinkle } from '../generators.js';

export const cases = defineCases({
  op: 'argmax',
  flops: ({ rows, cols }) => rows * cols,
  length: () => 1,
  list: [
    ...sweep((cols, base) => ({ dims: { rows: 5, cols }, base })),
    ...WIDE.map((cols) => ({ dims: { rows: 2, cols } })),
    { dims: { rows: 0, cols: 7 } },
    { dims: { rows: 40, cols: 70 }, inputs: { x: integers(0, 3) }, label: 'ties' },
    { dims: { rows: 3, cols: 50 }, inputs: { x: repeat([NaN]) }, label: 'nan alone' },
    { dims: { rows: 3, cols: 50 }, inputs: { x: repeat([-Infinity]) }, label: 'minus infinity' },
    { dims: { rows: 4, cols: 37 }, inputs: { x: repeat([NaN, -Infinity, NaN]) }, label: 'nan and minus infinity' },
    {
      dims: { rows: 40, cols: 21 },
      inputs: { x: sprinkle([...Array(20).fill(NaN), Infinity, Infinity]) },
      label: 'special',
    },
    { dims: { rows: 33, cols: 4099 }, large: true },
  ],
});
