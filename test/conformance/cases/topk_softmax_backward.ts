// Gradient of the logits of a router.
import { type CaseEntry, defineCases, product, sweep } from '../case.js';
import { sprinkle, uniform } from '../generators.js';
import { choices } from './shared/routing.js';

type Entry = CaseEntry<'topk_softmax_backward'>;
const lse = uniform(3, 5);

export const cases = defineCases({
  op: 'topk_softmax_backward',
  flops: ({ rows, experts }) => 4 * rows * experts,
  length: ({ k }) => k,
  inputs: { x: uniform(-4, 4), p: uniform(0, 1), ids: choices, lse },
  list: [
    ...sweep(
      (experts, base): Entry => ({
        dims: { rows: 5, experts, k: Math.min(2, experts), normalize: 0 },
        with: ['lse'],
        base,
      }),
      1,
    ),
    ...sweep(
      (experts, base): Entry => ({ dims: { rows: 5, experts, k: Math.min(2, experts), normalize: 1 }, base }),
      1,
    ),
    ...product([0, 1, 4], [0, 1]).flatMap(([k, normalize]): Entry[] => [
      { dims: { rows: 12, experts: 19, k, normalize }, with: ['lse', 'add'] },
      { dims: { rows: 12, experts: 19, k, normalize }, with: ['dlse', 'lse'] },
      { dims: { rows: 12, experts: 19, k, normalize }, with: ['dlse', 'lse', 'add'] },
    ]),
    { dims: { rows: 0, experts: 4, k: 2, normalize: 1 } },
    { dims: { rows: 9, experts: 8, k: 8, normalize: 1 }, with: ['add'] },
    { dims: { rows: 9, experts: 70, k: 40, normalize: 0 }, with: ['dlse', 'lse', 'add'] },
    { dims: { rows: 9, experts: 8, k: 2, normalize: 1 }, inputs: { dp: sprinkle([NaN, Infinity]) }, label: 'special' },
    { dims: { rows: 4096, experts: 64, k: 2, normalize: 1 }, large: true },
  ],
});
