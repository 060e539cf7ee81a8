// Momentum of Muon and its normalized update, for matrices that lie apart.
import { defineCases, sweep } from '../case.js';
import { repeat, sprinkle } from '../generators.js';

export const cases = defineCases({
  op: 'muon_momentum',
  flops: ({ batch, n }) => 7 * batch * n,
  bytes: ({ batch, n }) => 16 * batch * n,
  length: ({ n }) => n,
  scalars: { momentum: 0.95, eps: 1e-7 },
  inputs: { clip: () => [0.7] },
  list: [
    ...sweep((n, base) => ({ dims: { batch: 2, n, stride: n + 3 }, base })),
    { dims: { batch: 0, n: 5, stride: 5 } },
    { dims: { batch: 3, n: 100, stride: 100 } },
    { dims: { batch: 1, n: 9000, stride: 9000 } },
    { dims: { batch: 1, n: 40, stride: 40 }, scalars: { momentum: 0, eps: 1e-7 } },
    { dims: { batch: 2, n: 40, stride: 48 }, inputs: { g: repeat([0]), m: repeat([0]) }, label: 'zero' },
    { dims: { batch: 2, n: 40, stride: 48 }, inputs: { g: sprinkle([NaN]) }, label: 'special' },
    { dims: { batch: 4, n: 64 * 1024, stride: 200_000 }, large: true },
  ],
});
