// Choices and places of routed rows, as the ops before them would make them.
import type { Generator } from '../../case.js';

/** `rows` times k different ids below `experts`, as a choice of the k largest gives. */
export const choices: Generator = ({ random, dims }) =>
  Array.from({ length: dims['rows']! }, () => {
    const order = Array.from({ length: dims['experts']! }, (_, e) => ({ e, at: random() }));
    return order
      .sort((a, b) => a.at - b.at)
      .slice(0, dims['k']!)
      .map(({ e }) => e);
  }).flat();

/** Every place once, in no order. */
export const places: Generator = ({ random, count }) => {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
};
