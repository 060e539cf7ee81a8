// y = value
import { defineCases, sweep } from '../case.js';

export const cases = defineCases({
  op: 'fill',
  flops: () => 0,
  length: () => 1,
  list: [
    ...sweep((n, base) => ({ dims: { n }, scalars: { value: 1.5 }, base })),
    ...[0, -0, NaN, Infinity, 1e-40].map((value) => ({
      dims: { n: 19 },
      scalars: { value },
      label: Object.is(value, -0) ? 'negative zero' : 'value',
    })),
    { dims: { n: 1_000_003 }, scalars: { value: -2 }, large: true },
  ],
});
