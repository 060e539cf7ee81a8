// Oracle of the ops that treat elements alone, and of plain sums.
import type { OracleTable } from './op.js';
import { DataError } from './op.js';

export const elementwise: Pick<
  OracleTable,
  | 'fill'
  | 'cast'
  | 'add'
  | 'mul'
  | 'reduce_sum'
  | 'broadcast'
  | 'sum_squares'
  | 'bincount'
  | 'swiglu'
  | 'swiglu_backward'
  | 'soft_cap'
  | 'soft_cap_backward'
> = {
  fill: ({ y }, _, { value }) => {
    y.fill(value);
  },

  // Rounding to the target type happens where the value is stored or read.
  cast: ({ x, y }, { n, to }) => {
    for (let i = 0; i < n; i++) y[i] = to === 3 ? saturate(x[i]!) : x[i]!;
  },

  add: ({ a, b, y }, { n }, { alpha, beta }) => {
    for (let i = 0; i < n; i++) y[i] = alpha * a[i]! + beta * b[i]!;
  },

  mul: ({ a, b, add, y }, { n }) => {
    for (let i = 0; i < n; i++) y[i] = a[i]! * b[i]! + (add ? add[i]! : 0);
  },

  reduce_sum: ({ x, add, y }, { outer, n, inner }, { alpha }) => {
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) {
        let sum = 0;
        for (let j = 0; j < n; j++) sum += x[(o * n + j) * inner + i]!;
        y[o * inner + i] = alpha * sum + (add ? add[o * inner + i]! : 0);
      }
    }
  },

  broadcast: ({ x, add, y }, { outer, n, inner }, { alpha }) => {
    for (let o = 0; o < outer; o++) {
      for (let j = 0; j < n; j++) {
        for (let i = 0; i < inner; i++) {
          const at = (o * n + j) * inner + i;
          y[at] = alpha * x[o * inner + i]! + (add ? add[at]! : 0);
        }
      }
    }
  },

  sum_squares: ({ x, y }, { n }) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += x[i]! * x[i]!;
    y[0] = sum;
  },

  bincount: ({ ids, y }, { n, vocab }) => {
    y.fill(0);
    for (let i = 0; i < n; i++) {
      if (ids[i]! >= vocab) throw new DataError(`id ${ids[i]} is outside ${vocab} bins`);
      if (ids[i]! >= 0) y[ids[i]!]! += 1;
    }
  },

  swiglu: ({ x, y }, { rows, cols }) => {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        const gate = x[r * 2 * cols + c]!;
        const up = x[r * 2 * cols + cols + c]!;
        y[r * cols + c] = gate * sigmoid(gate) * up;
      }
    }
  },

  swiglu_backward: ({ dy, x, dx }, { rows, cols }) => {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        const gate = x[r * 2 * cols + c]!;
        const up = x[r * 2 * cols + cols + c]!;
        const s = sigmoid(gate);
        const g = dy[r * cols + c]!;
        dx[r * 2 * cols + c] = g * up * s * (1 + gate * (1 - s));
        dx[r * 2 * cols + cols + c] = g * gate * s;
      }
    }
  },

  soft_cap: ({ x, y }, { n }, { cap }) => {
    for (let i = 0; i < n; i++) y[i] = cap * Math.tanh(x[i]! / cap);
  },

  soft_cap_backward: ({ dy, y, dx }, { n }, { cap }) => {
    for (let i = 0; i < n; i++) dx[i] = dy[i]! * (1 - (y[i]! / cap) ** 2);
  },
};

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

function saturate(x: number): number {
  if (Number.isNaN(x)) return 0;
  // Integers have no negative zero.
  return Math.trunc(Math.min(Math.max(x, -2147483648), 2147483647)) + 0;
}
