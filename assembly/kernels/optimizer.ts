// Gradient clipping by global norm; AdamW over one flat range that holds many tensors, one pass over g, p, m, v, a task being
// TASK_ELEMENTS of them; and the element by element parts of Muon, a task being a block of NORM_BLOCK numbers of one matrix.
import { AdamwStep } from '../adamw';
import { fail, locals, scratch } from '../control';
import { AdamwRow, ClipScaleRow, MuonMomentumRow, MuonUpdateRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv, rowScale, TASK_ELEMENTS } from '../rows';
import { fma, loadFirst, set, storeFirst, sum, zero } from '../vec';

export function clip_scale(row: ClipScaleRow): void {
  let total: f64 = 0;
  for (let i: usize = 0; i < row.n; i++) total += load<f32>(row.squares + (i << 2));
  const norm = sqrt<f64>(total);
  if (!isFinite(norm)) {
    fail('the gradient norm is {}', norm);
    return;
  }
  store<f32>(row.norm, <f32>norm);
  store<f32>(row.scale, row.maxNorm != 0 && norm > row.maxNorm ? <f32>(row.maxNorm / norm) : 1);
}

export function adamw(row: AdamwRow): void {
  changetype<AdamwStep>(locals()).prepare(row.hyper, row.clip, row.lrScale, row.decayScale);
  parallel(ceilDiv(row.n, TASK_ELEMENTS), adamwTask, changetype<usize>(row));
}

function adamwTask(at: usize, task: u32): void {
  const row = changetype<AdamwRow>(at);
  const adam = changetype<AdamwStep>(locals());
  const from = <usize>task * TASK_ELEMENTS, count = min<usize>(<usize>row.n - from, TASK_ELEMENTS);
  let g = row.g + (from << 2), p = row.p + (from << 2), m = row.m + (from << 2), v = row.v + (from << 2);
  for (const whole = g + (count >> 2 << 4); g < whole; g += 16, p += 16, m += 16, v += 16) {
    v128.store(p, adam.step(v128.load(g), v128.load(p), m, v, 4));
  }
  const left = count & 3;
  if (left > 0) storeFirst(p, adam.step(loadFirst(g, left), loadFirst(p, left), m, v, left), left);
}

/** Numbers of one partial sum of squares. */
const NORM_BLOCK: usize = 4096;

/** Of muon_momentum: a sum of squares a block (batch, blocks). */
@unmanaged
class Norms {
  partial: usize;
  blocks: usize;
}

export function muon_momentum(row: MuonMomentumRow): void {
  const norms = changetype<Norms>(locals());
  norms.blocks = ceilDiv(row.n, NORM_BLOCK);
  const tasks = row.batch * <u32>norms.blocks;
  if (tasks == 0) return;
  norms.partial = scratch(<usize>tasks << 2);
  if (norms.partial == 0) return;
  parallel(tasks, momentumTask, changetype<usize>(row));
  parallel(tasks, normalizeTask, changetype<usize>(row));
}

function momentumTask(at: usize, task: u32): void {
  const row = changetype<MuonMomentumRow>(at);
  const norms = changetype<Norms>(locals());
  const matrix = <usize>task / norms.blocks, from = (<usize>task % norms.blocks) * NORM_BLOCK;
  const count = min<usize>(<usize>row.n - from, NORM_BLOCK);
  const apart = (matrix * row.stride + from) << 2;
  const momentum = set(row.momentum), fresh = set((1 - row.momentum) * load<f32>(row.clip));
  let g = row.g + apart, m = row.m + apart, x = row.x + ((matrix * row.n + from) << 2);
  let squares = zero();
  for (const whole = g + (count >> 2 << 4); g < whole; g += 16, m += 16, x += 16) {
    const gradient = f32x4.mul(fresh, v128.load(g));
    const mean = fma(momentum, v128.load(m), gradient);
    const u = fma(momentum, mean, gradient);
    v128.store(m, mean);
    v128.store(x, u);
    squares = fma(u, u, squares);
  }
  const left = count & 3;
  if (left > 0) {
    const gradient = f32x4.mul(fresh, loadFirst(g, left));
    const mean = fma(momentum, loadFirst(m, left), gradient);
    const u = fma(momentum, mean, gradient);
    storeFirst(m, mean, left);
    storeFirst(x, u, left);
    squares = fma(u, u, squares);
  }
  store<f32>(norms.partial + (<usize>task << 2), sum(squares));
}

/** x = u / (|u| + eps) */
function normalizeTask(at: usize, task: u32): void {
  const row = changetype<MuonMomentumRow>(at);
  const norms = changetype<Norms>(locals());
  const matrix = <usize>task / norms.blocks, from = (<usize>task % norms.blocks) * NORM_BLOCK;
  let total: f64 = 0;
  const partial = norms.partial + ((matrix * norms.blocks) << 2);
  for (let b: usize = 0; b < norms.blocks; b++) total += load<f32>(partial + (b << 2));
  const scale = <f32>(1 / (sqrt<f64>(total) + row.eps));
  rowScale(row.x + ((matrix * row.n + from) << 2), min<usize>(<usize>row.n - from, NORM_BLOCK), scale);
}

export function muon_update(row: MuonUpdateRow): void {
  parallel(row.batch * ceilDiv(row.n, NORM_BLOCK), updateTask, changetype<usize>(row));
}

function updateTask(at: usize, task: u32): void {
  const row = changetype<MuonUpdateRow>(at);
  const blocks: usize = ceilDiv(row.n, NORM_BLOCK);
  const matrix = <usize>task / blocks, from = (<usize>task % blocks) * NORM_BLOCK;
  const count = min<usize>(<usize>row.n - from, NORM_BLOCK);
  const scale = set(row.scale), decay = set(load<f32>(row.hyper, 16));
  const minusLr = set(-(load<f32>(row.hyper) * row.lrScale));
  let x = row.x + ((matrix * row.n + from) << 2), p = row.p + ((matrix * row.stride + from) << 2);
  for (const whole = x + (count >> 2 << 4); x < whole; x += 16, p += 16) {
    const old = v128.load(p);
    v128.store(p, fma(minusLr, fma(decay, old, f32x4.mul(scale, v128.load(x))), old));
  }
  const left = count & 3;
  if (left > 0) {
    const old = loadFirst(p, left);
    storeFirst(p, fma(minusLr, fma(decay, old, f32x4.mul(scale, loadFirst(x, left))), old), left);
  }
}
