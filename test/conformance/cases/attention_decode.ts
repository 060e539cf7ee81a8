// New tokens appended to a cache. Slots that no token has reached hold NaN: reading one shows.
import { type CaseEntry, defineCases, type Generator, product, range } from '../case.js';
import { layouts } from './shared/heads.js';

/** A cache filled up to the position, NaN beyond. */
const cache: Generator = ({ random, count, dims, drawn }) => {
  const filled = drawn['position']![0]! * dims['kvHeads']! * dims['headDim']!;
  return Array.from({ length: count }, (_, i) => (i < filled ? 2 * random() - 1 : NaN));
};

/** Rows at a position of a cache with `spare` slots behind them. */
function at(
  position: number,
  rows: number,
  [heads, kvHeads, headDim]: readonly [number, number, number],
  spare: number,
): CaseEntry<'attention_decode'> {
  return {
    dims: { rows, capacity: position + rows + spare, heads, kvHeads, headDim },
    inputs: { position: () => [position] },
    label: `position ${position}`,
  };
}

export const cases = defineCases({
  op: 'attention_decode',
  flops: ({ rows, capacity, heads, headDim }) => rows * heads * capacity * (4 * headDim + 5),
  bytes: ({ rows, capacity, heads, kvHeads, headDim }) =>
    4 * headDim * (2 * capacity * kvHeads + rows * (2 * heads + 4 * kvHeads)),
  length: ({ capacity, headDim }) => Math.max(capacity, headDim),
  scalars: { scale: 0.25 },
  inputs: { keys: cache, values: cache },
  list: [
    ...range(0, 33).map((position) => at(position, 1, [2, 1, 16], 3)),
    ...range(1, 33).map((headDim) => at(17, 2, [2, 2, headDim], 1)),
    ...product(layouts, [1, 5, 64]).map(([layout, rows]) => at(70, rows, layout, 0)),
    at(0, 1, [2, 1, 8], 0),
    at(9, 0, [2, 1, 8], 0),
    at(0, 40, [4, 2, 32], 24),
    { ...at(300, 1, [8, 2, 32], 0), scalars: { scale: 20 } },
    { ...at(1023, 1, [8, 4, 32], 0), large: true },
    { ...at(256, 64, [8, 4, 32], 0), large: true },
  ],
});
