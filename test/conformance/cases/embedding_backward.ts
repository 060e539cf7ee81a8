// dtable[v] = sum of dy[i] where ids[i] = v (+ add). Few ids and many rows is how k-means uses it.
import { type CaseEntry, defineCases, sweep } from '../case.js';
import { idsOf, repeat, sprinkle } from '../generators.js';

const shapes = [
  [0, 5, 4],
  [1, 1, 1],
  [7, 0, 3],
  [33, 17, 5],
  [400, 24, 1],
  [300, 33, 1000],
  [2000, 20, 3],
  [1500, 130, 64],
  [1000, 132, 5],
  [700, 260, 3],
] as const;

export const cases = defineCases({
  op: 'embedding_backward',
  flops: ({ rows, cols }) => rows * cols,
  length: ({ rows }) => rows,
  inputs: { ids: idsOf('vocab', 0.1) },
  list: [
    ...sweep((cols, base): CaseEntry<'embedding_backward'> => ({ dims: { rows: 6, cols, vocab: 4 }, base })),
    ...shapes.map(([rows, cols, vocab]): CaseEntry<'embedding_backward'> => ({ dims: { rows, cols, vocab } })),
    ...shapes.map(
      ([rows, cols, vocab]): CaseEntry<'embedding_backward'> => ({ dims: { rows, cols, vocab }, with: ['add'] }),
    ),
    { dims: { rows: 9, cols: 9, vocab: 4 }, with: ['add'], inputs: { ids: repeat([-1]) }, label: 'all skipped' },
    { dims: { rows: 40, cols: 9, vocab: 8 }, inputs: { dy: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { rows: 2048, cols: 128, vocab: 1024 }, with: ['add'], large: true },
  ],
});
