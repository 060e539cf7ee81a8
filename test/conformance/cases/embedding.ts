// y[i] = table[ids[i]]
import { defineCases, sweep } from '../case.js';
import { idsOf, sprinkle } from '../generators.js';

export const cases = defineCases({
  op: 'embedding',
  flops: () => 0,
  bytes: ({ rows, cols }) => 8 * rows * cols + 4 * rows,
  length: () => 1,
  inputs: { ids: idsOf('vocab') },
  list: [
    ...sweep((cols, base) => ({ dims: { rows: 5, cols, vocab: 9 }, base })),
    ...[0, 1, 2, 33, 1000].map((rows) => ({ dims: { rows, cols: 24, vocab: 17 } })),
    { dims: { rows: 4, cols: 8, vocab: 1 } },
    {
      dims: { rows: 30, cols: 24, vocab: 17 },
      inputs: { table: sprinkle([NaN, Infinity, -0, 1e-40]) },
      label: 'special',
    },
    { dims: { rows: 2048, cols: 128, vocab: 1024 }, large: true },
  ],
});
