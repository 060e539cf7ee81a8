// The output layer and its loss, in chunks of rows, so that (N, V) logits never exist at once. The loss ends every training
// Program and the gradient that reaches it is known (a scale), so each chunk leaves its gradients behind as it passes.
import { expectWidth, tape } from '../autograd/tape.js';
import type { Backend } from '../backend/backend.js';
import { rowsOf, sliceRows, type Tensor } from '../tensor/tensor.js';
import { emitGemm } from './matmul.js';
import { softCap } from './soft_cap.js';
import type { Taught } from './teacher.js';

/**
 * Rows a chunk, a multiple of 16 because rows must start at 64-byte places. 4 MiB of logits stay in the last-level cache
 * between the kernels of a chunk; but every chunk adds to the whole gradient of w, and fewer than 256 rows do not repay
 * reading and writing it, so a large vocabulary takes up to 32 MiB. No cache of a GPU holds a chunk that fills it: there
 * the gradient of w is what counts, and chunks take up to 512 MiB, in whole tiles of 128 rows.
 */
export function chunkRows(rows: number, vocab: number, device: Backend['name']): number {
  const fitting = (bytes: number) => Math.floor(bytes / (4 * vocab) / 16) * 16;
  if (device === 'cuda') return Math.min(rows, Math.max(16, Math.floor(fitting(512 << 20) / 128) * 128));
  return Math.min(rows, Math.max(16, fitting(4 << 20), Math.min(256, fitting(32 << 20))));
}

export interface LossOptions {
  /** Adds the divergence from a teacher (PAPER, SLM-d); only with a scale. */
  readonly taught?: Taught | undefined;
  /** Soft cap of the logits (softCap). Default 0: none. */
  readonly cap?: number;
}

/**
 * Per-row loss -log softmax(x w^T)[target], (N); 0 where the target is negative.
 * With `scale` (one value on the device, usually 1 / number of targets), the gradients of x and w for the loss
 * scale * sum(loss) are written too, and `backward` must then be called with no other seed for x.
 * Shapes: x (..., C), w (V, C), targets i32 (...).
 */
export function linearCrossEntropy(
  x: Tensor,
  w: Tensor,
  targets: Tensor,
  scale?: Tensor,
  { taught, cap = 0 }: LossOptions = {},
): Tensor {
  const t = tape();
  const [vocab, cols] = [w.shape[0]!, w.shape[1]!];
  expectWidth('linearCrossEntropy', x, cols);
  const rows = rowsOf(x);
  const flat = { ...x, shape: [rows, cols] };
  const ids = { ...targets, shape: [rows] };
  const loss = t.temporary([rows], { name: 'loss' });
  const dx = scale !== undefined && x.requiresGrad ? t.grad(flat).out : undefined;
  const chunk = chunkRows(rows, vocab, t.device);
  for (let begin = 0; begin < rows; begin += chunk) {
    const count = Math.min(chunk, rows - begin);
    const part = sliceRows(flat, begin, count);
    const product = t.temporary([count, vocab], { name: 'logits' });
    emitGemm({ a: part, b: w, c: product }, { m: count, n: vocab, k: cols, transB: true });
    const logits = softCap(product, cap);
    const row = { logits, targets: sliceRows(ids, begin, count), loss: sliceRows(loss, begin, count) };
    if (scale === undefined) {
      t.emit('cross_entropy', row, { rows: count, vocab }, {});
      continue;
    }
    const dlogits = t.temporary([count, vocab], { name: 'dlogits' });
    if (taught === undefined) t.emit('cross_entropy', { ...row, scale, dlogits }, { rows: count, vocab }, {});
    else {
      const { ids, p, weight, temperature } = taught;
      const words = { ids: sliceRows(ids, begin, count), p: sliceRows(p, begin, count) };
      const dims = { rows: count, vocab, k: ids.shape[1]! };
      t.emit('distill_cross_entropy', { ...row, ...words, scale, dlogits }, dims, { weight, temperature });
    }
    // In place of the gradient of what was capped.
    const dproduct = cap === 0 ? dlogits : t.temporary([count, vocab], { name: 'dlogits' });
    if (cap !== 0) t.emit('soft_cap_backward', { dy: dlogits, y: logits, dx: dproduct }, { n: count * vocab }, { cap });
    if (dx !== undefined)
      emitGemm({ a: dproduct, b: w, c: sliceRows(dx, begin, count) }, { m: count, n: cols, k: vocab });
    if (w.requiresGrad) {
      const dw = t.grad(w);
      emitGemm({ a: dproduct, b: part, add: dw.add, c: dw.out }, { m: vocab, n: cols, k: count, transA: true });
    }
  }
  return loss;
}
