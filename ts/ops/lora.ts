// A linear layer with a low-rank adapter (Hu et al. 2021): y = x W^T + scale (x A^T) B^T. W is frozen: it has no gradient.
import { expectWidth, tape } from '../autograd/tape.js';
import { rowsOf, type Tensor } from '../tensor/tensor.js';
import { emitGemm, linear } from './matmul.js';

/** x (..., in), w (out, in), a (r, in), b (out, r) (+ residual) -> (..., out). */
export function loraLinear(x: Tensor, w: Tensor, a: Tensor, b: Tensor, scale: number, residual?: Tensor): Tensor {
  const t = tape();
  const [rows, rank, width, out] = [rowsOf(x), a.shape[0]!, a.shape[1]!, b.shape[0]!];
  expectWidth('loraLinear', x, width);
  const down = linear(x, a); // (..., r)
  const plain = t.temporary([rows, out]);
  emitGemm({ a: x, b: w, add: residual, c: plain }, { m: rows, n: out, k: width, transB: true });
  const y = t.temporary([...x.shape.slice(0, -1), out], { requiresGrad: true });
  emitGemm({ a: down, b, add: plain, c: y }, { m: rows, n: out, k: rank, transB: true }, scale);
  t.node([y], () => {
    const dy = t.incoming(y);
    if (residual !== undefined) t.pass(residual, dy);
    const ddown = t.grad(down);
    emitGemm({ a: dy, b, add: ddown.add, c: ddown.out }, { m: rows, n: rank, k: out }, scale);
    const db = t.grad(b);
    emitGemm({ a: dy, b: down, add: db.add, c: db.out }, { m: out, n: rank, k: rows, transA: true }, scale);
    if (!x.requiresGrad) return;
    const dx = t.grad(x);
    emitGemm({ a: dy, b: w, add: dx.add, c: dx.out }, { m: rows, n: width, k: out });
  });
  return y;
}
