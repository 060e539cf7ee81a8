// The norm of everything and the factor that brings it under a limit.
import { defineCases, sweep } from '../case.js';
import { repeat, uniform } from '../generators.js';

export const cases = defineCases({
  op: 'clip_scale',
  flops: ({ n }) => n + 2,
  length: ({ n }) => n,
  scalars: { maxNorm: 1 },
  inputs: { squares: uniform(0, 2) },
  list: [
    ...sweep((n, base) => ({ dims: { n }, base })),
    { dims: { n: 20 }, scalars: { maxNorm: 0 } },
    { dims: { n: 20 }, scalars: { maxNorm: 100 } },
    { dims: { n: 20 }, inputs: { squares: repeat([0]) }, label: 'zero' },
    { dims: { n: 3 }, inputs: { squares: () => [1e-30, 1e30, 1] }, label: 'wide' },
    { dims: { n: 3000 }, large: true },
  ],
});
