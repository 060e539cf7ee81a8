// Sums and products of tensors of one shape.
import { tape } from '../autograd/tape.js';
import { sizeOf, type Tensor } from '../tensor/tensor.js';

/** a + b: the residual connection. Both gradients are the incoming one, shared. */
export function add(a: Tensor, b: Tensor): Tensor {
  const t = tape();
  const y = t.temporary(a.shape, { requiresGrad: a.requiresGrad || b.requiresGrad });
  t.emit('add', { a, b, y }, { n: sizeOf(a.shape) }, { alpha: 1, beta: 1 });
  t.node([y], () => {
    const dy = t.incoming(y);
    t.pass(a, dy);
    t.pass(b, dy);
  });
  return y;
}

/** a * b, element by element. */
export function mul(a: Tensor, b: Tensor): Tensor {
  const t = tape();
  const n = sizeOf(a.shape);
  const y = t.temporary(a.shape, { requiresGrad: a.requiresGrad || b.requiresGrad });
  t.emit('mul', { a, b, y }, { n }, {});
  t.node([y], () => {
    const dy = t.incoming(y);
    for (const [x, other] of [
      [a, b],
      [b, a],
    ] as const) {
      if (!x.requiresGrad) continue;
      const dx = t.grad(x);
      t.emit('mul', { a: dy, b: other, add: dx.add, y: dx.out }, { n }, {});
    }
  });
  return y;
}
