// Rows of a table by id.
import { tape } from '../autograd/tape.js';
import { sizeOf, type Tensor } from '../tensor/tensor.js';

/** table (V, C), ids i32 (...) -> (..., C). */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  const t = tape();
  const [vocab, cols] = [table.shape[0]!, table.shape[1]!];
  const rows = sizeOf(ids.shape);
  const y = t.temporary([...ids.shape, cols], { requiresGrad: table.requiresGrad });
  t.emit('embedding', { table, ids, y }, { rows, cols, vocab }, {});
  t.node([y], () => {
    const slot = t.grad(table);
    t.emit(
      'embedding_backward',
      { dy: t.incoming(y), ids, add: slot.add, dtable: slot.out },
      { rows, cols, vocab },
      {},
    );
  });
  return y;
}
