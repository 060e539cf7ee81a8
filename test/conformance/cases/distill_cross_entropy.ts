// Loss and gradient of a student over its logits, with a teacher's k tokens and the bucket for the rest.
import { type CaseEntry, defineCases, type Generator, sweep, WIDE } from '../case.js';
import { idsOf, repeat, sprinkle, uniform } from '../generators.js';

/** Different tokens in every row, as top-k gives them; every fifth row has no teacher. */
const tokens: Generator = ({ count, dims, random }) => {
  const { k, vocab } = dims as { k: number; vocab: number };
  return Array.from({ length: k === 0 ? 0 : count / k }, (_, r) => {
    const all = Array.from({ length: vocab }, (_, v) => v);
    for (let j = 0; j < k; j++) {
      const other = j + Math.floor(random() * (vocab - j));
      [all[j], all[other]] = [all[other]!, all[j]!];
    }
    return r % 5 === 4 ? all.slice(0, k).fill(-1) : all.slice(0, k);
  }).flat();
};
/** Probabilities of k tokens: together at most 0.9. */
const chances: Generator = ({ count, dims, random }) =>
  Array.from({ length: count }, () => (0.9 * random()) / Math.max(1, dims['k']!));

export const cases = defineCases({
  op: 'distill_cross_entropy',
  flops: ({ rows, vocab }) => 10 * rows * vocab,
  length: ({ vocab }) => vocab,
  scalars: { weight: 0.4, temperature: 2 },
  inputs: {
    logits: uniform(-4, 4),
    targets: idsOf('vocab', 0.15),
    ids: tokens,
    p: chances,
    scale: () => [0.125],
  },
  list: [
    ...sweep(
      (vocab, base): CaseEntry<'distill_cross_entropy'> => ({ dims: { rows: 6, vocab, k: Math.min(3, vocab) }, base }),
      1,
    ),
    { dims: { rows: 0, vocab: 5, k: 2 } },
    { dims: { rows: 7, vocab: 33, k: 0 } },
    { dims: { rows: 65, vocab: 100, k: 8 }, scalars: { weight: 1, temperature: 1 } },
    { dims: { rows: 65, vocab: 100, k: 8 }, scalars: { weight: 0, temperature: 3 } },
    { dims: { rows: 3, vocab: 4099, k: 32 } },
    ...WIDE.map((vocab): CaseEntry<'distill_cross_entropy'> => ({ dims: { rows: 3, vocab, k: 20 } })),
    { dims: { rows: 5, vocab: 40, k: 4 }, inputs: { targets: repeat([-1]) }, label: 'no targets' },
    { dims: { rows: 6, vocab: 20, k: 20 }, label: 'nothing left' },
    { dims: { rows: 6, vocab: 200, k: 4 }, inputs: { logits: uniform(3e4, 3e4 + 8) }, label: 'far from zero' },
    { dims: { rows: 6, vocab: 40, k: 4 }, inputs: { p: repeat([0, 0.5]) }, label: 'certain of some' },
    { dims: { rows: 9, vocab: 40, k: 4 }, inputs: { logits: sprinkle([NaN]) }, label: 'special' },
    { dims: { rows: 128, vocab: 2048, k: 16 }, large: true },
  ],
});
