// The suite itself: a right device passes, and every kind of wrong device is caught. The oracle plays the device; what it
// reads back is spoiled on the way.
import test from 'ava';
import { OracleBackend } from '../support/oracle.js';
import { defineCases } from './case.js';
import { check, inPlaceChoices, prepare } from './runner.js';

/** Changes the bytes of the given read, counted from 0: first run, replay, then one for each way to run in place. */
class SpoiledDevice extends OracleBackend {
  #reads = 0;

  constructor(
    readonly spoiled: number,
    readonly spoil: (bytes: Uint8Array) => void,
  ) {
    super();
  }

  override async read(id: number, offset: number, length: number): Promise<Uint8Array> {
    const bytes = await super.read(id, offset, length);
    if (this.#reads++ === this.spoiled) this.spoil(bytes);
    return bytes;
  }
}

const [item] = defineCases({
  op: 'mul',
  flops: () => 0,
  length: () => 1,
  list: [{ dims: { n: 19 }, with: ['add'] }],
});
const prepared = await prepare(item!);
const span = (name: string) => prepared.layout.spans.find((candidate) => candidate.name === name)!;

/** Multiplies element `i` of an operand. */
const scale = (name: string, i: number, factor: number) => (bytes: Uint8Array) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const at = span(name).offset + 4 * i;
  view.setFloat32(at, view.getFloat32(at, true) * factor, true);
};
const flip = (at: number) => (bytes: Uint8Array) => {
  bytes[at]! ^= 1;
};
const spoiled = (read: number, spoil: (bytes: Uint8Array) => void) => check(prepared, [new SpoiledDevice(read, spoil)]);

test('a right device passes', async (t) => {
  t.is(await check(prepared, [new OracleBackend(), new OracleBackend()]), undefined);
});

test('a wrong value', async (t) => {
  t.regex((await spoiled(0, scale('y', 18, 1 + 1e-5)))!, /^y\[18\] is .* off by/);
  t.regex((await spoiled(0, scale('y', 3, Infinity)))!, /^y\[3\] is -?Infinity/);
});

test('an error in all elements that is too small for one', async (t) => {
  const many = (bytes: Uint8Array) => Array.from({ length: 19 }, (_, i) => scale('y', i, 1 + 7e-7)(bytes));
  t.regex((await spoiled(0, many))!, /^y is off by .* in norm/);
});

test('an element that was not written', async (t) => {
  const { offset } = span('y');
  const forget = (bytes: Uint8Array) =>
    bytes.set(prepared.layout.image.subarray(offset + 72, offset + 76), offset + 72);
  t.regex((await spoiled(0, forget))!, /^y\[18\] is NaN/);
});

test('a write outside', async (t) => {
  const { offset, bytes } = span('y');
  t.regex((await spoiled(0, flip(offset + bytes)))!, /^byte 76 of y, which has 76, was written/);
  t.regex((await spoiled(0, flip(offset - 1)))!, /was written/);
  t.regex((await spoiled(0, flip(0)))!, /^byte 0, before the first operand/);
  t.regex((await spoiled(0, flip(span('b').offset + 5)))!, /^input b was changed at byte 5/);
});

test('a replay, another thread count, a run in place', async (t) => {
  t.regex((await spoiled(1, flip(span('y').offset)))!, /^a replay differs/);
  const other = new SpoiledDevice(0, flip(span('y').offset + 8));
  t.regex((await check(prepared, [new OracleBackend(), other]))!, /threads differ .* byte 8 of y/);
  t.deepEqual(inPlaceChoices(item!), [
    ['y', 'a'],
    ['y', 'b'],
    ['y', 'add'],
  ]);
  t.regex((await spoiled(2, flip(span('a').offset + 4)))!, /^y on a: y\[1\] differs/);
  t.regex((await spoiled(4, flip(span('a').offset)))!, /^y on add: input a was changed/);
});
