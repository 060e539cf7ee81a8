// Causal attention: every length around a tile, grouped heads, sharp and flat softmax; NaN in a later token must not
// reach an earlier one.
import { type CaseEntry, defineCases, type Generator, product, range } from '../case.js';
import { sprinkle, uniform } from '../generators.js';
import { layouts } from './shared/heads.js';

/** Two products of headDim terms for every visible pair. */
const pairs = ({ batch, time, heads }: { batch: number; time: number; heads: number }) =>
  (batch * heads * time * (time + 1)) / 2;

/** Values are infinite from position 21 of 43 on, inside a block and inside a pair of keys: earlier positions must not see them. */
const infiniteValues: Generator = (draw) =>
  Array.from(uniform(-1, 1)(draw)).map((x, i) => (Math.floor(i / 64) % 43 >= 21 && i % 64 >= 48 ? Infinity : x));

export const cases = defineCases({
  op: 'attention',
  flops: (d) => pairs(d) * (4 * d.headDim + 5),
  length: ({ time, headDim }) => Math.max(time, headDim),
  scalars: { scale: 0.25 },
  list: [0, 1].flatMap((precision): CaseEntry<'attention'>[] => [
    ...range(0, 33).map((time) => ({
      dims: { batch: 2, time, heads: 2, kvHeads: 1, headDim: 16, precision },
      base: (time % 3) * 64,
    })),
    ...range(1, 33).map((headDim) => ({ dims: { batch: 1, time: 19, heads: 2, kvHeads: 2, headDim, precision } })),
    ...product(layouts, [1, 63, 64, 65, 130]).map(([[heads, kvHeads, headDim], time]) => ({
      dims: { batch: 1, time, heads, kvHeads, headDim, precision },
    })),
    { dims: { batch: 0, time: 5, heads: 2, kvHeads: 1, headDim: 8, precision } },
    {
      dims: { batch: 1, time: 70, heads: 2, kvHeads: 1, headDim: 32, precision },
      scalars: { scale: 20 },
      label: 'sharp',
    },
    {
      dims: { batch: 1, time: 70, heads: 2, kvHeads: 1, headDim: 32, precision },
      inputs: { qkv: uniform(9, 11) },
      label: 'large scores',
    },
    {
      dims: { batch: 2, time: 40, heads: 2, kvHeads: 2, headDim: 16, precision },
      inputs: { qkv: sprinkle([NaN, NaN]) },
      label: 'nan',
    },
    {
      dims: { batch: 2, time: 43, heads: 2, kvHeads: 1, headDim: 16, precision },
      inputs: { qkv: infiniteValues },
      label: 'infinite',
    },
    { dims: { batch: 1, time: 513, heads: 2, kvHeads: 1, headDim: 32, precision } },
    { dims: { batch: 4, time: 256, heads: 4, kvHeads: 2, headDim: 32, precision }, large: true },
  ]),
});
