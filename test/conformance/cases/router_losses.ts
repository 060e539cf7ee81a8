// Loads, load balance and z-loss of a router, and their gradient.
import { type CaseEntry, defineCases, product, sweep } from '../case.js';
import { offsetsTo, repeat, sprinkle, uniform } from '../generators.js';

type Entry = CaseEntry<'router_losses'>;

export const cases = defineCases({
  op: 'router_losses',
  flops: ({ rows, experts }) => 10 * rows * experts,
  length: ({ rows, experts }) => rows + experts,
  scalars: { balance: 0.3, z: 0.2 },
  // The sort's offsets: their end is the number of choices, whatever k was.
  inputs: { x: uniform(-4, 4), lse: uniform(3, 5), offsets: offsetsTo('rows') },
  list: [
    ...sweep((experts, base): Entry => ({ dims: { rows: 5, experts }, with: ['dx'], base }), 1),
    ...sweep((rows, base): Entry => ({ dims: { rows, experts: 6 }, with: ['dx'], base })),
    ...product([1, 8, 33], [1, 700]).flatMap(([experts, rows]): Entry[] => [
      { dims: { rows, experts } },
      { dims: { rows, experts }, with: ['dx'], scalars: { balance: 0.01, z: 0 } },
      { dims: { rows, experts }, with: ['dx'], scalars: { balance: 0, z: 0.001 } },
    ]),
    { dims: { rows: 9, experts: 4 }, with: ['dx'], inputs: { offsets: repeat([0]) }, label: 'no choices' },
    { dims: { rows: 9, experts: 4 }, with: ['dx'], inputs: { offsets: () => [0, 0, 18, 18, 18] }, label: 'one expert' },
    { dims: { rows: 9, experts: 4 }, with: ['dx'], inputs: { x: sprinkle([NaN, -Infinity]) }, label: 'special' },
    { dims: { rows: 3000, experts: 20 }, with: ['dx'] },
    { dims: { rows: 8192, experts: 64 }, with: ['dx'], large: true },
  ],
});
