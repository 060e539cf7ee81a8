// How many ids equal v.
import { defineCases, sweep } from '../case.js';
import { idsOf } from '../generators.js';

export const cases = defineCases({
  op: 'bincount',
  flops: ({ n }) => n,
  length: () => 1,
  inputs: { ids: idsOf('vocab', 0.1) },
  list: [
    ...sweep((n, base) => ({ dims: { n, vocab: 7 }, base })),
    ...sweep((vocab, base) => ({ dims: { n: 50, vocab }, base }), 1),
    { dims: { n: 5, vocab: 0 }, inputs: { ids: () => [-1, -1, -1, -1, -1] } },
    { dims: { n: 20_000, vocab: 1 } },
    { dims: { n: 200_003, vocab: 513 }, large: true },
  ],
});
