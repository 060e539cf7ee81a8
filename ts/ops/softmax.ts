// Softmax over the last axis: routing and expert weights.
import { tape } from '../autograd/tape.js';
import { lastOf, rowsOf, type Tensor } from '../tensor/tensor.js';

/** x (..., K) -> the same shape, rows sum to 1. */
export function softmax(x: Tensor): Tensor {
  const t = tape();
  const dims = { rows: rowsOf(x), cols: lastOf(x) };
  const y = t.temporary(x.shape, { requiresGrad: x.requiresGrad });
  t.emit('softmax', { x, y }, dims, {});
  t.node([y], () => t.gradVia(x, (dx) => t.emit('softmax_backward', { dy: t.incoming(y), y, dx }, dims, {})));
  return y;
}
