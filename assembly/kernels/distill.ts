// Distillation loss with its gradient. The exponentials at the teacher's temperature are kept in dlogits; the teacher's tokens are
// taken out of it while the rest is summed, because one minus their sum would lose all digits of a small rest. Cut like cross entropy.
import { fail } from '../control';
import { DistillCrossEntropyRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, rowExp, rowMax } from '../rows';
import { runSum } from '../sums';
import { exp, fma, loadFirst, set, storeFirst } from '../vec';
import { lossRows, visitRow } from './cross_entropy';

export function distill_cross_entropy(row: DistillCrossEntropyRow): void {
  parallel(ceilDiv(row.rows, lossRows(row.vocab)), distillTask, changetype<usize>(row));
}

function distillTask(at: usize, task: u32): void {
  const row = changetype<DistillCrossEntropyRow>(at);
  const vocab: usize = row.vocab, k: usize = row.k, block = lossRows(vocab);
  const begin = <usize>task * block, end = min<usize>(begin + block, row.rows);
  for (let r = begin; r < end; r++) {
    const target = load<i32>(row.targets + (r << 2)), loss = row.loss + (r << 2);
    const x = row.logits + (r * vocab << 2), dx = row.dlogits + (r * vocab << 2);
    const ids = row.ids + (r * k << 2), p = row.p + (r * k << 2);
    if (target < 0) {
      store<f32>(loss, 0);
      memory.fill(dx, 0, vocab << 2);
    } else if (<usize>target >= vocab) {
      fail('target {} in row {} is outside the vocabulary of {}', <f64>target, <f64>r, <f64>vocab);
    } else if (k == 0 || load<i32>(ids) < 0) {
      // The first term alone.
      const share: f32 = 1.0 - row.weight;
      store<f32>(loss, share * visitRow(x, vocab, <usize>target << 2, share * load<f32>(row.scale), dx));
    } else if (idsOfTeacher(ids, k, r, vocab)) {
      store<f32>(loss, withTeacher(row, x, <usize>target << 2, ids, p, dx));
    }
  }
}

function idsOfTeacher(ids: usize, k: usize, r: usize, vocab: usize): bool {
  for (let j: usize = 0; j < k; j++) {
    const id = load<i32>(ids + (j << 2));
    if (id >= 0 && <usize>id < vocab) continue;
    fail('token {} of the teacher in row {} is outside the vocabulary of {}', <f64>id, <f64>r, <f64>vocab);
    return false;
  }
  return true;
}

/** y = exp((x - shift) factor) */
function exponentials(x: usize, y: usize, n: usize, shift: f32, factor: f32): void {
  const s = set(shift), f = set(factor);
  let i: usize = 0;
  for (; i + 4 <= n; i += 4) v128.store(y + (i << 2), exp(f32x4.mul(f32x4.sub(v128.load(x + (i << 2)), s), f)));
  if (i < n) storeFirst(y + (i << 2), exp(f32x4.mul(f32x4.sub(loadFirst(x + (i << 2), n - i), s), f)), n - i);
}

function withTeacher(row: DistillCrossEntropyRow, x: usize, target: usize, ids: usize, p: usize, dx: usize): f32 {
  const vocab: usize = row.vocab, k: usize = row.k << 2, scale = load<f32>(row.scale);
  const most = rowMax(x, vocab), inverse: f32 = 1.0 / row.temperature, share: f32 = 1.0 - row.weight;
  const hard = rowExp(x, 0, vocab, most);
  exponentials(x, dx, vocab, most, inverse);
  let known: f64 = 0, mass: f64 = 0;
  for (let j: usize = 0; j < k; j += 4) {
    const place = dx + (load<u32>(ids + j) << 2);
    known += load<f32>(place);
    mass += load<f32>(p + j);
    store<f32>(place, 0);
  }
  const rest: f64 = runSum(dx, vocab), total = known + rest;
  const pt = rest > 0 && mass < 1 ? 1 - mass : 0, all = mass + pt; // 1, but where nothing is left

  let divergence = pt > 0 ? pt * Math.log(pt * total / rest) : 0;
  for (let j: usize = 0; j < k; j += 4) {
    const q = <f64>(load<f32>(x + (load<u32>(ids + j) << 2)) - most) * inverse - Math.log(total), pj: f64 = load<f32>(p + j);
    if (pj > 0) divergence += pj * (Math.log(pj) - q);
  }
  // Tokens of the rest: (1 - weight) softmax + weight temperature q (all - pt / qt), where qt = rest / total.
  const soft = row.weight * row.temperature;
  const ofRest = rest > 0 ? <f32>(soft * scale * (all / total - pt / rest)) : 0;
  gradientOfRest(x, dx, vocab, most, share * scale / hard, ofRest);
  for (let j: usize = 0; j < k; j += 4) {
    const token: usize = load<u32>(ids + j) << 2;
    const q = Math.exp(<f64>(load<f32>(x + token) - most) * inverse) / total;
    store<f32>(dx + token, load<f32>(dx + token) + <f32>(soft * scale * (all * q - load<f32>(p + j))));
  }
  store<f32>(dx + target, load<f32>(dx + target) - share * scale);
  const cross = Math.log(hard) + (most - load<f32>(x + target));
  return <f32>(share * cross + soft * row.temperature * divergence);
}

/** dx = a exp(x - shift) + b dx */
function gradientOfRest(x: usize, dx: usize, n: usize, shift: f32, a: f32, b: f32): void {
  const f = set(a), g = set(b), s = set(shift);
  let i: usize = 0;
  for (; i + 4 <= n; i += 4, x += 16, dx += 16)
    v128.store(dx, fma(f, exp(f32x4.sub(v128.load(x), s)), f32x4.mul(g, v128.load(dx))));
  if (i < n) storeFirst(dx, fma(f, exp(f32x4.sub(loadFirst(x, n - i), s)), f32x4.mul(g, loadFirst(dx, n - i))), n - i);
}
