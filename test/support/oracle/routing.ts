// Oracle of routing: the best k of a softmax, rows sorted by the group they chose, and their weighted sum.
import type { OracleTable } from './op.js';
import { DataError } from './op.js';
import { logSumExp } from './rowwise.js';

export const routing: Pick<
  OracleTable,
  | 'topk_softmax'
  | 'topk_softmax_backward'
  | 'route_sort'
  | 'combine_rows'
  | 'combine_rows_backward'
  | 'router_losses'
  | 'router_bias'
> = {
  topk_softmax: ({ x, bias, p, ids, lse }, { rows, experts, k, normalize }) => {
    if (k > experts) throw new DataError(`${k} choices of ${experts} experts`);
    for (let r = 0; r < rows; r++) {
      const row = x.subarray(r * experts, (r + 1) * experts);
      const score = Array.from(row, (value, e) => {
        const v = bias ? Math.fround(value + bias[e]!) : value;
        return Number.isNaN(v) ? -Infinity : v;
      });
      const order = score.map((_, e) => e).sort((a, b) => (score[a] === score[b] ? a - b : score[b]! - score[a]!));
      const log = logSumExp(row);
      if (lse) lse[r] = log;
      const chosen = order.slice(0, k);
      // Of the chosen alone, so that nothing is lost when they are a tiny part of the whole.
      const denominator = normalize ? logSumExp(Float64Array.from(chosen, (e) => row[e]!)) : log;
      chosen.forEach((e, c) => {
        ids[r * k + c] = e;
        p[r * k + c] = Number.isNaN(log) ? NaN : Math.exp(row[e]! - denominator);
      });
    }
  },

  topk_softmax_backward: ({ dp, dlse, x, p, ids, lse, add, dx }, { rows, experts, k, normalize }) => {
    if ((dlse || !normalize) && !lse) throw new DataError('lse is missing');
    for (let r = 0; r < rows; r++) {
      let mean = 0;
      for (let c = r * k; c < (r + 1) * k; c++) mean += dp[c]! * p[c]!;
      for (let e = r * experts; e < (r + 1) * experts; e++) {
        dx[e] = add ? add[e]! : 0;
        if (lse) dx[e]! += Math.exp(x[e]! - lse[r]!) * ((dlse ? dlse[r]! : 0) - (normalize ? 0 : mean));
      }
      for (let c = r * k; c < (r + 1) * k; c++) {
        const id = inside('expert', ids[c]!, experts);
        dx[r * experts + id]! += p[c]! * (dp[c]! - (normalize ? mean : 0));
      }
    }
  },

  route_sort: ({ ids, offsets, source, position }, { rows, k, groups }) => {
    for (let i = 0; i < rows * k; i++) inside('expert', ids[i]!, groups);
    let place = 0;
    for (let g = 0; g < groups; g++) {
      offsets[g] = place;
      for (let i = 0; i < rows * k; i++) {
        if (ids[i] !== g) continue;
        source[place] = Math.floor(i / k);
        position[i] = place++;
      }
    }
    offsets[groups] = place;
  },

  combine_rows: ({ x, p, position, add, y }, { rows, k, cols }) => {
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < cols; i++) {
        let sum = add ? add[r * cols + i]! : 0;
        for (let c = r * k; c < (r + 1) * k; c++) {
          sum += (p ? p[c]! : 1) * x[inside('position', position[c]!, rows * k) * cols + i]!;
        }
        y[r * cols + i] = sum;
      }
    }
  },

  combine_rows_backward: ({ dy, x, p, position, dx, dp }, { rows, k, cols }) => {
    for (let r = 0; r < rows; r++) {
      for (let c = r * k; c < (r + 1) * k; c++) {
        const at = inside('position', position[c]!, rows * k) * cols;
        let dot = 0;
        for (let i = 0; i < cols; i++) {
          dot += dy[r * cols + i]! * x[at + i]!;
          dx[at + i] = p[c]! * dy[r * cols + i]!;
        }
        dp[c] = dot;
      }
    }
  },

  router_losses: ({ x, lse, offsets, y, dx }, { rows, experts }, { balance, z }) => {
    const total = offsets[experts]! - offsets[0]!;
    const load = Array.from({ length: experts }, (_, e) => (total === 0 ? 0 : (offsets[e + 1]! - offsets[e]!) / total));
    const p = Array.from(x, (value, i) => Math.exp(value - lse[Math.floor(i / experts)]!));
    let [even, squares] = [0, 0];
    for (let r = 0; r < rows; r++) {
      const mean = load.reduce((sum, f, e) => sum + f * p[r * experts + e]!, 0);
      even += (experts * mean) / rows;
      squares += lse[r]! ** 2 / rows;
      for (let e = 0; dx && e < experts; e++) {
        const slope = balance * experts * (load[e]! - mean) + 2 * z * lse[r]!;
        dx[r * experts + e] = (p[r * experts + e]! * slope) / rows;
      }
    }
    y.set([...load, even, squares]);
  },

  router_bias: ({ offsets, bias }, { experts }, { rate }) => {
    const mean = (offsets[experts]! - offsets[0]!) / experts;
    for (let e = 0; e < experts; e++) bias[e]! += rate * Math.sign(mean - (offsets[e + 1]! - offsets[e]!));
  },
};

function inside(what: string, id: number, count: number): number {
  if (!(id >= 0 && id < count)) throw new DataError(`${what} ${id} is outside the table of ${count} rows`);
  return id;
}
