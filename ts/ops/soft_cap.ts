// Soft-capped logits (Gemma 2, arXiv 2408.00118): cap tanh(x / cap) bends large values towards the cap and leaves small ones.
import { tape } from '../autograd/tape.js';
import { sizeOf, type Tensor } from '../tensor/tensor.js';

/** Each value bent towards -cap and cap; 0 is no cap, and gives x itself. */
export function softCap(x: Tensor, cap: number): Tensor {
  if (cap === 0) return x;
  const t = tape();
  const n = sizeOf(x.shape);
  const y = t.temporary(x.shape, { requiresGrad: x.requiresGrad });
  t.emit('soft_cap', { x, y }, { n }, { cap });
  t.node([y], () => t.gradVia(x, (dx) => t.emit('soft_cap_backward', { dy: t.incoming(y), y, dx }, { n }, { cap })));
  return y;
}
