// y[o, j, i] = alpha * x[o, i] (+ add)
import { type CaseEntry, defineCases, sweep } from '../case.js';
import { sprinkle } from '../generators.js';

export const cases = defineCases({
  op: 'broadcast',
  flops: ({ outer, n, inner }) => 2 * outer * n * inner,
  length: () => 1,
  scalars: { alpha: 0.25 },
  list: [
    ...sweep((n, base): CaseEntry<'broadcast'> => ({ dims: { outer: 2, n: 3, inner: n }, base })),
    ...sweep((n, base): CaseEntry<'broadcast'> => ({ dims: { outer: 3, n, inner: 1 }, base, with: ['add'] })),
    { dims: { outer: 0, n: 4, inner: 4 } },
    { dims: { outer: 1, n: 100, inner: 65 }, with: ['add'] },
    { dims: { outer: 5, n: 4, inner: 20 }, inputs: { x: sprinkle([NaN, Infinity, -Infinity]) }, label: 'special' },
    { dims: { outer: 4, n: 257, inner: 300 }, with: ['add'], large: true },
  ],
});
