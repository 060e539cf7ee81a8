// The nearest centroid, the first of equals, and an exact distance even beside the centroid.
import { defineCases, type Generator, product, sweep } from '../case.js';
import { integers, repeat, sprinkle, uniform } from '../generators.js';

const shapes = [
  [0, 5, 3],
  [1, 1, 1],
  [5, 3, 2],
  [33, 16, 7],
  [40, 33, 16],
  [100, 64, 33],
  [20, 256, 200],
  [300, 20, 5],
] as const;

/** Centroids a little beside the rows of x. */
const beside: Generator = ({ random, count, drawn }) => {
  const x = drawn['x']!;
  return Array.from({ length: count }, (_, i) => x[i]! + 1e-4 * (2 * random() - 1));
};
/** Centroids that are rows of x themselves. */
const same: Generator = ({ count, drawn }) => drawn['x']!.slice(0, count);

export const cases = defineCases({
  op: 'kmeans_assign',
  flops: ({ rows, cols, clusters }) => 2 * rows * cols * clusters,
  length: ({ cols }) => cols,
  list: [
    ...sweep((clusters, base) => ({ dims: { rows: 9, cols: 12, clusters }, base }), 1),
    ...sweep((cols, base) => ({ dims: { rows: 10, cols, clusters: 6 }, base }), 1),
    ...shapes.map(([rows, cols, clusters]) => ({ dims: { rows, cols, clusters } })),
    ...product([1, 3, 20], [5, 40]).map(([cols, clusters]) => ({
      dims: { rows: 60, cols, clusters },
      inputs: { x: integers(-1, 1), centroids: integers(-1, 1) },
      label: 'ties',
    })),
    { dims: { rows: 30, cols: 24, clusters: 30 }, inputs: { x: uniform(1, 2), centroids: beside }, label: 'near' },
    { dims: { rows: 30, cols: 24, clusters: 30 }, inputs: { centroids: same }, label: 'on it' },
    { dims: { rows: 9, cols: 20, clusters: 8 }, inputs: { centroids: sprinkle([NaN, NaN]) }, label: 'nan centroids' },
    { dims: { rows: 9, cols: 20, clusters: 8 }, inputs: { x: sprinkle([NaN, NaN]) }, label: 'nan rows' },
    { dims: { rows: 4, cols: 20, clusters: 8 }, inputs: { x: repeat([NaN]) }, label: 'nan alone' },
    { dims: { rows: 1000, cols: 128, clusters: 64 }, large: true },
  ],
});
