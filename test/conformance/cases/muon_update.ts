// The step of Muon on matrices that lie apart.
import { defineCases, sweep } from '../case.js';
import { sprinkle } from '../generators.js';
import { hyperAfter } from './shared/hyper.js';

export const cases = defineCases({
  op: 'muon_update',
  flops: ({ batch, n }) => 5 * batch * n,
  bytes: ({ batch, n }) => 12 * batch * n,
  length: () => 1,
  scalars: { scale: 3, lrScale: 0.5 },
  inputs: { hyper: hyperAfter(5) },
  list: [
    ...sweep((n, base) => ({ dims: { batch: 2, n, stride: n + 3 }, base })),
    { dims: { batch: 0, n: 5, stride: 5 } },
    { dims: { batch: 3, n: 100, stride: 100 } },
    { dims: { batch: 2, n: 40, stride: 48 }, inputs: { x: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { batch: 4, n: 64 * 1024, stride: 200_000 }, large: true },
  ],
});
