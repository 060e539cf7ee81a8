// silu(gate) * up (Shazeer 2020).
import { tape } from '../autograd/tape.js';
import { lastOf, rowsOf, type Tensor } from '../tensor/tensor.js';

/** x (..., 2 F), gate then up -> (..., F). */
export function swiglu(x: Tensor): Tensor {
  const t = tape();
  const cols = lastOf(x) / 2;
  const dims = { rows: rowsOf(x), cols };
  const y = t.temporary([...x.shape.slice(0, -1), cols], { requiresGrad: x.requiresGrad });
  t.emit('swiglu', { x, y }, dims, {});
  t.node([y], () => t.gradVia(x, (dx) => t.emit('swiglu_backward', { dy: t.incoming(y), x, dx }, dims, {})));
  return y;
}
