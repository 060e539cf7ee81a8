// Cross entropy with its gradient in one visit of a row: maximum, then exp and sum, then the gradient. With a gradient the
// exponentials are kept in dlogits itself (which may be logits), so exp is computed once and nothing of the size of the logits is
// stored elsewhere. A row of logits is 8-128 KiB, so the second and third sweep run from cache. A task is the rows of about 8192
// logits.
import { fail } from '../control';
import { CrossEntropyRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, rowExp, rowMax, rowScale } from '../rows';

/** Rows of a task. */
export function lossRows(vocab: usize): usize {
  return max<usize>(1, 8192 / max<usize>(vocab, 1));
}

export function cross_entropy(row: CrossEntropyRow): void {
  parallel(ceilDiv(row.rows, lossRows(row.vocab)), crossEntropyTask, changetype<usize>(row));
}

function crossEntropyTask(at: usize, task: u32): void {
  const row = changetype<CrossEntropyRow>(at);
  const vocab: usize = row.vocab, block = lossRows(vocab), scale: f32 = row.scale == 0 ? 1 : load<f32>(row.scale);
  const begin = <usize>task * block, end = min<usize>(begin + block, row.rows);
  for (let r = begin; r < end; r++) {
    const target = load<i32>(row.targets + (r << 2)), place = r * vocab << 2;
    const dx = row.dlogits && row.dlogits + place;
    let loss: f32 = 0;
    if (target < 0) {
      if (dx != 0) memory.fill(dx, 0, vocab << 2);
    } else if (<usize>target < vocab) {
      loss = visitRow(row.logits + place, vocab, <usize>target << 2, scale, dx);
    } else {
      fail('target {} in row {} is outside the vocabulary of {}', <f64>target, <f64>r, <f64>vocab);
      continue;
    }
    store<f32>(row.loss + (r << 2), loss);
  }
}

/** Loss of one row whose target lies `target` bytes behind x; its gradient goes to dx unless that is 0. */
export function visitRow(x: usize, vocab: usize, target: usize, scale: f32, dx: usize): f32 {
  const most = rowMax(x, vocab), chosen = load<f32>(x + target);
  const total = rowExp(x, dx, vocab, most);
  if (dx != 0) {
    const probability = load<f32>(dx + target) / total;
    rowScale(dx, vocab, scale / total);
    store<f32>(dx + target, (probability - 1) * scale);
  }
  return Mathf.log(total) + (most - chosen);
}
