// Oracle of the bank of slices: mixing, the gradient of coefficients, and the optimizer that forms slice gradients on the
// fly. Slices are stored tile by tile, 256 elements of every slice in turn.
import { DataError, type OracleTable } from './op.js';
import { adamwStep } from './optimizer.js';

export const bank: Pick<OracleTable, 'bank_mix' | 'bank_mix_backward' | 'bank_sum_squares' | 'bank_adamw'> = {
  bank_mix: ({ t, c, count, s, w }, { groups, slices, size }) => {
    for (let g = 0; g < present(count, groups); g++) {
      for (let i = 0; i < size; i++) {
        let sum = s ? s[i]! : 0;
        for (let r = 0; r < slices; r++) sum += c[g * slices + r]! * t[place(i, r, slices)]!;
        w[g * size + i] = sum;
      }
    }
  },

  bank_mix_backward: ({ dw, t, count, add, adds, dc, ds }, { groups, slices, size }) => {
    const some = present(count, groups);
    for (let g = 0; g < groups; g++) {
      for (let r = 0; r < slices; r++) {
        let sum = add ? add[g * slices + r]! : 0;
        if (g < some) for (let i = 0; i < size; i++) sum += dw[g * size + i]! * t[place(i, r, slices)]!;
        dc[g * slices + r] = sum;
      }
    }
    if (ds === undefined) return;
    for (let i = 0; i < size; i++) {
      ds[i] = adds ? adds[i]! : 0;
      for (let g = 0; g < some; g++) ds[i]! += dw[g * size + i]!;
    }
  },

  bank_sum_squares: ({ dw, c, count, y }, { groups, slices, size }) => {
    let sum = 0;
    const some = present(count, groups);
    for (let r = 0; r < slices; r++) {
      for (let i = 0; i < size; i++) sum += sliceGradient(dw, c, some, slices, size, r, i) ** 2;
    }
    y[0] = sum;
  },

  bank_adamw: ({ dw, c, count, hyper, clip, t, m, v }, { groups, slices, size }, scalars) => {
    const some = present(count, groups);
    for (let r = 0; r < slices; r++) {
      for (let i = 0; i < size; i++) {
        const g = sliceGradient(dw, c, some, slices, size, r, i);
        adamwStep(g * clip[0]!, hyper, scalars, t, m, v, place(i, r, slices));
      }
    }
  },
};

/** How many groups take part. */
export function present(count: Float64Array | undefined, groups: number): number {
  const given = count ? count[0]! : groups;
  if (given < 0 || given > groups) throw new DataError(`a count of ${given} is outside the ${groups} groups`);
  return given;
}

/** Index of element i of slice r. */
const place = (i: number, r: number, slices: number): number => (Math.floor(i / 256) * slices + r) * 256 + (i % 256);

/** Element i of dt_r = sum_g c[g, r] dw[g]. */
function sliceGradient(
  dw: Float64Array,
  c: Float64Array,
  groups: number,
  slices: number,
  size: number,
  r: number,
  i: number,
): number {
  let sum = 0;
  for (let g = 0; g < groups; g++) sum += c[g * slices + r]! * dw[g * size + i]!;
  return sum;
}
