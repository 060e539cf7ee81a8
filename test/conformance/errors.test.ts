// What a device says when the data in a buffer is wrong: the fence rejects and names the op, the row and the value; rows after
// it do not run; then the device works again. Data, not dims: dims are checked when a Program is compiled.
import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import type { Backend } from '../../ts/backend/index.js';
import { encodeRow } from '../../ts/backend/rows.js';
import { OracleBackend } from '../support/oracle.js';
import { type Case, type CaseEntry, defineCases } from './case.js';
import { gemmDims } from './cases/gemm.js';
import { drawInputs } from './generators.js';
import { layOut } from './layout.js';
import { VARIANTS } from './variants.js';

/** One case whose data is wrong, and what the message must say. */
interface Mistake {
  readonly item: Case;
  readonly says: RegExp;
}

type Numbers = readonly number[];
const given = (values: Numbers) => () => values;

function grouped(label: string, offsets: Numbers, says: RegExp): Mistake[] {
  const inputs = { offsets: given(offsets) };
  const dims = { groups: 3, rows: 9, n: 5, k: 4, transB: 0, precision: 0 };
  const [item] = defineCases({ op: 'grouped_gemm', flops: () => 0, length: () => 1, list: [{ dims, inputs, label }] });
  const gradient = { groups: 3, rows: 9, m: 5, n: 4, precision: 0 };
  const [back] = defineCases({
    op: 'grouped_gemm_dw',
    flops: () => 0,
    length: () => 1,
    list: [{ dims: gradient, inputs, label }],
  });
  return [
    { item: item!, says },
    { item: back!, says },
  ];
}

/** Counts of groups that are no such thing, one that leaves out rows, and slices of no known kind. */
function banks(): Mistake[] {
  const common = { flops: () => 0, length: () => 1, scalars: { lrScale: 1, decayScale: 1 } };
  const sizes = { groups: 3, slices: 2, size: 256 };
  const bank = { ...sizes, dtype: 0 };
  const entry = (count: number) => ({ with: ['count'] as const, inputs: { count: given([count]) }, label: `${count}` });
  const wrong = [-1, 4].flatMap((count) => [
    ...defineCases({ op: 'bank_mix', ...common, list: [{ dims: bank, ...entry(count) }] }),
    ...defineCases({ op: 'bank_mix_backward', ...common, list: [{ dims: bank, ...entry(count) }] }),
    ...defineCases({ op: 'bank_sum_squares', ...common, list: [{ dims: sizes, ...entry(count) }] }),
    ...defineCases({ op: 'bank_adamw', ...common, list: [{ dims: { ...bank, seed: 0 }, ...entry(count) }] }),
  ]);
  const wide = { ...sizes, dtype: 2 };
  const odd = [
    ...defineCases({ op: 'bank_mix', ...common, list: [{ dims: wide }] }),
    ...defineCases({ op: 'bank_mix_backward', ...common, list: [{ dims: wide }] }),
    ...defineCases({ op: 'bank_adamw', ...common, list: [{ dims: { ...wide, seed: 0 } }] }),
  ];
  const dims = { groups: 3, rows: 9, m: 5, n: 4, precision: 0 };
  const inputs = { offsets: given([0, 3, 6, 9]), count: given([2]) };
  const list = [{ dims, with: ['count'] as const, inputs, label: 'rows left out' }];
  return [
    ...wrong.map((item) => ({ item, says: /count of (-1|4) .* 3 groups/ })),
    ...odd.map((item) => ({ item, says: /slices of dtype 2/ })),
    { item: defineCases({ op: 'grouped_gemm_dw', ...common, list })[0]!, says: /count of 2 .* rows/ },
  ];
}

function ids<K extends 'embedding' | 'embedding_backward'>(op: K, bad: number): Mistake {
  const dims = { rows: 4, cols: 5, vocab: 7 } as CaseEntry<K>['dims'];
  const inputs = { ids: given([0, 6, bad, 1]) } as NonNullable<CaseEntry<K>['inputs']>;
  const [item] = defineCases({ op, flops: () => 0, length: () => 1, list: [{ dims, inputs, label: `id ${bad}` }] });
  return { item: item!, says: new RegExp(`${bad}`) };
}

function decode(position: number, rows: number): Mistake {
  const dims = { rows, capacity: 8, heads: 2, kvHeads: 1, headDim: 4 };
  const inputs = { position: given([position]) };
  const [item] = defineCases({
    op: 'attention_decode',
    flops: () => 0,
    length: () => 1,
    scalars: { scale: 1 },
    list: [{ dims, inputs, label: `position ${position}` }],
  });
  return { item: item!, says: new RegExp(`${position}`) };
}

const [entropy] = defineCases({
  op: 'cross_entropy',
  flops: () => 0,
  length: () => 1,
  list: [{ dims: { rows: 3, vocab: 6 }, with: ['dlogits'], inputs: { targets: given([5, 6, -1]) }, label: 'target 6' }],
});
const [bins] = defineCases({
  op: 'bincount',
  flops: () => 0,
  length: () => 1,
  list: [{ dims: { n: 3, vocab: 6 }, inputs: { ids: given([5, -1, 6]) }, label: 'id 6' }],
});
const clips = [NaN, Infinity].map((value) => {
  const list = [{ dims: { n: 3 }, inputs: { squares: given([1, value, 2]) }, label: `${value}` }];
  return {
    item: defineCases({ op: 'clip_scale', flops: () => 0, length: () => 1, scalars: { maxNorm: 1 }, list })[0]!,
    says: /norm/,
  };
});

const sparse = [
  { indptr: [0, 2, 1, 4], indices: [0, 1, 2, 0], says: /row|indptr|offset/ },
  { indptr: [0, 2, 3, 5], indices: [0, 1, 2, 0], says: /row|indptr|offset/ },
  { indptr: [0, 2, 3, 4], indices: [0, 1, 9, 0], says: /column 9/ },
  { indptr: [0, 2, 3, 4], indices: [0, -1, 2, 0], says: /column -1/ },
].map(({ indptr, indices, says }) => {
  const inputs = { indptr: given(indptr), indices: given(indices) };
  const list = [{ dims: { rows: 3, cols: 9, nnz: 4, n: 2 }, inputs, label: `${indptr}, ${indices}` }];
  return { item: defineCases({ op: 'csr_gemm', flops: () => 0, length: () => 1, list })[0]!, says };
});

const routing = [-1, 5].flatMap((bad): Mistake[] => {
  const common = { flops: () => 0, length: () => 1 };
  const [three, two] = [
    { rows: 3, experts: 5, k: 2 },
    { rows: 3, k: 2, cols: 4 },
  ];
  const label = `id ${bad}`;
  const inputs = { ids: given([0, 4, 1, bad, 2, 3]) };
  const list = [
    ...defineCases({ op: 'route_sort', ...common, list: [{ dims: { rows: 3, k: 2, groups: 5 }, inputs, label }] }),
    ...defineCases({
      op: 'topk_softmax_backward',
      ...common,
      list: [{ dims: { ...three, normalize: 1 }, inputs, label }],
    }),
  ];
  const outside = bad < 0 ? bad : 6;
  const positions = { position: given([0, 4, 1, outside, 2, 3]) };
  const moved = [
    ...defineCases({ op: 'combine_rows', ...common, list: [{ dims: two, inputs: positions, label }] }),
    ...defineCases({ op: 'combine_rows_backward', ...common, list: [{ dims: two, inputs: positions, label }] }),
  ];
  return [
    ...list.map((item) => ({ item, says: new RegExp(`expert ${bad}`) })),
    ...moved.map((item) => ({ item, says: new RegExp(`position ${outside}`) })),
  ];
});
const [tooMany] = defineCases({
  op: 'topk_softmax',
  flops: () => 0,
  length: () => 1,
  list: [{ dims: { rows: 2, experts: 3, k: 4, normalize: 1 }, label: 'too many' }],
});
const [withoutLse] = defineCases({
  op: 'topk_softmax_backward',
  flops: () => 0,
  length: () => 1,
  list: [{ dims: { rows: 1, experts: 3, k: 1, normalize: 0 }, inputs: { ids: given([0]) }, label: 'no lse' }],
});

const MISTAKES: readonly Mistake[] = [
  ids('embedding', 7),
  ids('embedding', -1),
  ids('embedding', 2147483647),
  ids('embedding_backward', 7),
  { item: entropy!, says: /6/ },
  { item: bins!, says: /6/ },
  ...grouped('past the end', [0, 4, 8, 12], /offset/),
  ...grouped('falling', [0, 6, 3, 9], /offset/),
  ...grouped('late start', [1, 3, 6, 9], /offset/),
  ...grouped('early end', [0, 3, 6, 8], /offset/),
  ...grouped('negative', [0, -3, 6, 9], /offset/),
  ...banks(),
  decode(8, 1),
  decode(6, 3),
  decode(-1, 1),
  ...clips,
  ...sparse,
  ...routing,
  { item: tooMany!, says: /4 choices of 3/ },
  { item: withoutLse!, says: /lse/ },
];

/** Row 0 writes 1, row 1 is the mistake, row 2 would write 2 over it. */
async function complains(backend: Backend, { item, says }: Mistake): Promise<string | undefined> {
  const layout = layOut(item, drawInputs(item));
  const buffer = backend.alloc(layout.image.length);
  const note = backend.alloc(64);
  const place = { buffer: note, offset: 0 };
  const words = [
    ...encodeRow('fill', { y: place }, { n: 3 }, { value: 1 }),
    ...layout.words(buffer),
    ...encodeRow('fill', { y: place }, { n: 3 }, { value: 2 }),
  ];
  backend.write(buffer, 0, layout.image);
  const program = backend.compile({ words: Uint32Array.from(words) });
  backend.run(program);
  const error = await backend.fence().then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(error instanceof SweetspotError)) return `no SweetspotError but ${error}`;
  if (error.code !== 'SWEETSPOT_PROGRAM') return `the code is ${error.code}`;
  const reason = error.message.split('\n')[0]!;
  if (!says.test(reason)) return `the reason is '${reason}'`;
  if (!error.message.includes(`row 1: ${item.op}`)) return `no row and op in '${error.message}'`;

  await backend.fence();
  const noted = new Float32Array((await backend.read(note, 0, 12)).slice().buffer);
  if (noted.some((value) => value !== 1)) return `row 2 ran after the failed row: ${noted}`;
  backend.release(program);
  backend.free(buffer);
  backend.free(note);
  return undefined;
}

/** A product that must come out right after all the failures. */
async function worksAgain(backend: Backend): Promise<number> {
  const buffer = backend.alloc(192);
  const [a, b, c] = [0, 64, 128].map((offset) => ({ buffer, offset }));
  backend.write(buffer, 0, new Uint8Array(Float32Array.of(3).buffer));
  backend.write(buffer, 64, new Uint8Array(Float32Array.of(5).buffer));
  const words = encodeRow('gemm', { a: a!, b: b!, c: c! }, gemmDims(1, 1, 1), { alpha: 1 });
  const program = backend.compile({ words });
  backend.run(program);
  await backend.fence();
  const [value] = new Float32Array((await backend.read(buffer, 128, 4)).slice().buffer);
  backend.release(program);
  backend.free(buffer);
  return value!;
}

const devices = [
  { name: 'oracle', open: (): Backend => new OracleBackend() },
  ...VARIANTS.filter((variant) => variant.available()).map(({ name, open }) => ({ name, open: () => open(2) })),
];

for (const { name, open } of devices) {
  test.serial(`wrong data on ${name}`, async (t) => {
    const backend = open();
    for (const mistake of MISTAKES) {
      const message = await complains(backend, mistake);
      t.is(message, undefined, `${mistake.item.op} ${mistake.item.name}: ${message}`);
      t.is(await worksAgain(backend), 15, `${mistake.item.op} ${mistake.item.name}`);
    }
    t.is(backend.allocated(), 0);
    await backend.close();
  });

  test.serial(`a Program that is released before the fence says what failed on ${name}`, async (t) => {
    const backend = open();
    const { item } = MISTAKES[0]!;
    const layout = layOut(item, drawInputs(item));
    const buffer = backend.alloc(layout.image.length);
    backend.write(buffer, 0, layout.image);
    const program = backend.compile({ words: layout.words(buffer) });
    backend.run(program);
    backend.release(program);
    await t.throwsAsync(backend.fence(), { instanceOf: SweetspotError, message: /id 7/ });
    await backend.close();
  });

  test.serial(`a read behind a failed row rejects on ${name}`, async (t) => {
    const backend = open();
    const { item } = MISTAKES[0]!;
    const layout = layOut(item, drawInputs(item));
    const buffer = backend.alloc(layout.image.length);
    backend.write(buffer, 0, layout.image);
    backend.run(backend.compile({ words: layout.words(buffer) }));
    await t.throwsAsync(backend.read(buffer, 0, 4), { instanceOf: SweetspotError, message: /row 0: embedding/ });
    await t.throwsAsync(backend.fence(), { instanceOf: SweetspotError, message: /row 0: embedding/ });
    await backend.read(buffer, 0, 4);
    await backend.close();
  });
}
