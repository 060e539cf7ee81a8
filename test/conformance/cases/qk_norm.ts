// RMS norm of every query and key head; values are copied.
import { defineCases, product, range } from '../case.js';
import { sprinkle } from '../generators.js';
import { layouts } from './shared/heads.js';

export const cases = defineCases({
  op: 'qk_norm',
  flops: ({ rows, heads, kvHeads, headDim }) => 4 * rows * (heads + kvHeads) * headDim,
  length: ({ headDim }) => headDim,
  scalars: { eps: 1e-6 },
  list: [
    ...range(1, 33).map((headDim) => ({ dims: { rows: 3, heads: 2, kvHeads: 1, headDim }, base: (headDim % 3) * 64 })),
    ...product(layouts, [0, 1, 37]).map(([[heads, kvHeads, headDim], rows]) => ({
      dims: { rows, heads, kvHeads, headDim },
    })),
    {
      dims: { rows: 9, heads: 4, kvHeads: 2, headDim: 20 },
      inputs: { x: sprinkle([NaN, Infinity, -Infinity]) },
      label: 'special',
    },
    { dims: { rows: 1024, heads: 8, kvHeads: 4, headDim: 32 }, large: true },
  ],
});
