// Sums over an axis, and the other way.
import { tape } from '../autograd/tape.js';
import { sizeOf, type Tensor } from '../tensor/tensor.js';

/** alpha times the sum over one axis of x; the axis disappears. */
export function reduceSum(x: Tensor, axis: number, alpha = 1): Tensor {
  const t = tape();
  const dims = {
    outer: sizeOf(x.shape.slice(0, axis)),
    n: x.shape[axis]!,
    inner: sizeOf(x.shape.slice(axis + 1)),
  };
  const y = t.temporary([...x.shape.slice(0, axis), ...x.shape.slice(axis + 1)], { requiresGrad: x.requiresGrad });
  t.emit('reduce_sum', { x, y }, dims, { alpha });
  t.node([y], () => {
    if (!x.requiresGrad) return;
    const dx = t.grad(x);
    t.emit('broadcast', { x: t.incoming(y), add: dx.add, y: dx.out }, dims, { alpha });
  });
  return y;
}

/** x repeated n times along a new axis (+ add, of the new shape). */
export function repeat(x: Tensor, axis: number, n: number, add?: Tensor): Tensor {
  const t = tape();
  const [before, after] = [x.shape.slice(0, axis), x.shape.slice(axis)];
  const dims = { outer: sizeOf(before), n, inner: sizeOf(after) };
  const requiresGrad = x.requiresGrad || add?.requiresGrad === true;
  const y = t.temporary([...before, n, ...after], { requiresGrad });
  t.emit('broadcast', { x, add, y }, dims, { alpha: 1 });
  t.node([y], () => {
    const dy = t.incoming(y);
    if (add !== undefined) t.pass(add, dy);
    if (!x.requiresGrad) return;
    const dx = t.grad(x);
    t.emit('reduce_sum', { x: dy, add: dx.add, y: dx.out }, dims, { alpha: 1 });
  });
  return y;
}
