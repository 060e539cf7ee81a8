// y[r] = sum_c p[r, c] * x[position[r, c]] (+ add)
import { type CaseEntry, defineCases, product, sweep } from '../case.js';
import { sprinkle } from '../generators.js';
import { places } from './shared/routing.js';

type Entry = CaseEntry<'combine_rows'>;

export const cases = defineCases({
  op: 'combine_rows',
  flops: ({ rows, k, cols }) => 2 * rows * k * cols,
  length: ({ k }) => k,
  inputs: { position: places },
  list: [
    ...sweep((cols, base): Entry => ({ dims: { rows: 5, k: 2, cols }, with: ['p'], base })),
    ...product([0, 1, 3, 8], [0, 1, 30]).flatMap(([k, rows]): Entry[] => [
      { dims: { rows, k, cols: 19 } },
      { dims: { rows, k, cols: 19 }, with: ['p', 'add'] },
    ]),
    { dims: { rows: 30, k: 2, cols: 24 }, with: ['p'], inputs: { x: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { rows: 2048, k: 2, cols: 256 }, with: ['p'], large: true },
  ],
});
