// One AdamW step over a flat range.
import { defineCases, sweep } from '../case.js';
import { repeat, sprinkle, uniform } from '../generators.js';
import { hyperAfter } from './shared/hyper.js';

export const cases = defineCases({
  op: 'adamw',
  flops: ({ n }) => 16 * n,
  length: () => 1,
  scalars: { lrScale: 1, decayScale: 1 },
  inputs: { hyper: hyperAfter(5), clip: () => [0.7], m: uniform(-0.1, 0.1), v: uniform(0, 0.01) },
  list: [
    ...sweep((n, base) => ({ dims: { n }, base })),
    { dims: { n: 100 }, scalars: { lrScale: 0.5, decayScale: 0 } },
    { dims: { n: 100 }, inputs: { hyper: hyperAfter(1), m: repeat([0]), v: repeat([0]) }, label: 'first step' },
    { dims: { n: 100 }, inputs: { g: repeat([0]), m: repeat([0]), v: repeat([0]) }, label: 'no gradient' },
    { dims: { n: 100 }, inputs: { hyper: hyperAfter(100_000, 1e-3) }, label: 'late' },
    { dims: { n: 100 }, inputs: { g: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { n: 200_003 }, large: true },
  ],
});
