// Oracle of root-mean-square normalisation, per row and per attention head, and of rotary embedding.
import type { OracleTable } from './op.js';

export const norm: Pick<OracleTable, 'rms_norm' | 'rms_norm_backward' | 'qk_norm' | 'qk_norm_backward' | 'rope'> = {
  rms_norm: ({ x, w, y, rstd }, { rows, cols }, { eps }) => {
    for (let r = 0; r < rows; r++) rstd[r] = normalize(x, r * cols, w, y, cols, eps);
  },

  rms_norm_backward: ({ dy, x, w, rstd, add, addw, dx, dw }, { rows, cols }) => {
    startAt(dw, addw);
    for (let r = 0; r < rows; r++) {
      denormalize(dy, x, r * cols, w, rstd[r]!, dx, dw, cols);
      if (add) for (let c = 0; c < cols; c++) dx[r * cols + c]! += add[r * cols + c]!;
    }
  },

  qk_norm: ({ x, wq, wk, y, rstd }, { rows, heads, kvHeads, headDim }, { eps }) => {
    y.set(x);
    for (let r = 0; r < rows; r++) {
      for (let h = 0; h < heads + kvHeads; h++) {
        const at = (r * (heads + 2 * kvHeads) + h) * headDim;
        rstd[r * (heads + kvHeads) + h] = normalize(x, at, h < heads ? wq : wk, y, headDim, eps);
      }
    }
  },

  qk_norm_backward: ({ dy, x, wq, wk, rstd, addwq, addwk, dx, dwq, dwk }, { rows, heads, kvHeads, headDim }) => {
    startAt(dwq, addwq);
    startAt(dwk, addwk);
    dx.set(dy);
    for (let r = 0; r < rows; r++) {
      for (let h = 0; h < heads + kvHeads; h++) {
        const at = (r * (heads + 2 * kvHeads) + h) * headDim;
        const scale = rstd[r * (heads + kvHeads) + h]!;
        denormalize(dy, x, at, h < heads ? wq : wk, scale, dx, h < heads ? dwq : dwk, headDim);
      }
    }
  },

  rope: ({ x, positions, y }, { rows, heads, kvHeads, headDim, inverse }, { theta }) => {
    y.set(x);
    const half = headDim / 2;
    for (let r = 0; r < rows; r++) {
      for (let h = 0; h < heads + kvHeads; h++) {
        const at = (r * (heads + 2 * kvHeads) + h) * headDim;
        for (let j = 0; j < half; j++) {
          const angle = positions[r]! * theta ** ((-2 * j) / headDim) * (inverse ? -1 : 1);
          const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
          const [first, second] = [x[at + j]!, x[at + half + j]!];
          y[at + j] = first * cos - second * sin;
          y[at + half + j] = second * cos + first * sin;
        }
      }
    }
  },
};

/** y[at..at+n] = x * rstd * w; returns rstd = 1 / sqrt(mean(x^2) + eps). */
function normalize(x: Float64Array, at: number, w: Float64Array, y: Float64Array, n: number, eps: number): number {
  let squares = 0;
  for (let i = 0; i < n; i++) squares += x[at + i]! ** 2;
  const rstd = 1 / Math.sqrt(squares / n + eps);
  for (let i = 0; i < n; i++) y[at + i] = x[at + i]! * rstd * w[i]!;
  return rstd;
}

/** With u = x * rstd: dx = rstd * (w dy - u * mean(w dy u)), and dw gains dy u. */
function denormalize(
  dy: Float64Array,
  x: Float64Array,
  at: number,
  w: Float64Array,
  rstd: number,
  dx: Float64Array,
  dw: Float64Array,
  n: number,
): void {
  let dot = 0;
  for (let i = 0; i < n; i++) dot += w[i]! * dy[at + i]! * x[at + i]! * rstd;
  for (let i = 0; i < n; i++) {
    const u = x[at + i]! * rstd;
    dw[i]! += dy[at + i]! * u;
    dx[at + i] = rstd * (w[i]! * dy[at + i]! - (u * dot) / n);
  }
}

function startAt(target: Float64Array, start: Float64Array | undefined): void {
  if (start) target.set(start);
  else target.fill(0);
}
