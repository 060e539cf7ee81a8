// Every backward op of the table against central differences of its forward op, in float64 on the oracle alone. With
// loss = sum of outputs times fixed weights, the gradient the backward op returns must be how the loss moves.
import test, { type ExecutionContext } from 'ava';
import { apply } from '../support/oracle/ops.js';
import { gemmDims } from './cases/gemm.js';
import { sequence } from './generators.js';

const STEP = 1e-5;
/** Truncation error is of the order of the step squared, rounding 1e-16 / step. */
const BOUND = 1e-7;

type Inputs = Record<string, Float64Array>;

function random(seed: string, count: number, low = -1, high = 1): Float64Array {
  const next = sequence(seed);
  return Float64Array.from({ length: count }, () => low + (high - low) * next());
}

const inner = (a: ArrayLike<number>, b: Float64Array): number => b.reduce((sum, value, i) => sum + value * a[i]!, 0);

/** `loss` of the inputs; `gradients` by the name of the input they belong to. */
function agree(t: ExecutionContext, inputs: Inputs, loss: (inputs: Inputs) => number, gradients: Inputs): void {
  for (const [name, gradient] of Object.entries(gradients)) {
    const values = inputs[name]!;
    t.is(gradient.length, values.length, name);
    for (let i = 0; i < values.length; i++) {
      const moved = (step: number) => loss({ ...inputs, [name]: values.with(i, values[i]! + step) });
      const slope = (moved(STEP) - moved(-STEP)) / (2 * STEP);
      if (!(Math.abs(slope - gradient[i]!) <= BOUND * (1 + Math.abs(slope))))
        t.fail(`${name}[${i}] is ${gradient[i]}, should be ${slope}`);
    }
  }
  t.pass();
}

test('gemm, by its own transposes', (t) => {
  const [m, n, k] = [3, 4, 5];
  const [a, b, dc] = [random('a', m * k), random('b', k * n), random('dc', m * n)];
  const scalars = { alpha: 0.7 };
  agree(t, { a, b }, (x) => inner(apply('gemm', { a: x['a'], b: x['b'] }, gemmDims(m, n, k), scalars).c, dc), {
    a: apply('gemm', { a: dc, b }, gemmDims(m, k, n, { transB: 1 }), scalars).c,
    b: apply('gemm', { a, b: dc }, gemmDims(k, n, m, { transA: 1 }), scalars).c,
  });
});

for (const transB of [0, 1]) {
  test(`grouped_gemm, transB ${transB}`, (t) => {
    const [groups, rows, n, k] = [3, 7, 4, 5];
    const offsets = [0, 2, 2, 7];
    const [a, b, dc] = [random('a', rows * k), random('b', groups * k * n), random('dc', rows * n)];
    const dims = { groups, rows, n, k, transB, precision: 0 };
    const [left, right] = transB ? [dc, a] : [a, dc];
    agree(t, { a, b }, (x) => inner(apply('grouped_gemm', { a: x['a'], b: x['b'], offsets }, dims, {}).c, dc), {
      a: apply(
        'grouped_gemm',
        { a: dc, b, offsets },
        { groups, rows, n: k, k: n, transB: 1 - transB, precision: 0 },
        {},
      ).c,
      b: apply(
        'grouped_gemm_dw',
        { a: left, b: right, offsets },
        { groups, rows, m: transB ? n : k, n: transB ? k : n, precision: 0 },
        {},
      ).dw,
    });
  });
}

test('embedding', (t) => {
  const dims = { rows: 6, cols: 3, vocab: 4 };
  const ids = [3, 0, 3, 1, 3, 0];
  const [table, dy] = [random('table', 12), random('dy', 18)];
  agree(t, { table }, (x) => inner(apply('embedding', { table: x['table'], ids }, dims, {}).y, dy), {
    table: apply('embedding_backward', { dy, ids }, dims, {}).dtable,
  });
});

test('rms_norm', (t) => {
  const dims = { rows: 3, cols: 5 };
  const [x, w, dy] = [random('x', 15), random('w', 5), random('dy', 15)];
  const { rstd } = apply('rms_norm', { x, w }, dims, { eps: 0.01 });
  const back = apply('rms_norm_backward', { dy, x, w, rstd }, dims, {});
  agree(t, { x, w }, (v) => inner(apply('rms_norm', { x: v['x'], w: v['w'] }, dims, { eps: 0.01 }).y, dy), {
    x: back.dx,
    w: back.dw,
  });
  const more = apply('rms_norm_backward', { dy, x, w, rstd, add: x, addw: w }, dims, {});
  t.deepEqual(
    more.dx,
    back.dx.map((value, i) => value + x[i]!),
  );
  t.true(more.dw.every((value, i) => Math.abs(value - back.dw[i]! - w[i]!) < 1e-12));
});

test('qk_norm', (t) => {
  const dims = { rows: 3, heads: 4, kvHeads: 2, headDim: 3 };
  const [x, wq, wk, dy] = [random('x', 72), random('wq', 3), random('wk', 3), random('dy', 72)];
  const { rstd } = apply('qk_norm', { x, wq, wk }, dims, { eps: 0.01 });
  const back = apply('qk_norm_backward', { dy, x, wq, wk, rstd }, dims, {});
  const loss = (v: Inputs) =>
    inner(apply('qk_norm', { x: v['x'], wq: v['wq'], wk: v['wk'] }, dims, { eps: 0.01 }).y, dy);
  agree(t, { x, wq, wk }, loss, { x: back.dx, wq: back.dwq, wk: back.dwk });
});

test('rope, by turning back', (t) => {
  const dims = { rows: 3, heads: 2, kvHeads: 1, headDim: 4, inverse: 0 };
  const positions = [0, 5, 1000];
  const [x, dy] = [random('x', 48), random('dy', 48)];
  agree(t, { x }, (v) => inner(apply('rope', { x: v['x'], positions }, dims, { theta: 10_000 }).y, dy), {
    x: apply('rope', { x: dy, positions }, { ...dims, inverse: 1 }, { theta: 10_000 }).y,
  });
});

test('attention', (t) => {
  const dims = { batch: 2, time: 5, heads: 4, kvHeads: 2, headDim: 3, precision: 0 };
  const [qkv, dy] = [random('qkv', 240), random('dy', 120)];
  const { y, lse } = apply('attention', { qkv }, dims, { scale: 0.6 });
  agree(t, { qkv }, (v) => inner(apply('attention', { qkv: v['qkv'] }, dims, { scale: 0.6 }).y, dy), {
    qkv: apply('attention_backward', { dy, qkv, y, lse }, dims, { scale: 0.6 }).dqkv,
  });
});

test('attention_decode equals attention, token by token', (t) => {
  const [heads, kvHeads, headDim, time] = [4, 2, 3, 6];
  const qkv = random('qkv', time * 24);
  const whole = apply(
    'attention',
    { qkv },
    { batch: 1, time, heads, kvHeads, headDim, precision: 0 },
    { scale: 0.6 },
  ).y;
  let [keys, values]: Float64Array[] = [new Float64Array(48), new Float64Array(48)];
  for (const [from, to] of [
    [0, 3],
    [3, 4],
    [4, 6],
  ] as const) {
    const dims = { rows: to - from, capacity: 8, heads, kvHeads, headDim };
    const step = apply(
      'attention_decode',
      { qkv: qkv.slice(from * 24, to * 24), position: [from], keys, values },
      dims,
      { scale: 0.6 },
    );
    [keys, values] = [step.keys, step.values];
    t.true(step.y.every((value, i) => Math.abs(value - whole[from * 12 + i]!) < 1e-14));
  }
});

test('swiglu', (t) => {
  const dims = { rows: 3, cols: 4 };
  const [x, dy] = [random('x', 24, -4, 4), random('dy', 12)];
  agree(t, { x }, (v) => inner(apply('swiglu', { x: v['x'] }, dims, {}).y, dy), {
    x: apply('swiglu_backward', { dy, x }, dims, {}).dx,
  });
});

test('soft_cap', (t) => {
  const [dims, scalars] = [{ n: 12 }, { cap: 2.5 }];
  const [x, dy] = [random('x', 12, -4, 4), random('dy', 12)];
  const { y } = apply('soft_cap', { x }, dims, scalars);
  agree(t, { x }, (v) => inner(apply('soft_cap', { x: v['x'] }, dims, scalars).y, dy), {
    x: apply('soft_cap_backward', { dy, y }, dims, scalars).dx,
  });
});

test('softmax', (t) => {
  const dims = { rows: 3, cols: 5 };
  const [x, dy] = [random('x', 15, -2, 2), random('dy', 15)];
  const { y } = apply('softmax', { x }, dims, {});
  agree(t, { x }, (v) => inner(apply('softmax', { x: v['x'] }, dims, {}).y, dy), {
    x: apply('softmax_backward', { dy, y }, dims, {}).dx,
  });
});

for (const normalize of [0, 1]) {
  test(`topk_softmax, normalize ${normalize}`, (t) => {
    const dims = { rows: 3, experts: 6, k: 2, normalize };
    const [x, bias, dp, dlse] = [random('x', 18, -2, 2), random('bias', 6), random('dp', 6), random('dlse', 3)];
    const forward = (v: Inputs) => apply('topk_softmax', { x: v['x'], bias }, dims, {}, ['lse']);
    const { p, ids, lse } = forward({ x });
    const loss = (v: Inputs) => {
      const out = forward(v);
      return inner(out.p, dp) + inner(out.lse, dlse);
    };
    agree(t, { x }, loss, { x: apply('topk_softmax_backward', { dp, dlse, x, p, ids, lse }, dims, {}).dx });
    const plain = apply('topk_softmax_backward', { dp, x, p, ids, lse, add: x }, dims, {}).dx;
    agree(t, { x }, (v) => inner(forward(v).p, dp) + inner(v['x']!, v['x']!) / 2, { x: plain });
  });
}

test('combine_rows, and gathering by source', (t) => {
  const dims = { rows: 4, k: 2, cols: 3 };
  const { source, position } = apply('route_sort', { ids: [2, 0, 0, 1, 2, 1, 0, 2] }, { rows: 4, k: 2, groups: 3 }, {});
  const [x, p, dy] = [random('x', 24), random('p', 8), random('dy', 12)];
  const loss = (v: Inputs) => inner(apply('combine_rows', { x: v['x'], p: v['p'], position }, dims, {}).y, dy);
  const back = apply('combine_rows_backward', { dy, x, p, position }, dims, {});
  agree(t, { x, p }, loss, { x: back.dx, p: back.dp });
  const gather = { rows: 8, cols: 3, vocab: 4 };
  const table = random('table', 12);
  agree(t, { table }, (v) => inner(apply('embedding', { table: v['table'], ids: source }, gather, {}).y, x), {
    table: apply('combine_rows', { x, position }, dims, {}).y,
  });
});

test('cross_entropy', (t) => {
  const dims = { rows: 4, vocab: 5 };
  const targets = [2, -1, 0, 4];
  const logits = random('logits', 20, -2, 2);
  // The gradient is of scale times the sum of losses.
  const loss = (v: Inputs) =>
    0.3 * apply('cross_entropy', { logits: v['logits'], targets }, dims, {}).loss.reduce((a, b) => a + b);
  agree(t, { logits }, loss, {
    logits: apply('cross_entropy', { logits, targets, scale: [0.3] }, dims, {}, ['dlogits']).dlogits,
  });
});

test('router_losses, with the loads as constants', (t) => {
  const dims = { rows: 5, experts: 4 };
  const offsets = [0, 3, 3, 8, 10];
  const scalars = { balance: 0.7, z: 0.3 };
  const x = random('x', 20, -2, 2);
  const losses = (logits: Float64Array) => {
    const { lse } = apply('topk_softmax', { x: logits }, { ...dims, k: 2, normalize: 1 }, {}, ['lse']);
    return apply('router_losses', { x: logits, lse, offsets }, dims, scalars, ['dx']);
  };
  agree(t, { x }, (v) => 0.7 * losses(v['x']!).y[4]! + 0.3 * losses(v['x']!).y[5]!, { x: losses(x).dx });
});

test('bank_mix: coefficients, and slices as the optimizer and the norm see them', (t) => {
  const [groups, slices, size] = [2, 3, 256];
  const sizes = { groups, slices, size };
  const dims = { ...sizes, dtype: 0 };
  const [bank, c, s, dw] = [
    random('t', slices * size),
    random('c', groups * slices),
    random('s', size),
    random('dw', groups * size),
  ];
  const loss = (v: Inputs) => inner(apply('bank_mix', { t: v['t'], c: v['c'], s: v['s'] }, dims, {}).w, dw);
  // One step of plain momentum from zero leaves the gradient in m: beta1 = 0.
  const hyper = [0, 0, 0, 1, 0, 1, 1, 0];
  const zeros = new Float64Array(slices * size);
  const step = apply(
    'bank_adamw',
    { dw, c, hyper, clip: [1], t: bank, m: zeros, v: zeros },
    { ...dims, seed: 0 },
    {
      lrScale: 1,
      decayScale: 1,
    },
  );
  const { dc, ds } = apply('bank_mix_backward', { dw, t: bank }, dims, {}, ['ds']);
  agree(t, { t: bank, c, s }, loss, { t: step.m, c: dc, s: ds });
  const squares = step.m.reduce((sum, value) => sum + value * value, 0);
  t.true(Math.abs(apply('bank_sum_squares', { dw, c }, sizes, {}).y[0]! - squares) < 1e-9 * squares);
});

for (const [weight, temperature, k] of [
  [0.3, 2, 3],
  [1, 1, 2],
  [0.5, 0.7, 7],
] as const) {
  test(`distill_cross_entropy, weight ${weight}, temperature ${temperature}, k ${k}`, (t) => {
    const [dims, scalars] = [
      { rows: 3, vocab: 7, k },
      { weight, temperature },
    ];
    const logits = random('logits', 21, -2, 2);
    const ids = [0, 1, 2].flatMap((r) => Array.from({ length: k }, (_, j) => (r + 2 * j) % 7));
    const rest = { targets: [2, -1, 6], ids, p: random('p', 3 * k, 0, 1 / k), scale: [0.7] };
    const weights = Float64Array.of(0.7, 0.7, 0.7);
    agree(
      t,
      { logits },
      (x) => inner(apply('distill_cross_entropy', { ...rest, logits: x['logits'] }, dims, scalars).loss, weights),
      {
        logits: apply('distill_cross_entropy', { ...rest, logits }, dims, scalars).dlogits,
      },
    );
  });
}
