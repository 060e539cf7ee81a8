// y = cap tanh(x / cap)
import { defineCases, sweep } from '../case.js';
import { sprinkle, uniform } from '../generators.js';

export const cases = defineCases({
  op: 'soft_cap',
  flops: ({ n }) => 3 * n,
  length: () => 1,
  scalars: { cap: 15 },
  inputs: { x: uniform(-30, 30) },
  list: [
    ...sweep((n, base) => ({ dims: { n }, base })),
    // Small numbers must keep their relative precision: logits are small against the cap.
    ...[1e-30, 1e-4, 0.01, 1, 8].map((most) => ({ dims: { n: 100 }, inputs: { x: uniform(-most, most) } })),
    { dims: { n: 100 }, scalars: { cap: 0.37 }, inputs: { x: uniform(-2, 2) } },
    {
      dims: { n: 100 },
      inputs: { x: sprinkle([NaN, Infinity, -Infinity, 0, -0, 150, -150, 1e30, -1e30]) },
      label: 'tails',
    },
    { dims: { n: 300_007 }, scalars: { cap: 30 }, large: true },
  ],
});
