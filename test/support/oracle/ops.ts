// The table of oracle ops, and a way to run one on plain arrays. To add an op: one function in the file of its family; the
// type of ORACLE_OPS asks for it.
import type { OpName, OpRows } from '../../../ts/backend/ops.gen.js';
import { OPS } from '../../../ts/backend/ops.gen.js';
import type { RowDims, RowScalars } from '../../../ts/backend/rows.js';
import { attention } from './attention.js';
import { bank } from './bank.js';
import { elementwise } from './elementwise.js';
import { embedding } from './embedding.js';
import { matrix } from './matrix.js';
import { norm } from './norm.js';
import type { Arrays, OracleName, OracleTable } from './op.js';
import { optimizer } from './optimizer.js';
import { routing } from './routing.js';
import { rowwise } from './rowwise.js';

export const ORACLE_OPS: OracleTable = {
  ...elementwise,
  ...rowwise,
  ...routing,
  ...matrix,
  ...embedding,
  ...norm,
  ...attention,
  ...bank,
  ...optimizer,
};

/** Every operand that `apply` returns: inputs as given, outputs computed. */
export type Applied<K extends OpName> = { readonly [P in OpRows[K]['required'] | OpRows[K]['optional']]: Float64Array };

/**
 * Runs one op on arrays, without memory or rows. Outputs that are not given start as zeros of the size the table says;
 * optional operands that are not given are absent, unless `wanted` names them. Inputs are copied, never changed.
 */
export function apply<K extends OracleName>(
  op: K,
  given: { readonly [P in OpRows[K]['required'] | OpRows[K]['optional']]?: ArrayLike<number> | undefined },
  dims: RowDims<K>,
  scalars: RowScalars<K>,
  wanted: readonly OpRows[K]['optional'][] = [],
): Applied<K> {
  const spec = OPS[op];
  const extents = spec.extents(spec.dims.map((dim) => (dims as Readonly<Record<string, number>>)[dim]!));
  const values = given as Readonly<Record<string, ArrayLike<number> | undefined>>;
  const arrays: Record<string, Float64Array> = {};
  spec.operands.forEach((operand, i) => {
    const value = values[operand.name];
    if (value !== undefined) arrays[operand.name] = Float64Array.from(value);
    else if (!operand.optional || (wanted as readonly string[]).includes(operand.name)) {
      arrays[operand.name] = new Float64Array(extents[i]!);
    }
  });
  ORACLE_OPS[op](arrays as unknown as Arrays<K>, dims, scalars);
  return arrays as unknown as Applied<K>;
}
