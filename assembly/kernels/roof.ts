// What this machine can do at best, for tables that compare kernels with it. The only kernels whose tasks follow the number of
// threads: they measure the threads.
import { locals, scratch, threads } from '../control';
import { RoofBf16Row, RoofFmaRow, RoofReadRow } from '../ops.gen';
import { parallel } from '../pool';
import { ceilDiv } from '../rows';
import { fma, set, sum, zero } from '../vec';

/** Independent chains hide the latency of a multiply and an add; more than 12 do not fit in the registers. */
const CHAINS: u32 = 12;
/** Over all chains in one iteration. */
const PASSES: u32 = 8;
/** Numbers that a task of roof_read sums: long enough for the prefetchers to run at full speed. */
const READ_BLOCK: usize = 1 << 18;

export function roof_fma(row: RoofFmaRow): void {
  // A factor that the compiler cannot know.
  store<f32>(locals(), 0.5);
  parallel(threads(), fmaTask, changetype<usize>(row));
  store<f32>(row.y, <f32>(<f64>(2 * 4 * PASSES * CHAINS) * row.iterations * threads() / 1e9));
}

function fmaTask(at: usize, task: u32): void {
  const f = v128.load32_splat(locals());
  let a = set(0), b = set(1), c = set(2), d = set(3), e = set(4), g = set(5);
  let h = set(6), i = set(7), j = set(8), k = set(9), l = set(10), m = set(11);
  for (let n = <u64>changetype<RoofFmaRow>(at).iterations * PASSES; n > 0; n--) {
    a = fma(a, f, f);
    b = fma(b, f, f);
    c = fma(c, f, f);
    d = fma(d, f, f);
    e = fma(e, f, f);
    g = fma(g, f, f);
    h = fma(h, f, f);
    i = fma(i, f, f);
    j = fma(j, f, f);
    k = fma(k, f, f);
    l = fma(l, f, f);
    m = fma(m, f, f);
  }
  a = f32x4.add(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)), f32x4.add(e, g));
  h = f32x4.add(f32x4.add(f32x4.add(h, i), f32x4.add(j, k)), f32x4.add(l, m));
  // Keeps the work alive.
  store<f32>(locals() + 64 + ((task & 15) << 6), sum(f32x4.add(a, h)));
}

/** There is no instruction for products of bf16. */
export function roof_bf16(row: RoofBf16Row): void {
  store<f32>(row.y, 0);
}

@unmanaged
class Read {
  x: usize;
  n: usize;
  partial: usize;
}

export function roof_read(row: RoofReadRow): void {
  const blocks = ceilDiv(row.n, READ_BLOCK), job = changetype<Read>(locals());
  job.x = row.x;
  job.n = row.n;
  job.partial = scratch((<usize>blocks + 1) * 4);
  if (job.partial == 0) return;
  parallel(blocks, readTask, changetype<usize>(job));
  let total: f32 = 0;
  for (let i: usize = 0; i < blocks; i++) total += load<f32>(job.partial + (i << 2));
  store<f32>(row.y, total);
}

function readTask(at: usize, task: u32): void {
  const job = changetype<Read>(at), from = task * READ_BLOCK, n = min<usize>(READ_BLOCK, job.n - from);
  let x = job.x + (from << 2);
  const whole = x + (n >> 4 << 6), end = x + (n << 2);
  let a = zero(), b = zero(), c = zero(), d = zero();
  for (; x < whole; x += 64) {
    a = f32x4.add(a, v128.load(x));
    b = f32x4.add(b, v128.load(x, 16));
    c = f32x4.add(c, v128.load(x, 32));
    d = f32x4.add(d, v128.load(x, 48));
  }
  let total = sum(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  for (; x < end; x += 4) total += load<f32>(x);
  store<f32>(job.partial + (<usize>task << 2), total);
}
