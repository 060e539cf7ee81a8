// Numbers that a Program only multiplies are kept in bf16 on a GPU (native/cuda/copies.h). That must not change a bit:
// every op that can write them so, together with products of its output as one Program, against the same rows as Programs
// of their own.
import test, { type ExecutionContext } from 'ava';
import { countBytes } from '../../bench/gpu/bytes.js';
import { type Backend, openBackend } from '../../ts/backend/index.js';
import { encodeRow } from '../../ts/backend/rows.js';
import type { Case } from '../conformance/case.js';
import { gemmDims } from '../conformance/cases/gemm.js';
import { drawInputs } from '../conformance/generators.js';
import { type Layout, layOut, type Span } from '../conformance/layout.js';
import { inPlaceChoices } from '../conformance/runner.js';
import { after, available, bytesOf, numbers, type Rows, round, same, someCases } from './programs.js';

/** The operand that an op can write in bf16: direct_output() of native/cuda/copies.cu. gemm, whose c may have gaps, ends as grouped_gemm. */
const OUTPUTS = {
  add: 'y',
  attention: 'y',
  attention_backward: 'dqkv',
  bank_mix: 'w',
  broadcast: 'y',
  combine_rows: 'y',
  combine_rows_backward: 'dx',
  cross_entropy: 'dlogits',
  distill_cross_entropy: 'dlogits',
  embedding: 'y',
  grouped_gemm: 'c',
  grouped_gemm_dw: 'dw',
  mul: 'y',
  muon_momentum: 'x',
  qk_norm: 'y',
  qk_norm_backward: 'dx',
  rms_norm: 'y',
  rms_norm_backward: 'dx',
  rope: 'y',
  soft_cap_backward: 'dx',
  swiglu: 'y',
  swiglu_backward: 'dx',
} as const;

/** Columns of a product. */
const WIDTH = 5;

/** Without CUDA all are skipped, by name. */
const on = { serial: available ? test.serial : test.serial.skip };
let backend: Backend;

test.before(() => {
  if (available) backend = openBackend({ backend: 'cuda', matmul: 'fp32' });
});
test.after.always(async () => {
  if (available) await backend.close();
});

/**
 * The row of a layout, two products with its output `span` (as it is, and transposed), and perhaps a row that reads it.
 * Before them one that makes what lies where the output goes.
 */
function withProducts(layout: Layout, span: Span, read: boolean): { rest: Uint8Array; rows: Rows } {
  let k = Math.min(span.count, 512);
  while (span.count % k !== 0) k--;
  const m = span.count / k;
  const factor = (Math.max(m, k) + 16) * WIDTH;
  const places = [round(factor), round(factor) + round(m * WIDTH)];
  const last = places[1]! + round(k * WIDTH);
  const before = last + round(span.count);
  const rest = new Uint8Array(before + round(span.count));
  rest.set(numbers(factor, 'factor'));
  rest.set(bytesOf(layout.image, span), before);
  const rows: Rows = (arena, other) => {
    const x = { buffer: arena, offset: span.offset };
    const b = { buffer: other, offset: 0 };
    const [c, d, y, image] = [...places, last, before].map((offset) => ({ buffer: other, offset }));
    const precision = 1;
    return [
      encodeRow('cast', { x: image!, y: x }, { n: span.count, from: 0, to: 0 }, {}),
      layout.words(arena),
      encodeRow('gemm', { a: x, b, c: c! }, gemmDims(m, WIDTH, k, { precision }), { alpha: 1 }),
      encodeRow('gemm', { a: x, b, c: d! }, gemmDims(k, WIDTH, m, { precision, transA: 1 }), { alpha: 1 }),
      ...(read ? [encodeRow('add', { a: x, b: x, y: y! }, { n: span.count }, { alpha: 1, beta: 2 })] : []),
    ];
  };
  return { rest, rows };
}

/** What differs, if anything. `host`: the input whose memory the output takes. */
async function compare(item: Case, output: string, host?: string): Promise<string | undefined> {
  const layout = layOut(item, drawInputs(item), host === undefined ? {} : { [output]: host });
  const span = layout.spans.find(({ name }) => name === output);
  if (span === undefined || span.count === 0) return undefined;
  const others = layout.spans.filter(({ role, name }) => role !== 'in' && name !== output);
  const keep = (spans: readonly Span[]) => spans.flatMap(({ offset, bytes }) => [offset, offset + bytes]);
  for (const read of [false, true]) {
    const setting = { arena: layout.image, ...withProducts(layout, span, read) };
    const [image, results] = await after(backend, setting);
    for (const [how, kept] of [
      ['multiplied', others],
      ['kept', [...others, span]],
    ] as const) {
      const [arena, found] = await after(backend, { ...setting, kept: keep(kept) });
      if (!same(results, found)) return `${how}${read ? ' and read' : ''}: another result`;
      const strange = others.find((other) => !same(bytesOf(image, other), bytesOf(arena, other)));
      if (strange !== undefined) return `${how}: ${strange.name} differs`;
      const [want, mine] = [bytesOf(image, span), bytesOf(arena, span)];
      if (how === 'kept' || read) {
        if (!same(want, mine)) return `${how}${read ? ' and read' : ''}: ${output} differs`;
      } else if (host !== undefined) {
        if (!same(mine, bytesOf(layout.image, span))) return `${host} was overwritten`;
      } else if (same(want, mine)) return `${output} was written in float32, though it is only multiplied`;
    }
  }
  return undefined;
}

for (const [op, output] of Object.entries(OUTPUTS)) {
  on.serial(`${op} writes ${output} in bf16`, async (t) => {
    const failures: string[] = [];
    for (const item of someCases(op as keyof typeof OUTPUTS)) {
      // What lies where groups take no part is undefined.
      if (item.present.includes('count')) continue;
      const hosts = inPlaceChoices(item).flatMap(([name, host]) => (name === output ? [host] : []));
      for (const host of [undefined, ...hosts]) {
        const message = await compare(item, output, host).catch((error: Error) => error.message);
        if (message !== undefined) failures.push(`${item.name}${host ? ` on ${host}` : ''}: ${message}`);
      }
    }
    t.deepEqual(failures, []);
  });
}

/** Rows that once went wrong, or could: the same as one Program, run twice, and as Programs of their own. */
async function holds(t: ExecutionContext, floats: number, rows: Rows): Promise<void> {
  const setting = { arena: numbers(floats, 'arena'), rest: numbers(floats, 'rest'), rows, runs: 2 };
  const [, want] = await after(backend, setting);
  const [, found] = await after(backend, { ...setting, kept: [] });
  t.true(same(want, found));
}

/** y = 3 a + b, of n numbers. */
const mixed = (n: number, buffers: readonly [number, number, number], offsets: readonly [number, number, number]) => {
  const [a, b, y] = [0, 1, 2].map((i) => ({ buffer: buffers[i]!, offset: offsets[i]! * 4 }));
  return encodeRow('add', { a: a!, b: b!, y: y! }, { n }, { alpha: 3, beta: 1 });
};
const half = (from: number, at: number, to: number, place: number, b: number, dims = gemmDims(4, 4, 4)) =>
  encodeRow(
    'gemm',
    { a: { buffer: from, offset: at * 4 }, b: { buffer: b, offset: 0 }, c: { buffer: to, offset: place * 4 } },
    { ...dims, precision: 1 },
    { alpha: 1 },
  );

on.serial('a product that leaves gaps does not hide what lies in them', (t) =>
  holds(t, 512, (arena, rest) => [
    mixed(16, [rest, rest, arena], [0, 16, 32]),
    half(arena, 32, rest, 256, rest),
    // Rows 0 to 15 and 80 to 95 of a range that contains the numbers before.
    half(rest, 0, arena, 0, rest, { ...gemmDims(2, 16, 4), ldc: 80 }),
    mixed(16, [arena, rest, rest], [32, 0, 288]),
  ]),
);

on.serial('a factor in the gaps of a product is the older one', (t) =>
  holds(t, 512, (arena, rest) => [
    mixed(96, [rest, rest, arena], [0, 96, 0]),
    half(rest, 0, arena, 0, rest, { ...gemmDims(2, 16, 4), ldc: 80 }),
    half(arena, 32, rest, 256, rest),
  ]),
);

on.serial('factors that begin at one place and differ in length', async (t) => {
  const square = gemmDims(4, 8, 8);
  const rows: Rows = (arena, rest) => [
    mixed(64, [rest, rest, arena], [0, 64, 0]),
    mixed(64, [rest, rest, arena], [0, 64, 128]),
    half(arena, 0, rest, 256, arena, square),
    half(arena, 128, rest, 320, arena, square),
  ];
  await holds(t, 512, rows);
  if (!available) return;
  // The second product has the same factors at two places.
  const setting = { arena: numbers(512, 'arena'), rest: numbers(512, 'rest'), rows, runs: 1 };
  const [, found] = await after(backend, setting);
  t.true(same(found.subarray(1024, 1152), found.subarray(1280, 1408)));
});

on.serial('what a run leaves behind is there for the next', (t) =>
  holds(t, 512, (arena, rest) => [
    mixed(16, [arena, rest, rest], [0, 0, 256]),
    mixed(16, [rest, rest, arena], [256, 32, 0]),
    half(arena, 0, rest, 288, rest),
  ]),
);

on.serial('what is left of numbers that were written over in part', (t) =>
  holds(t, 512, (arena, rest) => [
    mixed(64, [rest, rest, arena], [0, 64, 0]),
    half(arena, 0, rest, 256, rest),
    mixed(16, [rest, rest, arena], [128, 144, 0]),
    mixed(16, [arena, rest, rest], [32, 0, 288]),
  ]),
);

on.serial('numbers of several rows, read at once', (t) =>
  holds(t, 512, (arena, rest) => [
    mixed(64, [rest, rest, arena], [0, 64, 0]),
    half(arena, 0, rest, 256, rest),
    mixed(16, [rest, rest, arena], [128, 144, 16]),
    mixed(48, [arena, rest, rest], [0, 0, 288]),
  ]),
);

on.serial('what is left lies in the gaps of a product', (t) =>
  holds(t, 512, (arena, rest) => [
    mixed(96, [rest, rest, arena], [0, 96, 0]),
    half(arena, 0, rest, 256, rest),
    mixed(16, [rest, rest, arena], [128, 144, 80]),
    half(rest, 0, arena, 0, rest, { ...gemmDims(2, 16, 4), ldc: 48 }),
    mixed(16, [arena, rest, rest], [16, 0, 288]),
  ]),
);

on.serial('what is left when a run ends is there for the next', (t) =>
  holds(t, 512, (arena, rest) => [
    mixed(16, [arena, rest, rest], [32, 0, 256]),
    mixed(64, [rest, rest, arena], [256, 64, 0]),
    half(arena, 0, rest, 320, rest),
    mixed(16, [rest, rest, arena], [128, 144, 0]),
  ]),
);

on.serial('bytes are counted in the form that numbers are moved in', (t) => {
  const [arena, rest] = [1, 2];
  // b is not made here, so it is rounded first: 16 numbers are read and written in half the size.
  const words = Uint32Array.from([...mixed(64, [rest, rest, arena], [0, 64, 0]), ...half(arena, 0, rest, 256, rest)]);
  const moved = (kept: number[]) =>
    countBytes({ words, arena, kept }).rows.map(({ bytes, rounding }) => [bytes, rounding]);
  const product = [(16 + 16) * 2 + 16 * 4, 16 * 6];
  t.deepEqual(moved([]), [[2 * 64 * 4 + 64 * 2, 0], product]);
  t.deepEqual(moved([0, 256]), [[2 * 64 * 4 + 64 * 6, 0], product]);
});
