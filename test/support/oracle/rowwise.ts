// Oracle of the ops over whole rows: argmax, softmax, cross entropy, nearest centroid.
import type { OracleTable } from './op.js';
import { DataError } from './op.js';

export const rowwise: Pick<
  OracleTable,
  'argmax' | 'softmax' | 'softmax_backward' | 'cross_entropy' | 'distill_cross_entropy' | 'kmeans_assign'
> = {
  argmax: ({ x, y }, { rows, cols }) => {
    for (let r = 0; r < rows; r++) {
      let best = -1;
      for (let c = 0; c < cols; c++) {
        const value = x[r * cols + c]!;
        if (!Number.isNaN(value) && (best < 0 || value > x[r * cols + best]!)) best = c;
      }
      y[r] = Math.max(best, 0);
    }
  },

  softmax: ({ x, y }, { rows, cols }) => {
    for (let r = 0; r < rows; r++) {
      const row = x.subarray(r * cols, (r + 1) * cols);
      const lse = logSumExp(row);
      for (let c = 0; c < cols; c++) y[r * cols + c] = Math.exp(row[c]! - lse);
    }
  },

  softmax_backward: ({ dy, y, dx }, { rows, cols }) => {
    for (let r = 0; r < rows; r++) {
      let dot = 0;
      for (let c = 0; c < cols; c++) dot += dy[r * cols + c]! * y[r * cols + c]!;
      for (let c = 0; c < cols; c++) dx[r * cols + c] = y[r * cols + c]! * (dy[r * cols + c]! - dot);
    }
  },

  cross_entropy: ({ logits, targets, scale, loss, dlogits }, { rows, vocab }) => {
    const factor = scale ? scale[0]! : 1;
    for (let r = 0; r < rows; r++) {
      const target = targets[r]!;
      if (target >= vocab) throw new DataError(`target ${target} is outside a vocabulary of ${vocab}`);
      if (target < 0) {
        loss[r] = 0;
        dlogits?.fill(0, r * vocab, (r + 1) * vocab);
        continue;
      }
      const row = logits.subarray(r * vocab, (r + 1) * vocab);
      const lse = logSumExp(row);
      loss[r] = lse - row[target]!;
      if (!dlogits) continue;
      for (let v = 0; v < vocab; v++) {
        dlogits[r * vocab + v] = (Math.exp(row[v]! - lse) - (v === target ? 1 : 0)) * factor;
      }
    }
  },

  distill_cross_entropy: (
    { logits, targets, ids, p, scale, loss, dlogits },
    { rows, vocab, k },
    { weight, temperature },
  ) => {
    for (let r = 0; r < rows; r++) {
      const target = targets[r]!;
      if (target >= vocab) throw new DataError(`target ${target} is outside a vocabulary of ${vocab}`);
      dlogits.fill(0, r * vocab, (r + 1) * vocab);
      loss[r] = 0;
      if (target < 0) continue;
      const row = logits.subarray(r * vocab, (r + 1) * vocab);
      const lse = logSumExp(row);
      loss[r] = (1 - weight) * (lse - row[target]!);
      for (let v = 0; v < vocab; v++) {
        dlogits[r * vocab + v] = (1 - weight) * (Math.exp(row[v]! - lse) - (v === target ? 1 : 0)) * scale[0]!;
      }
      if (k === 0 || ids[r * k]! < 0) continue;
      const cold = row.map((x) => x / temperature);
      const coldLse = logSumExp(cold);
      const teacher = new Map(Array.from({ length: k }, (_, j) => [ids[r * k + j]!, p[r * k + j]!]));
      for (const id of teacher.keys())
        if (!(id >= 0 && id < vocab)) throw new DataError(`token ${id} is outside a vocabulary of ${vocab}`);
      let [rest, mass] = [0, 0];
      for (let v = 0; v < vocab; v++) if (!teacher.has(v)) rest += Math.exp(cold[v]! - coldLse);
      for (const probability of teacher.values()) mass += probability;
      const left = rest > 0 ? Math.max(0, 1 - mass) : 0;
      let divergence = left > 0 ? left * Math.log(left / rest) : 0;
      for (let v = 0; v < vocab; v++) {
        const q = Math.exp(cold[v]! - coldLse);
        const known = teacher.get(v);
        if (known !== undefined && known > 0) divergence += known * (Math.log(known) - (cold[v]! - coldLse));
        const slope = q * (mass + left) - (known ?? (q * left) / rest);
        dlogits[r * vocab + v]! += weight * temperature * slope * scale[0]!;
      }
      loss[r]! += weight * temperature ** 2 * divergence;
    }
  },

  kmeans_assign: ({ x, centroids, ids, distance }, { rows, cols, clusters }) => {
    for (let r = 0; r < rows; r++) {
      let best = 0;
      let least = NaN;
      for (let k = 0; k < clusters; k++) {
        const d = squaredDistance(x, r * cols, centroids, k * cols, cols);
        if (d < least || (Number.isNaN(least) && !Number.isNaN(d))) {
          best = k;
          least = d;
        }
      }
      ids[r] = best;
      distance[r] = least;
    }
  },
};

/** |a[at..at+n] - b[bt..bt+n]|^2 */
export function squaredDistance(a: Float64Array, at: number, b: Float64Array, bt: number, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += (a[at + i]! - b[bt + i]!) ** 2;
  return sum;
}

/** log sum exp, NaN when an element is NaN, +infinity or when all are -infinity, as the plain formula has it. */
export function logSumExp(row: Float64Array): number {
  let max = -Infinity;
  for (const value of row) max = Math.max(max, value);
  let sum = 0;
  for (const value of row) sum += Math.exp(value - max);
  return max + Math.log(sum);
}
