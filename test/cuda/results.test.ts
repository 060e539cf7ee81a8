// What products make for some ops alone is kept in bf16 on a GPU (results, native/cuda/copies.h). Those ops then see numbers rounded to
// bf16, and nothing else changes: products and an op that reads them as one Program, against the same rows as Programs of their own with
// rows between them that round.
import test from 'ava';
import { type Backend, openBackend } from '../../ts/backend/index.js';
import { encodeRow } from '../../ts/backend/rows.js';
import type { Case } from '../conformance/case.js';
import { gemmDims } from '../conformance/cases/gemm.js';
import { drawInputs } from '../conformance/generators.js';
import { type Layout, layOut, type Span } from '../conformance/layout.js';
import { inPlaceChoices } from '../conformance/runner.js';
import { after, available, bytesOf, numbers, type Rows, round, same, someCases } from './programs.js';

/** The operands that an op takes in bf16: either() of native/cuda/copies.cu. */
const EITHER = {
  attention_backward: ['dy', 'y'],
  bank_adamw: ['dw'],
  bank_mix_backward: ['dw'],
  bank_sum_squares: ['dw'],
  cross_entropy: ['logits'],
  qk_norm: ['x'],
  qk_norm_backward: ['dy', 'x'],
  rms_norm_backward: ['dy'],
  rope: ['x'],
  swiglu: ['x'],
  swiglu_backward: ['dy', 'x'],
} as const;

/** Terms of a product, and its most columns. */
const [DEPTH, COLUMNS] = [5, 64];

/** Without CUDA all are skipped, by name. */
const on = { serial: available ? test.serial : test.serial.skip };
let backend: Backend;

test.before(() => {
  if (available) backend = openBackend({ backend: 'cuda', matmul: 'fp32' });
});
test.after.always(async () => {
  if (available) await backend.close();
});

interface Place {
  readonly buffer: number;
  readonly offset: number;
}

/** Hands out places in a buffer, in bytes. */
class Room {
  bytes = 0;
  take(floats: number): number {
    const at = this.bytes;
    this.bytes += round(floats);
    return at;
  }
}

/** x through bf16, by way of `half`. */
const rounding = (x: Place, half: Place, n: number): Uint32Array[] => [
  encodeRow('cast', { x, y: half }, { n, from: 0, to: 1 }, {}),
  encodeRow('cast', { x: half, y: x }, { n, from: 1, to: 0 }, {}),
];

interface Test {
  readonly arena: Uint8Array;
  readonly rest: Uint8Array;
  readonly rows: (rounded: boolean) => Rows;
  /** Where the results are in `rest`: from here on. */
  readonly first: number;
}

/** The arena after one Program; whether its results are those of the rows one by one. */
async function agree({ arena, rest, rows, first }: Test): Promise<{ equal: boolean; image: Uint8Array }> {
  const [, want] = await after(backend, { arena, rest, rows: rows(true) });
  const [image, found] = await after(backend, { arena, rest, rows: rows(false), kept: [] });
  return { equal: same(want.subarray(first), found.subarray(first)), image };
}

/** The row of a layout behind products that make the inputs `made`, and rows that take its outputs out of the arena. */
function behindProducts(layout: Layout, made: readonly Span[]): Test {
  const room = new Room();
  const products = made.map(({ offset, count }) => {
    let n = Math.min(count, COLUMNS);
    while (count % n !== 0) n--;
    const [a, b] = [room.take((count / n) * DEPTH), room.take(n * DEPTH)];
    return { offset, count, n, a, b, half: room.take(count) };
  });
  const first = room.bytes;
  const outputs = layout.spans
    .filter(({ role }) => role !== 'in')
    .map(({ offset, bytes }) => ({ offset, n: bytes / 4, to: room.take(bytes / 4) }));
  const rows = (rounded: boolean) => (arena: number, rest: number) => [
    ...products.flatMap(({ offset, count, n, ...places }) => {
      const c = { buffer: arena, offset };
      const [a, b, half] = [places.a, places.b, places.half].map((offset) => ({ buffer: rest, offset }));
      return [
        encodeRow('gemm', { a: a!, b: b!, c }, gemmDims(count / n, n, DEPTH, { precision: 1 }), { alpha: 1 }),
        ...(rounded ? rounding(c, half!, count) : []),
      ];
    }),
    layout.words(arena),
    ...outputs.map(({ offset, n, to }) => {
      const places = { x: { buffer: arena, offset }, y: { buffer: rest, offset: to } };
      return encodeRow('cast', places, { n, from: 0, to: 0 }, {});
    }),
  ];
  return { arena: layout.image, rest: numbers(room.bytes / 4, 'results'), rows, first };
}

/** What differs, if anything. `sharing`: the output that takes an input's memory. */
async function compare(item: Case, inputs: readonly string[], sharing: Record<string, string>) {
  const layout = layOut(item, drawInputs(item), sharing);
  const made = layout.spans.filter(({ name, count }) => inputs.includes(name) && count > 0);
  if (made.length === 0) return undefined;
  const { equal, image } = await agree(behindProducts(layout, made));
  if (!equal) return 'another result';
  const upper = (all: Uint8Array, span: Span) => bytesOf(all, span).subarray(span.bytes / 2);
  const wrote = made.find(
    (span) => !Object.values(sharing).includes(span.name) && !same(upper(image, span), upper(layout.image, span)),
  );
  return wrote === undefined ? undefined : `${wrote.name} was written in float32`;
}

for (const [op, inputs] of Object.entries(EITHER) as [keyof typeof EITHER, readonly string[]][]) {
  on.serial(`${op} reads ${inputs.join(' and ')} in bf16`, async (t) => {
    const failures: string[] = [];
    for (const item of someCases(op)) {
      // Only what it multiplies in bf16 itself does attention round otherwise.
      if (op === 'attention_backward' && item.dims.precision !== 1) continue;
      const shared = inPlaceChoices(item).filter(([, host]) => inputs.includes(host));
      for (const sharing of [{}, ...shared.map(([output, host]) => ({ [output]: host }))]) {
        const message = await compare(item, inputs, sharing).catch((error: Error) => error.message);
        if (message !== undefined) failures.push(`${item.name} ${JSON.stringify(sharing)}: ${message}`);
      }
    }
    t.deepEqual(failures, []);
  });
}

/** A step of a bank: everything that reads the gradient of its generated weights. Inputs in rest, in the order of rows. */
function bankStep(groups: number, count: number, dtype: number): Test {
  const [rows, m, n, slices] = [40, 16, 48, 5];
  const size = m * n;
  const room = new Room();
  const [a, b, offsets, present, c, hyper, clip, half] = [
    ...[rows * m, rows * n, groups + 1, 1, groups * slices, 8, 1, groups * size],
  ].map((floats) => room.take(floats)) as [number, number, number, number, number, number, number, number];
  const first = room.bytes;
  const [t, moment, square, dc, ds, y] = [
    ...[slices * size, slices * size, slices * size, groups * slices, size, 1],
  ].map((floats) => room.take(floats)) as [number, number, number, number, number, number];
  const rest = numbers(room.bytes / 4, 'bank');
  const floats = new Float32Array(rest.buffer);
  const integers = new Int32Array(rest.buffer);
  // The last group that is there has the most rows, the one before it none.
  for (let g = 0; g <= groups; g++) integers[offsets / 4 + g] = g >= count ? rows : Math.min(g, count - 2);
  integers[present / 4] = count;
  floats.set([0.01, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 2], hyper / 4);
  for (let i = 0; i < slices * size; i++) floats[square / 4 + i]! **= 2;
  const made = (rounded: boolean) => (arena: number, other: number) => {
    const at = (offset: number) => ({ buffer: other, offset });
    const dw = { buffer: arena, offset: 0 };
    const dims = { groups, slices, size };
    const shared = { dw, count: at(present) };
    return [
      encodeRow(
        'grouped_gemm_dw',
        { a: at(a), b: at(b), offsets: at(offsets), ...shared },
        { groups, rows, m, n, precision: 1 },
        {},
      ),
      ...(rounded ? rounding(dw, at(half), groups * size) : []),
      encodeRow('bank_mix_backward', { ...shared, t: at(t), dc: at(dc), ds: at(ds) }, { ...dims, dtype }, {}),
      encodeRow('bank_sum_squares', { ...shared, c: at(c), y: at(y) }, dims, {}),
      encodeRow(
        'bank_adamw',
        { ...shared, c: at(c), hyper: at(hyper), clip: at(clip), t: at(t), m: at(moment), v: at(square) },
        { ...dims, dtype, seed: 7 },
        { lrScale: 1, decayScale: 1 },
      ),
    ];
  };
  return { arena: numbers(groups * size, 'dw'), rest, rows: made, first };
}

for (const [groups, count] of [
  [4, 3],
  [40, 36],
] as const) {
  on.serial(`a step of a bank with ${count} of ${groups} groups`, async (t) => {
    for (const dtype of [0, 1]) {
      const step = bankStep(groups, count, dtype);
      const { equal, image } = await agree(step);
      t.true(equal, `dtype ${dtype}`);
      const upper = step.arena.length / 2;
      t.true(same(image.subarray(upper), step.arena.subarray(upper)), 'dw was written in float32');
    }
  });
}
