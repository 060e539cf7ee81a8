// Rotary embedding of queries and keys, and back.
import { defineCases, product, range } from '../case.js';
import { integers, repeat, sprinkle } from '../generators.js';
import { layouts } from './shared/heads.js';

export const cases = defineCases({
  op: 'rope',
  flops: ({ rows, heads, kvHeads, headDim }) => 3 * rows * (heads + kvHeads) * headDim,
  length: () => 1,
  scalars: { theta: 10_000 },
  inputs: { positions: integers(0, 2047) },
  list: [
    ...range(1, 33).map((half) => ({
      dims: { rows: 3, heads: 2, kvHeads: 1, headDim: 2 * half, inverse: half % 2 },
      base: (half % 3) * 64,
    })),
    ...product(layouts, [0, 1, 37]).map(([[heads, kvHeads, headDim], rows]) => ({
      dims: { rows, heads, kvHeads, headDim, inverse: 0 },
    })),
    {
      dims: { rows: 5, heads: 2, kvHeads: 1, headDim: 16, inverse: 0 },
      inputs: { positions: repeat([0]) },
      label: 'position 0',
    },
    {
      dims: { rows: 50, heads: 2, kvHeads: 2, headDim: 64, inverse: 1 },
      scalars: { theta: 500_000 },
      inputs: { positions: integers(0, 131_071) },
      label: 'far',
    },
    {
      dims: { rows: 9, heads: 4, kvHeads: 2, headDim: 20, inverse: 0 },
      inputs: { x: sprinkle([NaN, Infinity]) },
      label: 'special',
    },
    {
      dims: { rows: 1024, heads: 8, kvHeads: 4, headDim: 32, inverse: 0 },
      inputs: { positions: ({ count }) => range(0, count - 1).map((i) => i % 256) },
      large: true,
    },
  ],
});
