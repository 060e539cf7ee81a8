// dx = y * (dy - sum(dy * y)); y is a softmax.
import { apply } from '../../support/oracle/ops.js';
import { defineCases, type Generator, sweep, WIDE } from '../case.js';
import { sprinkle } from '../generators.js';

const y: Generator = ({ random, count, dims }) => {
  const x = Float64Array.from({ length: count }, () => 6 * random());
  return apply('softmax', { x }, { rows: dims['rows']!, cols: dims['cols']! }, {}).y;
};

export const cases = defineCases({
  op: 'softmax_backward',
  flops: ({ rows, cols }) => 4 * rows * cols,
  length: ({ cols }) => cols,
  inputs: { y },
  list: [
    ...sweep((cols, base) => ({ dims: { rows: 3, cols }, base })),
    ...WIDE.map((cols) => ({ dims: { rows: 2, cols } })),
    ...[0, 1, 2, 65].map((rows) => ({ dims: { rows, cols: 70 } })),
    { dims: { rows: 9, cols: 40 }, inputs: { dy: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { rows: 128, cols: 2048 }, large: true },
  ],
});
