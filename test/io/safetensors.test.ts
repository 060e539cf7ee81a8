// The format against bytes made by hand, and the reader against every kind of lie a header can tell.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { readSafetensors, type SafetensorsTensor, writeSafetensors } from '../../ts/io/safetensors.js';

const room = fs.mkdtempSync(join(tmpdir(), 'sweetspot-safetensors-'));
test.after.always(() => fs.rmSync(room, { recursive: true, force: true }));

let count = 0;
function freshPath(): string {
  return join(room, `${count++}.safetensors`);
}

function bytesOf(
  values: Float32Array | Int32Array | Uint8Array | BigInt64Array | Float64Array | Uint16Array,
): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** A file with this header, as it is, and this many bytes of data: 0, 1, 2, ... */
function plant(header: string | Uint8Array, dataBytes: number): string {
  const path = freshPath();
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  fs.writeFileSync(path, Buffer.concat([length, text, Uint8Array.from({ length: dataBytes }, (_, i) => i)]));
  return path;
}

function entry(dtype: string, shape: unknown, begin: unknown, end: unknown): string {
  return JSON.stringify({ dtype, shape, data_offsets: [begin, end] });
}

const three: Record<string, SafetensorsTensor> = {
  'b.weight': { dtype: 'F32', shape: [2, 3], data: bytesOf(Float32Array.of(1, -2, 0.5, 3, 4, 5)) },
  a: { dtype: 'U8', shape: [3], data: Uint8Array.of(7, 8, 9) },
  scalar: { dtype: 'I64', shape: [], data: bytesOf(BigInt64Array.of(-1n)) },
};

test('written bytes are those of the format', (t) => {
  const path = freshPath();
  writeSafetensors(path, { x: { dtype: 'F32', shape: [1, 2], data: bytesOf(Float32Array.of(1, -2)) } }, { by: 'ü' });
  const header = '{"__metadata__":{"by":"ü"},"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}';
  const length = Math.ceil(Buffer.byteLength(header) / 8) * 8;
  const padding = ' '.repeat(length - Buffer.byteLength(header));
  const expected = Buffer.concat([
    Buffer.of(length, 0, 0, 0, 0, 0, 0, 0),
    Buffer.from(header + padding),
    Buffer.of(0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x00, 0xc0),
  ]);
  t.is(fs.readFileSync(path).toString('hex'), expected.toString('hex'));
});

test('bytes made by hand are read', (t) => {
  const header =
    '{"w":{"data_offsets":[2,10],"dtype":"F32","shape":[2]}, "\\u0062":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},' +
    '"none":{"dtype":"F64","shape":[0,5],"data_offsets":[2,2]},"__metadata__":{"format":"pt"}}  \n';
  const { metadata, tensors } = readSafetensors(plant(header, 10));
  t.deepEqual(metadata, { format: 'pt' });
  t.deepEqual([...tensors.keys()], ['b', 'none', 'w']);
  t.deepEqual(tensors.get('w'), { dtype: 'F32', shape: [2], data: Uint8Array.of(2, 3, 4, 5, 6, 7, 8, 9) });
  t.deepEqual(tensors.get('b'), { dtype: 'BF16', shape: [1], data: Uint8Array.of(0, 1) });
  t.deepEqual(tensors.get('none'), { dtype: 'F64', shape: [0, 5], data: new Uint8Array(0) });
  t.deepEqual(readSafetensors(plant('{}', 0)), { metadata: {}, tensors: new Map() });
});

test('what is written is read, each tensor in an aligned buffer of its own', (t) => {
  const path = freshPath();
  writeSafetensors(path, three, { note: 'x' });
  const { metadata, tensors } = readSafetensors(path);
  t.deepEqual(metadata, { note: 'x' });
  t.deepEqual([...tensors.keys()], ['scalar', 'b.weight', 'a']);
  for (const [name, tensor] of Object.entries(three)) t.deepEqual(tensors.get(name), tensor);
  for (const { data } of tensors.values()) {
    t.is(data.byteOffset, 0);
    t.is(data.buffer.byteLength, data.byteLength);
  }
});

test('tensors start at multiples of their element size, whatever the names', (t) => {
  const path = freshPath();
  const odd: Record<string, SafetensorsTensor> = {
    a: { dtype: 'BOOL', shape: [5], data: new Uint8Array(5) },
    b: { dtype: 'F16', shape: [3], data: new Uint8Array(6) },
    c: { dtype: 'F64', shape: [1], data: new Uint8Array(8) },
    d: { dtype: 'I32', shape: [1], data: new Uint8Array(4) },
  };
  writeSafetensors(path, odd);
  const file = fs.readFileSync(path);
  const length = Number(file.readBigUInt64LE());
  t.is(length % 8, 0);
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Record<string, { data_offsets: [number, number] }>;
  t.deepEqual(Object.keys(header), ['c', 'd', 'b', 'a']);
  t.deepEqual(
    Object.values(header).map((e) => e.data_offsets[0]),
    [0, 8, 12, 18],
  );
});

test('equal tensors give equal bytes, in whatever order they come', (t) => {
  const [one, two] = [freshPath(), freshPath()];
  writeSafetensors(one, three);
  writeSafetensors(two, Object.fromEntries(Object.entries(three).reverse()));
  t.true(fs.readFileSync(one).equals(fs.readFileSync(two)));
});

test('names that objects treat specially survive', (t) => {
  const path = freshPath();
  const one: SafetensorsTensor = { dtype: 'U8', shape: [1], data: Uint8Array.of(1) };
  const names = ['10', '9', '', 'a"b\\', '__proto__', 'constructor', 'ä\n😀'];
  writeSafetensors(
    path,
    Object.fromEntries(names.map((name) => [name, one])),
    Object.fromEntries([['__proto__', 'm']]),
  );
  const { metadata, tensors } = readSafetensors(path);
  t.deepEqual([...tensors.keys()].sort(), [...names].sort());
  t.deepEqual(Object.entries(metadata), [['__proto__', 'm']]);
});

test('the checksum covers the data, and a stale one is not carried on', (t) => {
  const path = freshPath();
  writeSafetensors(path, three, { note: 'x' }, { checksum: true });
  const { metadata, tensors } = readSafetensors(path);
  const data = Buffer.concat([...tensors.values()].map((tensor) => tensor.data));
  t.deepEqual(metadata, { note: 'x', sha256: createHash('sha256').update(data).digest('hex') });

  const file = fs.readFileSync(path);
  for (let i = file.length - data.length; i < file.length; i++) {
    const damaged = Buffer.from(file);
    damaged[i]! ^= 0x10;
    fs.writeFileSync(path, damaged);
    t.is(t.throws(() => readSafetensors(path), { instanceOf: SweetspotError })?.code, 'SWEETSPOT_CORRUPT');
  }

  writeSafetensors(path, { a: three['a']! }, metadata);
  t.deepEqual(readSafetensors(path).metadata, { note: 'x' });
});

const wrongHeaders: [why: string, header: string | Uint8Array, dataBytes: number][] = [
  ['empty header', '', 0],
  ['not JSON', '{"a":', 0],
  ['two values', '{} {}', 0],
  ['an array', '[]', 0],
  ['null', 'null', 0],
  ['a string', '"a"', 0],
  ['a byte order mark', '\ufeff{}', 0],
  ['not UTF-8', Buffer.from('7b22ff223a317d', 'hex'), 0],
  ['a tensor that is no object', '{"a":[1]}', 0],
  ['a tensor that is null', '{"a":null}', 0],
  ['a tensor without anything', '{"a":{}}', 0],
  ['metadata that is no object', '{"__metadata__":"x"}', 0],
  ['metadata that is an array', '{"__metadata__":["x"]}', 0],
  ['metadata with a number', '{"__metadata__":{"a":1}}', 0],
  ['an unknown dtype', `{"a":${entry('F33', [1], 0, 4)}}`, 4],
  ['a dtype in lower case', `{"a":${entry('f32', [1], 0, 4)}}`, 4],
  ['a dtype from the prototype', `{"a":${entry('toString', [1], 0, 4)}}`, 4],
  ['no shape', '{"a":{"dtype":"U8","data_offsets":[0,1]}}', 1],
  ['a shape that is a number', `{"a":${entry('U8', 1, 0, 1)}}`, 1],
  ['a negative dimension', `{"a":${entry('U8', [-1], 0, 1)}}`, 1],
  ['two negative dimensions', `{"a":${entry('U8', [-1, -1], 0, 1)}}`, 1],
  ['minus zero', '{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}', 0],
  ['half a dimension', `{"a":${entry('U8', [0.5, 2], 0, 1)}}`, 1],
  ['a dimension in quotes', `{"a":${entry('U8', ['1'], 0, 1)}}`, 1],
  ['a dimension past 2^53', '{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}', 1],
  ['an infinite dimension', '{"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,1]}}', 1],
  ['a product past 2^53', `{"a":${entry('U8', [2 ** 27, 2 ** 27], 0, 1)}}`, 1],
  ['a product of 0 past 2^53', `{"a":${entry('U8', [2 ** 27, 2 ** 27, 0], 0, 0)}}`, 0],
  ['a product of 2^64 that wraps to 0', `{"a":${entry('U8', [2 ** 32, 2 ** 32], 0, 0)}}`, 0],
  ['one offset', '{"a":{"dtype":"U8","shape":[1],"data_offsets":[1]}}', 1],
  ['three offsets', '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}', 1],
  ['a negative offset', `{"a":${entry('U8', [2], -1, 1)}}`, 1],
  ['half an offset', `{"a":${entry('U8', [1], 0.5, 1.5)}}`, 2],
  ['offsets backwards', `{"a":${entry('U8', [0], 1, 0)}}`, 1],
  ['too few bytes for the shape', `{"a":${entry('F32', [2], 0, 7)}}`, 7],
  ['too many bytes for the shape', `{"a":${entry('F32', [2], 0, 9)}}`, 9],
  ['data past the end', `{"a":${entry('U8', [4], 0, 4)}}`, 3],
  ['a huge tensor in a small file', `{"a":${entry('U8', [2 ** 50], 0, 2 ** 50)}}`, 3],
  ['trailing bytes', `{"a":${entry('U8', [4], 0, 4)}}`, 5],
  ['bytes without a tensor', '{}', 1],
  ['a hole at the start', `{"a":${entry('U8', [1], 1, 2)}}`, 2],
  ['a hole', `{"a":${entry('U8', [1], 0, 1)},"b":${entry('U8', [1], 2, 3)}}`, 3],
  ['an overlap', `{"a":${entry('U8', [2], 0, 2)},"b":${entry('U8', [2], 1, 3)}}`, 3],
  ['two tensors in the same bytes', `{"a":${entry('U8', [2], 0, 2)},"b":${entry('U8', [2], 0, 2)}}`, 2],
  ['an empty tensor inside another', `{"a":${entry('U8', [2], 0, 2)},"b":${entry('U8', [0], 1, 1)}}`, 2],
  ['a name twice', `{"a":${entry('U8', [1], 0, 1)},"a":${entry('U8', [1], 0, 1)}}`, 1],
  ['a name twice, once escaped', `{"a\\"":${entry('U8', [1], 0, 1)},"\\u0061\\"" :${entry('U8', [1], 0, 1)}}`, 1],
  ['a field twice', '{"a":{"dtype":"F32","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1],
  ['metadata twice', '{"__metadata__":{},"__metadata__":{"a":"b"}}', 0],
];

for (const [why, header, dataBytes] of wrongHeaders) {
  test(`refused: ${why}`, (t) => {
    const path = plant(header, dataBytes);
    const error = t.throws(() => readSafetensors(path), { instanceOf: SweetspotError });
    t.is(error?.code, 'SWEETSPOT_CORRUPT');
    t.true(error?.message.includes(path));
  });
}

test('the same words in different places are not duplicates', (t) => {
  const header = `{"dtype":${entry('U8', [1], 0, 1)},"x":${entry('U8', [1], 1, 2)},"__metadata__":{"x":"x","\\\\":"{\\"x\\":"}}`;
  t.deepEqual([...readSafetensors(plant(header, 2)).tensors.keys()], ['dtype', 'x']);
});

test('a header length beyond the file or the cap is refused before memory is taken', (t) => {
  const path = freshPath();
  for (const length of [3n, 2n ** 31n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
    const file = Buffer.alloc(10, '{}');
    file.writeBigUInt64LE(length);
    fs.writeFileSync(path, file);
    t.is(t.throws(() => readSafetensors(path), { instanceOf: SweetspotError })?.code, 'SWEETSPOT_CORRUPT');
  }
  writeSafetensors(path, three);
  const length = Number(fs.readFileSync(path).readBigUInt64LE());
  t.notThrows(() => readSafetensors(path, { maxHeaderBytes: length }));
  const capped = t.throws(() => readSafetensors(path, { maxHeaderBytes: length - 1 }), { instanceOf: SweetspotError });
  t.regex(capped?.message ?? '', /maxHeaderBytes/);
});

test('every truncation is refused, and random damage never does worse', (t) => {
  const path = freshPath();
  writeSafetensors(path, three, { note: 'x' }, { checksum: true });
  const file = fs.readFileSync(path);
  for (let length = 0; length < file.length; length++) {
    fs.writeFileSync(path, file.subarray(0, length));
    t.is(t.throws(() => readSafetensors(path), { instanceOf: SweetspotError })?.code, 'SWEETSPOT_CORRUPT');
  }

  // A small linear congruential generator, so that a failure can be repeated.
  let state = 12345;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
  const headerEnd = 8 + Number(file.readBigUInt64LE());
  let refused = 0;
  for (let round = 0; round < 3000; round++) {
    const damaged = Buffer.from(file);
    for (let flips = 1 + random(3); flips > 0; flips--) damaged[random(headerEnd)]! ^= 1 << random(8);
    fs.writeFileSync(path, damaged);
    try {
      const { tensors } = readSafetensors(path);
      let bytes = 0;
      for (const { data } of tensors.values()) bytes += data.byteLength;
      t.is(bytes, file.length - headerEnd);
    } catch (error) {
      refused++;
      if (!(error instanceof SweetspotError && error.code === 'SWEETSPOT_CORRUPT')) throw error;
    }
  }
  t.true(refused > 1000 && refused < 3000, `${refused} of 3000 refused`);
});

test('a missing file, a folder', (t) => {
  const code = (path: string) => t.throws(() => readSafetensors(path), { instanceOf: SweetspotError })?.code;
  t.is(code(join(room, 'missing')), 'SWEETSPOT_INPUT');
  t.is(code(room), 'SWEETSPOT_IO');
});

test('the writer refuses what the reader would, and leaves the old file', (t) => {
  const path = freshPath();
  writeSafetensors(path, three);
  const before = fs.readFileSync(path);
  const data = new Uint8Array(4);
  const wrong: [Record<string, unknown>, Record<string, unknown>][] = [
    [{ __metadata__: { dtype: 'F32', shape: [1], data } }, {}],
    [{ x: { dtype: 'F33', shape: [1], data } }, {}],
    [{ x: { dtype: 'F32', shape: [2], data } }, {}],
    [{ x: { dtype: 'F32', shape: [-1, -1], data } }, {}],
    [{ x: { dtype: 'U8', shape: [0.5, 8], data } }, {}],
    [{ x: { dtype: 'U8', shape: [2 ** 27, 2 ** 27], data } }, {}],
    [{ x: { dtype: 'F32', shape: [1], data } }, { steps: 3 }],
  ];
  for (const [tensors, metadata] of wrong) {
    const write = () => writeSafetensors(path, tensors as typeof three, metadata as Record<string, string>);
    t.is(t.throws(write, { instanceOf: SweetspotError })?.code, 'SWEETSPOT_USAGE');
  }
  t.true(fs.readFileSync(path).equals(before));
});
