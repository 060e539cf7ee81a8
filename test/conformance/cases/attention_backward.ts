// dqkv of attention; y and lse are those that belong to qkv.
import { apply } from '../../support/oracle/ops.js';
import { type CaseEntry, type Draw, defineCases, type Generator, product, range } from '../case.js';
import { sprinkle, uniform } from '../generators.js';
import { layouts } from './shared/heads.js';

function forward({ dims, scalars, drawn }: Draw) {
  const sizes = {
    batch: dims['batch']!,
    time: dims['time']!,
    heads: dims['heads']!,
    kvHeads: dims['kvHeads']!,
    headDim: dims['headDim']!,
    precision: dims['precision']!,
  };
  return apply('attention', { qkv: drawn['qkv']! }, sizes, { scale: scalars['scale']! });
}

/** dy is infinite before position 22 of 43, inside a block and inside a pair of queries: later keys must not see it. */
const infiniteGradients: Generator = (draw) =>
  Array.from(uniform(-1, 1)(draw)).map((x, i) => (Math.floor(i / 32) % 43 <= 21 ? Infinity : x));

export const cases = defineCases({
  op: 'attention_backward',
  flops: ({ batch, time, heads, headDim }) => ((batch * heads * time * (time + 1)) / 2) * (10 * headDim + 5),
  length: ({ time, headDim }) => Math.max(time, headDim),
  scalars: { scale: 0.25 },
  inputs: { y: (draw) => forward(draw).y, lse: (draw) => forward(draw).lse },
  list: [0, 1].flatMap((precision): CaseEntry<'attention_backward'>[] => [
    ...range(0, 33).map((time) => ({
      dims: { batch: 2, time, heads: 2, kvHeads: 1, headDim: 16, precision },
      base: (time % 3) * 64,
    })),
    ...range(1, 33).map((headDim) => ({ dims: { batch: 1, time: 19, heads: 2, kvHeads: 2, headDim, precision } })),
    ...product(layouts, [1, 63, 64, 65, 130]).map(([[heads, kvHeads, headDim], time]) => ({
      dims: { batch: 1, time, heads, kvHeads, headDim, precision },
    })),
    { dims: { batch: 0, time: 5, heads: 2, kvHeads: 1, headDim: 8, precision } },
    {
      dims: { batch: 1, time: 70, heads: 2, kvHeads: 1, headDim: 32, precision },
      scalars: { scale: 20 },
      label: 'sharp',
    },
    {
      dims: { batch: 2, time: 40, heads: 2, kvHeads: 2, headDim: 16, precision },
      inputs: { dy: sprinkle([NaN, NaN]) },
      label: 'nan',
    },
    {
      dims: { batch: 2, time: 43, heads: 2, kvHeads: 1, headDim: 16, precision },
      inputs: { dy: infiniteGradients },
      label: 'infinite',
    },
    { dims: { batch: 1, time: 300, heads: 4, kvHeads: 1, headDim: 32, precision } },
    // Wide heads, and keys that a whole tile of later queries sees.
    ...[64, 128].map((headDim) => ({ dims: { batch: 1, time: 200, heads: 2, kvHeads: 1, headDim, precision } })),
    // Several key tiles on every ISA, and tails in all of them.
    { dims: { batch: 1, time: 603, heads: 2, kvHeads: 2, headDim: 20, precision } },
    { dims: { batch: 4, time: 256, heads: 4, kvHeads: 2, headDim: 32, precision }, large: true },
  ]),
});
