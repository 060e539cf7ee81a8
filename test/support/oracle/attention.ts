// Oracle of causal attention over a fused (q heads, k heads, v heads) row: forward, gradient, and decode over a cache.
// With precision 1 what is multiplied is rounded to bf16: q, k, v, dy, probabilities and the gradients of scores.
import { roundToBf16 } from './bf16.js';
import type { OracleTable } from './op.js';
import { DataError } from './op.js';

export const attention: Pick<OracleTable, 'attention' | 'attention_backward' | 'attention_decode'> = {
  attention: ({ qkv: whole, y, lse }, { batch, time, heads, kvHeads, headDim, precision }, { scale }) => {
    const round = rounding(precision);
    const qkv = whole.map(round);
    const width = (heads + 2 * kvHeads) * headDim;
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        const { key, value } = columns(h, heads, kvHeads, headDim);
        for (let i = 0; i < time; i++) {
          const query = qkv.subarray((b * time + i) * width + h * headDim);
          const out = y.subarray(((b * time + i) * heads + h) * headDim);
          const rows = (j: number) => (b * time + j) * width;
          lse[(b * heads + h) * time + i] = attend(
            query,
            (j) => qkv.subarray(rows(j) + key),
            (j) => qkv.subarray(rows(j) + value),
            i + 1,
            headDim,
            scale,
            out,
            round,
          );
        }
      }
    }
  },

  // p = exp(scale q.k - lse), ds = p (dy.v - dy.y): the softmax is rebuilt from lse, as kernels do.
  attention_backward: (operands, { batch, time, heads, kvHeads, headDim, precision }, { scale }) => {
    const { y, lse, dqkv } = operands;
    const round = rounding(precision);
    const [qkv, dy] = [operands.qkv.map(round), operands.dy.map(round)];
    const width = (heads + 2 * kvHeads) * headDim;
    dqkv.fill(0);
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        const { key, value } = columns(h, heads, kvHeads, headDim);
        for (let i = 0; i < time; i++) {
          const q = (b * time + i) * width + h * headDim;
          const o = ((b * time + i) * heads + h) * headDim;
          const delta = dot(operands.dy.subarray(o), y.subarray(o), headDim);
          for (let j = 0; j <= i; j++) {
            const k = (b * time + j) * width + key;
            const v = (b * time + j) * width + value;
            const score = scale * dot(qkv.subarray(q), qkv.subarray(k), headDim);
            const p = Math.exp(score - lse[(b * heads + h) * time + i]!);
            const ds = round(p * (dot(dy.subarray(o), qkv.subarray(v), headDim) - delta)) * scale;
            for (let d = 0; d < headDim; d++) {
              dqkv[q + d]! += ds * qkv[k + d]!;
              dqkv[k + d]! += ds * qkv[q + d]!;
              dqkv[v + d]! += round(p) * dy[o + d]!;
            }
          }
        }
      }
    }
  },

  attention_decode: ({ qkv, position, keys, values, y }, { rows, capacity, heads, kvHeads, headDim }, { scale }) => {
    const width = (heads + 2 * kvHeads) * headDim;
    const cacheWidth = kvHeads * headDim;
    const first = position[0]!;
    if (first < 0 || first + rows > capacity) {
      throw new DataError(`positions ${first} to ${first + rows} do not fit a cache of ${capacity}`);
    }
    for (let r = 0; r < rows; r++) {
      const k = r * width + heads * headDim;
      keys.set(qkv.subarray(k, k + cacheWidth), (first + r) * cacheWidth);
      values.set(qkv.subarray(k + cacheWidth, k + 2 * cacheWidth), (first + r) * cacheWidth);
    }
    for (let r = 0; r < rows; r++) {
      for (let h = 0; h < heads; h++) {
        const column = Math.floor(h / (heads / kvHeads)) * headDim;
        attend(
          qkv.subarray(r * width + h * headDim),
          (j) => keys.subarray(j * cacheWidth + column),
          (j) => values.subarray(j * cacheWidth + column),
          first + r + 1,
          headDim,
          scale,
          y.subarray((r * heads + h) * headDim),
          rounding(0),
        );
      }
    }
  },
};

/** Columns of a fused row where the key and the value of query head h begin. */
function columns(h: number, heads: number, kvHeads: number, headDim: number): { key: number; value: number } {
  const shared = Math.floor(h / (heads / kvHeads));
  return { key: (heads + shared) * headDim, value: (heads + kvHeads + shared) * headDim };
}

const rounding = (precision: number): ((x: number) => number) => (precision === 1 ? roundToBf16 : (x) => x);

function dot(a: Float64Array, b: Float64Array, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** out = softmax(scale q.k) v over the first `count` keys; returns the log of the denominator. */
function attend(
  query: Float64Array,
  key: (j: number) => Float64Array,
  value: (j: number) => Float64Array,
  count: number,
  headDim: number,
  scale: number,
  out: Float64Array,
  round: (x: number) => number,
): number {
  const scores = Float64Array.from({ length: count }, (_, j) => scale * dot(query, key(j), headDim));
  let max = -Infinity;
  for (const score of scores) max = Math.max(max, score);
  // Powers of two below the whole number above the maximum, as op and kernels round them.
  const shift = Math.ceil(max * Math.LOG2E);
  const powers = scores.map((score) => 2 ** (score * Math.LOG2E - shift));
  let sum = 0;
  for (const power of powers) sum += power;
  out.fill(0, 0, headDim);
  for (let j = 0; j < count; j++) {
    const p = round(powers[j]!) / sum;
    const v = value(j);
    for (let d = 0; d < headDim; d++) out[d]! += p * v[d]!;
  }
  return shift * Math.LN2 + Math.log(sum);
}
