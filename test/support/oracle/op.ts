// What an oracle op is: a plain function over float64 arrays. Inputs hold their values, outputs hold what memory held
// before, and the function writes outputs in full. Write it the way the formula reads, never for speed.
import type { OpName, OpRows } from '../../../ts/backend/ops.gen.js';
import type { RowDims, RowScalars } from '../../../ts/backend/rows.js';

/** Ops that measure the machine have no meaning to check. */
export type OracleName = Exclude<OpName, 'roof_fma' | 'roof_bf16' | 'roof_read' | 'clock'>;

export type Arrays<K extends OpName> = { readonly [P in OpRows[K]['required']]: Float64Array } & {
  readonly [P in OpRows[K]['optional']]?: Float64Array | undefined;
};
export type OracleOp<K extends OpName> = (arrays: Arrays<K>, dims: RowDims<K>, scalars: RowScalars<K>) => void;
export type OracleTable = { readonly [K in OracleName]: OracleOp<K> };

/** Values in memory that the op refuses, such as an id past the table. The interpreter adds the op and the row. */
export class DataError extends Error {}
