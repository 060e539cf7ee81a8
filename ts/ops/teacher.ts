// What a student needs of a teacher: for every row the k most likely tokens and their probabilities at a temperature.
import { expectWidth, tape } from '../autograd/tape.js';
import { rowsOf, sliceRows, type Tensor } from '../tensor/tensor.js';
import { chunkRows } from './cross_entropy.js';
import { emitGemm } from './matmul.js';
import { softCap } from './soft_cap.js';

/** What a student is told about its rows, and how it is to weigh it. */
export interface Taught {
  /** i32 (N, k): tokens; a row whose first one is negative has no teacher. */
  readonly ids: Tensor;
  /** (N, k): their probabilities at `temperature`. What is missing to 1 is a bucket for all other tokens. */
  readonly p: Tensor;
  /** Share of the divergence from the teacher in the loss, 0 to 1; the rest is cross entropy with the text. */
  readonly weight: number;
  readonly temperature: number;
}

/**
 * x (..., C), w (V, C) -> ids i32 (N, k), p (N, k) of softmax(x w^T / temperature), the product soft-capped unless `cap` is 0.
 * In chunks of rows, as the loss.
 */
export function topTokens(x: Tensor, w: Tensor, k: number, temperature: number, cap = 0): { ids: Tensor; p: Tensor } {
  const t = tape();
  const [vocab, cols] = [w.shape[0]!, w.shape[1]!];
  expectWidth('topTokens', x, cols);
  const rows = rowsOf(x);
  const flat = { ...x, shape: [rows, cols] };
  const ids = t.temporary([rows, k], { dtype: 'i32', name: 'ids' });
  const p = t.temporary([rows, k], { name: 'p' });
  const chunk = chunkRows(rows, vocab, t.device);
  for (let begin = 0; begin < rows; begin += chunk) {
    const count = Math.min(chunk, rows - begin);
    const product = t.temporary([count, vocab], { name: 'logits' });
    emitGemm(
      { a: sliceRows(flat, begin, count), b: w, c: product },
      { m: count, n: vocab, k: cols, transB: true },
      1 / temperature,
    );
    // cap tanh(x / cap) / temperature, with what is divided already
    const logits = softCap(product, cap / temperature);
    t.emit(
      'topk_softmax',
      { x: logits, p: sliceRows(p, begin, count), ids: sliceRows(ids, begin, count) },
      { rows: count, experts: vocab, k, normalize: 0 },
      {},
    );
  }
  return { ids, p };
}
