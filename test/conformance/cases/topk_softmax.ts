// The k most probable experts of each row, the first of equals.
import { type CaseEntry, defineCases, product, range, sweep } from '../case.js';
import { integers, repeat, sprinkle, uniform } from '../generators.js';

type Entry = CaseEntry<'topk_softmax'>;
const both = (make: (normalize: number) => Entry): Entry[] => [0, 1].map(make);

export const cases = defineCases({
  op: 'topk_softmax',
  flops: ({ rows, experts }) => 5 * rows * experts,
  length: ({ experts }) => experts,
  inputs: { x: uniform(-4, 4), bias: uniform(-2, 2) },
  list: [
    ...sweep(
      (experts, base): Entry => ({
        dims: { rows: 5, experts, k: Math.min(experts, 2), normalize: experts % 2 },
        with: experts % 3 === 0 ? ['lse'] : [],
        base,
      }),
      1,
    ),
    ...product(range(0, 6), [0, 1]).map(
      ([k, normalize]): Entry => ({ dims: { rows: 37, experts: 20, k, normalize }, with: ['bias', 'lse'] }),
    ),
    ...both((normalize) => ({ dims: { rows: 9, experts: 1, k: 1, normalize }, with: ['lse'] })),
    ...both((normalize) => ({ dims: { rows: 0, experts: 8, k: 2, normalize }, with: ['lse'] })),
    ...both((normalize) => ({ dims: { rows: 20, experts: 40, k: 40, normalize } })),
    ...product([64, 65, 128, 129, 256, 257], [8, 33]).map(
      ([experts, k]): Entry => ({ dims: { rows: 9, experts, k, normalize: 1 }, with: ['bias', 'lse'] }),
    ),
    ...both((normalize) => ({ dims: { rows: 3, experts: 2000, k: 8, normalize }, with: ['bias'] })),
    ...product([1, 2, 4, 7], [0, 1]).map(
      ([k, normalize]): Entry => ({
        dims: { rows: 40, experts: 21, k, normalize },
        inputs: { x: integers(0, 2) },
        label: 'ties',
      }),
    ),
    ...both((normalize) => ({
      dims: { rows: 40, experts: 16, k: 3, normalize },
      with: ['bias'],
      inputs: { x: integers(0, 2), bias: integers(-1, 1) },
      label: 'ties',
    })),
    ...both((normalize) => ({
      dims: { rows: 9, experts: 30, k: 4, normalize },
      inputs: { x: repeat([...Array(27).fill(-Infinity), 1, 2, 3]) },
      label: 'fewer than k',
    })),
    ...both((normalize) => ({
      dims: { rows: 3, experts: 18, k: 2, normalize },
      with: ['lse'],
      inputs: { x: repeat([-Infinity]) },
      label: 'minus infinity',
    })),
    ...product([2, 5], [0, 1]).map(
      ([k, normalize]): Entry => ({
        dims: { rows: 30, experts: 18, k, normalize },
        with: ['lse'],
        inputs: { x: sprinkle([NaN, Infinity, -Infinity, NaN, Infinity]) },
        label: 'special',
      }),
    ),
    ...both((normalize) => ({
      dims: { rows: 3, experts: 7, k: 3, normalize },
      inputs: { x: repeat([NaN]) },
      label: 'nan',
    })),
    ...both((normalize) => ({
      dims: { rows: 9, experts: 33, k: 3, normalize },
      inputs: { x: uniform(1e4, 1e4 + 4) },
      label: 'far from zero',
    })),
    { dims: { rows: 8192, experts: 64, k: 2, normalize: 1 }, large: true },
    { dims: { rows: 2048, experts: 64, k: 2, normalize: 0 }, with: ['lse'], large: true },
  ],
});
