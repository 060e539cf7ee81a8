// y = a * b (+ add)
import { defineCases, sweep } from '../case.js';
import { sprinkle } from '../generators.js';

export const cases = defineCases({
  op: 'mul',
  flops: ({ n }) => 2 * n,
  length: () => 1,
  list: [
    ...sweep((n, base) => ({ dims: { n }, base })),
    ...sweep((n, base) => ({ dims: { n }, base, with: ['add'] as const })),
    {
      dims: { n: 100 },
      inputs: { a: sprinkle([NaN, Infinity, -Infinity, 0]), b: sprinkle([0, Infinity]) },
      label: 'special',
    },
    { dims: { n: 100 }, with: ['add'], inputs: { add: sprinkle([NaN, Infinity, -Infinity]) }, label: 'special' },
    { dims: { n: 300_007 }, with: ['add'], large: true },
  ],
});
