// The gradient of a group's matrix: zeros where the group has no rows.
import { type CaseEntry, defineCases, sweep } from '../case.js';
import { offsetsTo, sprinkle } from '../generators.js';

const shapes = [
  [1, 1, 1, 1],
  [1, 40, 9, 13],
  [3, 0, 5, 7],
  [4, 10, 0, 3],
  [4, 10, 3, 0],
  [5, 31, 17, 33],
  [16, 50, 33, 20],
  [7, 100, 64, 48],
  [2, 700, 65, 70],
  [40, 12, 16, 8],
] as const;

export const cases = defineCases({
  op: 'grouped_gemm_dw',
  flops: ({ rows, m, n }) => 2 * rows * m * n,
  length: ({ rows }) => rows,
  inputs: { offsets: offsetsTo('rows') },
  list: [
    { dims: { groups: 0, rows: 0, m: 4, n: 4, precision: 0 } },
    ...shapes.map(([groups, rows, m, n]) => ({ dims: { groups, rows, m, n, precision: 0 } })),
    ...shapes.map(([groups, rows, m, n]) => ({ dims: { groups, rows, m, n, precision: 1 } })),
    ...sweep((n, base) => ({ dims: { groups: 3, rows: 17, m: 7, n, precision: 0 }, base })),
    {
      dims: { groups: 4, rows: 20, m: 9, n: 9, precision: 0 },
      inputs: { offsets: () => [0, 0, 0, 20, 20] },
      label: 'one full group',
    },
    // A group whose sum a device may cut into parts that others' are not.
    ...[0, 1].map(
      (precision): CaseEntry<'grouped_gemm_dw'> => ({
        dims: { groups: 5, rows: 1300, m: 18, n: 21, precision },
        with: precision === 1 ? ['count'] : [],
        inputs: { offsets: () => [0, 100, 100, 1290, 1300, 1300], count: () => [4] },
        label: 'a long group',
      }),
    ),
    ...[0, 1, 2, 4].map((count): CaseEntry<'grouped_gemm_dw'> => {
      const rows = 20 * count;
      const offsets = () => [0, 20, 40, 60, 80].map((end) => Math.min(end, rows));
      const dims = { groups: 4, rows, m: 9, n: 19, precision: 0 };
      return { dims, with: ['count'], inputs: { offsets, count: () => [count] }, label: `count ${count}` };
    }),
    {
      dims: { groups: 4, rows: 40, m: 9, n: 19, precision: 0 },
      inputs: { a: sprinkle([NaN, Infinity]) },
      label: 'special',
    },
    { dims: { groups: 8, rows: 1024, m: 96, n: 128, precision: 0 }, large: true },
  ],
});
