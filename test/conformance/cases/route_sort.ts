// Choices sorted by group, in their order within a group.
import { type CaseEntry, defineCases, product, sweep } from '../case.js';
import { idsOf, repeat } from '../generators.js';

type Entry = CaseEntry<'route_sort'>;

export const cases = defineCases({
  op: 'route_sort',
  flops: ({ rows, k }) => rows * k,
  length: () => 1,
  inputs: { ids: idsOf('groups') },
  list: [
    ...sweep((rows, base): Entry => ({ dims: { rows, k: 2, groups: 5 }, base })),
    ...sweep((groups, base): Entry => ({ dims: { rows: 20, k: 2, groups }, base }), 1),
    ...product([0, 1, 3, 8], [1, 64]).map(([k, groups]): Entry => ({ dims: { rows: 30, k, groups } })),
    { dims: { rows: 0, k: 2, groups: 0 } },
    { dims: { rows: 40, k: 2, groups: 9 }, inputs: { ids: repeat([4]) }, label: 'one full group' },
    { dims: { rows: 5000, k: 3, groups: 17 } },
    { dims: { rows: 3000, k: 2, groups: 3000 } },
    { dims: { rows: 8192, k: 2, groups: 64 }, large: true },
  ],
});
