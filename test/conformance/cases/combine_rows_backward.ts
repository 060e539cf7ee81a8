// Gradients of the rows and of their weights.
import { type CaseEntry, defineCases, product, sweep, WIDE } from '../case.js';
import { sprinkle } from '../generators.js';
import { places } from './shared/routing.js';

type Entry = CaseEntry<'combine_rows_backward'>;

export const cases = defineCases({
  op: 'combine_rows_backward',
  flops: ({ rows, k, cols }) => 3 * rows * k * cols,
  length: ({ cols }) => cols,
  inputs: { position: places },
  list: [
    ...sweep((cols, base): Entry => ({ dims: { rows: 5, k: 2, cols }, base })),
    ...product([0, 1, 3, 8], [0, 1, 30]).map(([k, rows]): Entry => ({ dims: { rows, k, cols: 19 } })),
    ...WIDE.map((cols): Entry => ({ dims: { rows: 3, k: 2, cols } })),
    { dims: { rows: 30, k: 2, cols: 24 }, inputs: { dy: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { rows: 2048, k: 2, cols: 256 }, large: true },
  ],
});
