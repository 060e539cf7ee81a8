// dx = dy (1 - (y / cap)^2)
import { defineCases, sweep } from '../case.js';
import { sprinkle, uniform } from '../generators.js';

export const cases = defineCases({
  op: 'soft_cap_backward',
  flops: ({ n }) => 4 * n,
  length: () => 1,
  scalars: { cap: 15 },
  inputs: { y: uniform(-15, 15) },
  list: [
    ...sweep((n, base) => ({ dims: { n }, base })),
    { dims: { n: 100 }, scalars: { cap: 0.37 }, inputs: { y: uniform(-0.37, 0.37) } },
    {
      dims: { n: 100 },
      inputs: { y: sprinkle([NaN, 15, -15, 0]), dy: sprinkle([NaN, Infinity, 0]) },
      label: 'special',
    },
    { dims: { n: 300_007 }, large: true },
  ],
});
