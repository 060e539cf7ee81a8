// Sizes shared by the bank ops: groups, slices, elements of a slice (a multiple of 256).
import { product } from '../../case.js';

const counts = [
  [0, 3],
  [1, 1],
  [1, 4],
  [2, 3],
  [3, 7],
  [4, 16],
  [5, 5],
  [8, 9],
  [9, 4],
  [17, 6],
  [3, 33],
  [33, 2],
  [4, 0],
] as const;

export const bankDims = [
  ...product(counts, [256, 1280]).map(([[groups, slices], size]) => ({ groups, slices, size })),
  { groups: 4, slices: 5, size: 0 },
  { groups: 2, slices: 3, size: 25_600 },
  { groups: 33, slices: 40, size: 512 },
  { groups: 96, slices: 96, size: 256 },
];
export const largeBank = { groups: 8, slices: 16, size: 16_384 };

/** With slices in f32 and in bf16. */
export const inBoth = <T extends object>(dims: T) => [0, 1].map((dtype) => ({ ...dims, dtype }));

/** Fewer groups than there is room for. */
export const someGroups = product(
  [
    [1, 0],
    [1, 1],
    [5, 0],
    [5, 1],
    [16, 1],
    [9, 3],
    [17, 5],
    [33, 16],
    [40, 33],
  ] as const,
  [0, 3, 26],
).map(([[groups, count], slices], i) => ({ dims: { groups, slices, size: 512, dtype: i % 2 }, count }));
