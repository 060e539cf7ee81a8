// RMS norm (Zhang and Sennrich 2019), over a row or over every query and key head.
import { expectWidth, tape } from '../autograd/tape.js';
import { lastOf, rowsOf, type Tensor } from '../tensor/tensor.js';
import type { HeadShape } from './attention.js';

/** x (..., C), w (C) -> x / rms(x) * w. */
export function rmsNorm(x: Tensor, w: Tensor, eps: number): Tensor {
  const t = tape();
  const cols = lastOf(w);
  expectWidth('rmsNorm', x, cols);
  const dims = { rows: rowsOf(x), cols };
  const y = t.temporary(x.shape, { requiresGrad: x.requiresGrad || w.requiresGrad });
  const rstd = t.temporary([dims.rows]);
  t.emit('rms_norm', { x, w, y, rstd }, dims, { eps });
  t.node([y], () => {
    // One row makes both; what is not wanted goes to a temporary that nobody reads.
    const dx = x.requiresGrad ? t.grad(x) : { out: t.temporary(x.shape), add: undefined };
    const dw = w.requiresGrad ? t.grad(w) : { out: t.temporary(w.shape), add: undefined };
    const operands = { dy: t.incoming(y), x, w, rstd, add: dx.add, addw: dw.add, dx: dx.out, dw: dw.out };
    t.emit('rms_norm_backward', operands, dims, {});
  });
  return y;
}

/** RMS norm over headDim of the query and key heads of qkv (..., (H + 2 Hkv) D); wq, wk (D). The Qwen3 layout. */
export function qkNorm(x: Tensor, wq: Tensor, wk: Tensor, heads: HeadShape, eps: number): Tensor {
  const t = tape();
  expectWidth('qkNorm', x, (heads.heads + 2 * heads.kvHeads) * heads.headDim);
  const dims = { rows: rowsOf(x), ...heads };
  const y = t.temporary(x.shape, { requiresGrad: x.requiresGrad || wq.requiresGrad });
  const rstd = t.temporary([dims.rows, heads.heads + heads.kvHeads]);
  t.emit('qk_norm', { x, wq, wk, y, rstd }, dims, { eps });
  t.node([y], () => {
    const dwq = wq.requiresGrad ? t.grad(wq) : { out: t.temporary(wq.shape), add: undefined };
    const dwk = wk.requiresGrad ? t.grad(wk) : { out: t.temporary(wk.shape), add: undefined };
    t.gradVia(x, (dx) => {
      const operands = {
        dy: t.incoming(y),
        x,
        wq,
        wk,
        rstd,
        addwq: dwq.add,
        addwk: dwk.add,
        dx,
        dwq: dwq.out,
        dwk: dwk.out,
      };
      t.emit('qk_norm_backward', operands, dims, {});
    });
  });
  return y;
}
