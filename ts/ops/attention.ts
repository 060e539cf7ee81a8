// Rotary position embedding and causal attention over fused rows: (H q heads, Hkv k heads, Hkv v heads) of D values.
import { expectWidth, tape } from '../autograd/tape.js';
import { rowsOf, type Tensor } from '../tensor/tensor.js';
import { precision } from './matmul.js';

export interface HeadShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Rotates query and key heads of qkv by their position (RoFormer, in the half-split order of Llama); positions i32, one a row. */
export function rope(x: Tensor, positions: Tensor, heads: HeadShape, theta: number): Tensor {
  const t = tape();
  expectWidth('rope', x, (heads.heads + 2 * heads.kvHeads) * heads.headDim);
  const rows = rowsOf(x);
  const y = t.temporary(x.shape, { requiresGrad: x.requiresGrad });
  t.emit('rope', { x, positions, y }, { rows, ...heads, inverse: 0 }, { theta });
  t.node([y], () => {
    t.gradVia(x, (dx) =>
      t.emit('rope', { x: t.incoming(y), positions, y: dx }, { rows, ...heads, inverse: 1 }, { theta }),
    );
  });
  return y;
}

/** qkv (B, T, (H + 2 Hkv) D) -> (B, T, H D); softmax scale 1 / sqrt(D). */
export function attention(qkv: Tensor, heads: HeadShape): Tensor {
  const t = tape();
  expectWidth('attention', qkv, (heads.heads + 2 * heads.kvHeads) * heads.headDim);
  const [batch, time] = [qkv.shape[0]!, qkv.shape[1]!];
  const dims = { batch, time, ...heads, precision: precision() };
  const scale = 1 / Math.sqrt(heads.headDim);
  const y = t.temporary([batch, time, heads.heads * heads.headDim], { requiresGrad: qkv.requiresGrad });
  const lse = t.temporary([batch, heads.heads, time]);
  t.emit('attention', { qkv, y, lse }, dims, { scale });
  t.node([y], () => {
    t.gradVia(qkv, (dqkv) => t.emit('attention_backward', { dy: t.incoming(y), qkv, y, lse, dqkv }, dims, { scale }));
  });
  return y;
}

/** New tokens qkv (N, ...) against caches keys, values (capacity, Hkv D), which they join at position[0]. No gradient. */
export function attentionDecode(qkv: Tensor, position: Tensor, keys: Tensor, values: Tensor, heads: HeadShape): Tensor {
  const t = tape();
  const rows = rowsOf(qkv);
  const y = t.temporary([rows, heads.heads * heads.headDim]);
  const dims = { rows, capacity: keys.shape[0]!, ...heads };
  t.emit('attention_decode', { qkv, position, keys, values, y }, dims, { scale: 1 / Math.sqrt(heads.headDim) });
  return y;
}
