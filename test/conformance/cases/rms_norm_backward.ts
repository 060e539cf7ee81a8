// dx and dw of rms_norm; rstd is the one that belongs to x.
import { apply } from '../../support/oracle/ops.js';
import { type CaseEntry, defineCases, type Generator, sweep, WIDE } from '../case.js';
import { sprinkle, uniform } from '../generators.js';

const rstd: Generator = ({ dims, drawn }) =>
  apply('rms_norm', { x: drawn['x']!, w: drawn['w']! }, { rows: dims['rows']!, cols: dims['cols']! }, { eps: 1e-5 })
    .rstd;

export const cases = defineCases({
  op: 'rms_norm_backward',
  flops: ({ rows, cols }) => 10 * rows * cols,
  length: ({ rows, cols }) => Math.max(rows, cols),
  inputs: { rstd, dy: uniform(-0.5, 1.5) },
  list: [
    ...sweep((cols, base): CaseEntry<'rms_norm_backward'> => ({ dims: { rows: 3, cols }, base }), 1),
    ...sweep(
      (cols, base): CaseEntry<'rms_norm_backward'> => ({ dims: { rows: 2, cols }, base, with: ['add', 'addw'] }),
      1,
    ),
    ...[0, 1, 2, 17, 65, 300].map((rows): CaseEntry<'rms_norm_backward'> => ({ dims: { rows, cols: 72 } })),
    ...[0, 1, 2, 17, 65, 300].map(
      (rows): CaseEntry<'rms_norm_backward'> => ({ dims: { rows, cols: 41 }, with: ['addw'] }),
    ),
    ...WIDE.map((cols): CaseEntry<'rms_norm_backward'> => ({ dims: { rows: 9, cols }, with: ['add'] })),
    { dims: { rows: 700, cols: 1028 }, with: ['addw'] },
    { dims: { rows: 33, cols: 40 }, with: ['add'] },
    { dims: { rows: 20, cols: 40 }, inputs: { dy: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { rows: 1024, cols: 256 }, with: ['add', 'addw'], large: true },
  ],
});
