// Loss and gradient over the logits; a negative target is no target.
import { type CaseEntry, defineCases, product, sweep, WIDE } from '../case.js';
import { idsOf, repeat, sprinkle, uniform } from '../generators.js';

const shapes = [
  [0, 5],
  [1, 1],
  [1, 2],
  [7, 33],
  [65, 100],
  [3, 4099],
] as const;
const optional: readonly CaseEntry<'cross_entropy'>['with'][] = [[], ['dlogits'], ['scale', 'dlogits']];

export const cases = defineCases({
  op: 'cross_entropy',
  flops: ({ rows, vocab }) => 6 * rows * vocab,
  length: ({ vocab }) => vocab,
  inputs: { logits: uniform(-4, 4), targets: idsOf('vocab', 0.15), scale: () => [0.125] },
  list: [
    ...sweep(
      (vocab, base): CaseEntry<'cross_entropy'> => ({ dims: { rows: 3, vocab }, base, with: ['scale', 'dlogits'] }),
      1,
    ),
    ...product(shapes, optional).map(
      ([[rows, vocab], present]): CaseEntry<'cross_entropy'> => ({ dims: { rows, vocab }, with: present ?? [] }),
    ),
    ...WIDE.map((vocab): CaseEntry<'cross_entropy'> => ({ dims: { rows: 3, vocab }, with: ['scale', 'dlogits'] })),
    { dims: { rows: 5, vocab: 40 }, with: ['dlogits'], inputs: { targets: repeat([-1]) }, label: 'no targets' },
    { dims: { rows: 5, vocab: 40 }, with: ['dlogits'], inputs: { targets: repeat([-100]) }, label: 'ignored' },
    {
      dims: { rows: 6, vocab: 200 },
      with: ['scale', 'dlogits'],
      inputs: { logits: uniform(-1e4, 1e4) },
      label: 'sharp',
    },
    {
      dims: { rows: 6, vocab: 200 },
      with: ['scale', 'dlogits'],
      inputs: { logits: uniform(3e4, 3e4 + 8) },
      label: 'far from zero',
    },
    {
      dims: { rows: 6, vocab: 50 },
      with: ['dlogits'],
      inputs: { logits: sprinkle(Array(60).fill(-Infinity)), targets: repeat([0]) },
      label: 'minus infinity',
    },
    {
      dims: { rows: 9, vocab: 40 },
      with: ['dlogits'],
      inputs: { logits: sprinkle([NaN, Infinity]), targets: repeat([3]) },
      label: 'special',
    },
    { dims: { rows: 128, vocab: 2048 }, with: ['scale', 'dlogits'], large: true },
  ],
});
