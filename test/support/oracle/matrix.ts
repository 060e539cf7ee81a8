// Oracle of the matrix products: the three nested loops of the definition. With precision 1 both factors are rounded to
// bf16 first; their products are exact in float32, so the tolerance is that of float32 sums.
import { present } from './bank.js';
import type { OracleTable } from './op.js';
import { DataError } from './op.js';

export const matrix: Pick<OracleTable, 'gemm' | 'grouped_gemm' | 'grouped_gemm_dw' | 'csr_gemm'> = {
  gemm: ({ a: wholeA, b: wholeB, bias, add, c }, d, { alpha }) => {
    const { batch, m, n, k, lda, ldb, ldc } = d;
    const [a, b] = factors(d.precision, wholeA, wholeB);
    const [aRow, aCol] = d.transA ? [1, lda] : [lda, 1];
    const [bRow, bCol] = d.transB ? [1, ldb] : [ldb, 1];
    for (let s = 0; s < batch; s++) {
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let p = 0; p < k; p++) {
            sum += a[s * d.strideA + i * aRow + p * aCol]! * b[s * d.strideB + p * bRow + j * bCol]!;
          }
          const at = s * d.strideC + i * ldc + j;
          c[at] = alpha * sum + (bias ? bias[j]! : 0) + (add ? add[at]! : 0);
        }
      }
    }
  },

  grouped_gemm: ({ a: wholeA, b: wholeB, offsets, add, c }, { groups, rows, n, k, transB, precision }) => {
    checkOffsets(offsets, groups, rows);
    const [a, b] = factors(precision, wholeA, wholeB);
    for (let g = 0; g < groups; g++) {
      for (let i = offsets[g]!; i < offsets[g + 1]!; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let p = 0; p < k; p++) sum += a[i * k + p]! * b[g * k * n + (transB ? j * k + p : p * n + j)]!;
          c[i * n + j] = sum + (add ? add[i * n + j]! : 0);
        }
      }
    }
  },

  grouped_gemm_dw: ({ a: wholeA, b: wholeB, offsets, count, dw }, { groups, rows, m, n, precision }) => {
    checkOffsets(offsets, groups, rows);
    const some = present(count, groups);
    if (offsets[some] !== offsets[groups]) throw new DataError(`a count of ${some} groups leaves out rows`);
    const [a, b] = factors(precision, wholeA, wholeB);
    dw.fill(0, 0, some * m * n);
    for (let g = 0; g < some; g++) {
      for (let r = offsets[g]!; r < offsets[g + 1]!; r++) {
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) dw[(g * m + i) * n + j]! += a[r * m + i]! * b[r * n + j]!;
        }
      }
    }
  },

  csr_gemm: ({ indptr, indices, values, b, y }, { rows, cols, nnz, n }) => {
    checkOffsets(indptr, rows, indptr[rows]!);
    if (indptr[rows]! > nnz) throw new DataError(`row ends at entry ${indptr[rows]} of ${nnz}`);
    y.fill(0);
    for (let r = 0; r < rows; r++) {
      for (let e = indptr[r]!; e < indptr[r + 1]!; e++) {
        const column = indices[e]!;
        if (column < 0 || column >= cols) throw new DataError(`column ${column} is outside ${cols} columns`);
        for (let j = 0; j < n; j++) y[r * n + j]! += values[e]! * b[column * n + j]!;
      }
    }
  },
};

const factors = (precision: number, a: Float64Array, b: Float64Array) =>
  precision === 1 ? ([a.map(roundToBf16), b.map(roundToBf16)] as const) : ([a, b] as const);

/** The nearest number with 8 significant bits and the exponents of float32, ties to even. */
function roundToBf16(x: number): number {
  if (!Number.isFinite(x) || x === 0) return x;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), -126);
  const scaled = x / 2 ** (exponent - 7);
  const below = Math.floor(scaled);
  const rest = scaled - below;
  const up = rest > 0.5 || (rest === 0.5 && below % 2 !== 0);
  const value = (below + (up ? 1 : 0)) * 2 ** (exponent - 7);
  return Math.abs(value) >= 2 ** 128 ? Math.sign(x) * Infinity : value;
}

/** offsets[0..groups] must rise from 0 to `end`; repeated values are empty groups. */
function checkOffsets(offsets: Float64Array, groups: number, end: number): void {
  let ascending = offsets[0] === 0 && offsets[groups] === end;
  for (let g = 0; g < groups; g++) ascending &&= offsets[g]! <= offsets[g + 1]!;
  if (!ascending) throw new DataError(`offsets do not rise from 0 to ${end}`);
}
