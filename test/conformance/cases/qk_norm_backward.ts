// dx, dwq and dwk of qk_norm; rstd is the one that belongs to x.
import { apply } from '../../support/oracle/ops.js';
import { type CaseEntry, defineCases, type Generator, product, range } from '../case.js';
import { sprinkle, uniform } from '../generators.js';
import { layouts } from './shared/heads.js';

const rstd: Generator = ({ dims, drawn }) => {
  const sizes = { rows: dims['rows']!, heads: dims['heads']!, kvHeads: dims['kvHeads']!, headDim: dims['headDim']! };
  return apply('qk_norm', { x: drawn['x']!, wq: drawn['wq']!, wk: drawn['wk']! }, sizes, { eps: 1e-6 }).rstd;
};

export const cases = defineCases({
  op: 'qk_norm_backward',
  flops: ({ rows, heads, kvHeads, headDim }) => 10 * rows * (heads + kvHeads) * headDim,
  length: ({ rows, heads, headDim }) => Math.max(rows * heads, headDim),
  inputs: { rstd, dy: uniform(-0.5, 1.5) },
  list: [
    ...range(1, 33).map(
      (headDim): CaseEntry<'qk_norm_backward'> => ({
        dims: { rows: 3, heads: 2, kvHeads: 1, headDim },
        base: (headDim % 3) * 64,
      }),
    ),
    ...product(layouts, [0, 1, 37]).map(
      ([[heads, kvHeads, headDim], rows]): CaseEntry<'qk_norm_backward'> => ({
        dims: { rows, heads, kvHeads, headDim },
      }),
    ),
    ...layouts.map(
      ([heads, kvHeads, headDim]): CaseEntry<'qk_norm_backward'> => ({
        dims: { rows: 130, heads, kvHeads, headDim },
        with: ['addwq', 'addwk'],
      }),
    ),
    {
      dims: { rows: 9, heads: 4, kvHeads: 2, headDim: 20 },
      inputs: { dy: sprinkle([NaN, Infinity]) },
      label: 'special',
    },
    { dims: { rows: 1024, heads: 8, kvHeads: 4, headDim: 32 }, with: ['addwq', 'addwk'], large: true },
  ],
});
