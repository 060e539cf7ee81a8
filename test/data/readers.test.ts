import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { readDocuments } from '../../ts/data/readers.js';

const root = mkdtempSync(join(tmpdir(), 'sweetspot-readers-'));
test.after.always(() => rmSync(root, { recursive: true }));

function put(name: string, data: string | Uint8Array): string {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, data);
  return path;
}

async function texts(inputs: string | string[]): Promise<string[]> {
  const found: string[] = [];
  for await (const { text } of readDocuments(inputs)) found.push(text);
  return found;
}

const lines = (...documents: unknown[]) => documents.map((document) => `${JSON.stringify(document)}\n`).join('');

test('a text file is one document, packed or not, whatever its name', async (t) => {
  const text = 'first\nsecond é\n';
  for (const name of ['a.txt', 'a.md', 'README', 'notes.log']) t.deepEqual(await texts(put(name, text)), [text]);
  for (const name of ['b.txt.gz', 'b.MD.GZ', 'b.gz']) t.deepEqual(await texts(put(name, gzipSync(text))), [text]);
  t.deepEqual(await texts(put('bom.txt', `\ufeff${text}`)), [text]);
});

test('JSON lines: blank lines and white documents are skipped, the source names the line', async (t) => {
  const data = `\n${lines({ text: 'one', other: 1 })} \r\n${lines({ text: ' \n' }, { text: 'two\n\u2028' })}{"text":"end"}`;
  for (const path of [put('c.jsonl', data), put('c.jsonl.gz', gzipSync(data))]) {
    const sources: string[] = [];
    for await (const { text, source } of readDocuments(path)) sources.push(`${text}|${source}`);
    t.deepEqual(sources, [`one|${path}:2`, `two\n\u2028|${path}:5`, `end|${path}:6`]);
  }
});

test('lines longer than a chunk and characters across chunks come through whole', async (t) => {
  const documents = Array.from({ length: 9 }, (_, i) => ({
    text: `${i}`.repeat(i) + 'é😀'.repeat(40_000 * (i % 3)) + i,
  }));
  const expected = documents.map((document) => document.text);
  t.deepEqual(await texts(put('long.jsonl', lines(...documents))), expected);
  t.deepEqual(await texts(put('long.jsonl.gz', gzipSync(lines(...documents)))), expected);
});

test('gzip files made of several members are read to the end', async (t) => {
  const data = Buffer.concat([gzipSync(lines({ text: 'a' })), gzipSync(lines({ text: 'b' }))]);
  t.deepEqual(await texts(put('members.jsonl.gz', data)), ['a', 'b']);
});

test('a folder is walked in order; hidden, unknown and empty files are passed over', async (t) => {
  const folder = join(root, 'tree');
  put('tree/b.txt', 'b');
  put('tree/a/z.md', 'az');
  put('tree/a/empty.txt', '');
  put('tree/c.jsonl', lines({ text: 'c1' }, { text: 'c2' }));
  put('tree/.hidden.txt', 'hidden');
  put('tree/.git/x.txt', 'hidden');
  put('tree/image.png', 'not text');
  put('linked.txt', 'linked');
  symlinkSync(join(root, 'linked.txt'), join(folder, 'd.txt'));
  symlinkSync(folder, join(folder, 'loop.txt'));
  t.deepEqual(await texts(folder), ['az', 'b', 'c1', 'c2', 'linked']);
  t.deepEqual(await texts([join(folder, 'c.jsonl'), join(folder, 'b.txt')]), ['c1', 'c2', 'b']);
});

const gz = gzipSync(Buffer.from(lines(...Array.from({ length: 2000 }, (_, i) => ({ text: `document ${i * i}` })))));
const refusals: [name: string, data: string | Uint8Array, message: RegExp][] = [
  ['empty.txt', '', /empty\.txt holds no document/],
  ['white.txt', ' \n\t', /white\.txt holds no document/],
  ['empty.jsonl.gz', gzipSync(''), /empty\.jsonl\.gz holds no document/],
  ['zero.txt', 'one\ntwo\nth\0ree', /zero\.txt is not text: line 3/],
  ['utf16.txt', Buffer.from('hello', 'utf16le'), /utf16\.txt is not text: line 1/],
  ['latin1.txt', Buffer.from('good\nna\xefve\n', 'latin1'), /latin1\.txt is not UTF-8: line 2/],
  ['cut.txt', Buffer.from('a\nb\né').subarray(0, 5), /cut\.txt is not UTF-8: line 3/],
  [
    'latin1.jsonl',
    Buffer.from(`${lines({ text: 'a' })}{"text":"\xe9"}\n`, 'latin1'),
    /latin1\.jsonl is not UTF-8: line 2/,
  ],
  ['broken.jsonl', `${lines({ text: 'a' }, { text: 'b' })}{"text": "c`, /broken\.jsonl:3 is not JSON/],
  ['array.jsonl', '["text"]', /array\.jsonl:1 has no text/],
  ['null.jsonl', 'null', /null\.jsonl:1 has no text/],
  ['number.jsonl', lines({ text: 'a' }, { text: 5 }), /number\.jsonl:2 has no text/],
  ['other.jsonl', lines({ content: 'a' }), /other\.jsonl:1 has no text/],
  ['short.jsonl.gz', gz.subarray(0, gz.length - 40), /short\.jsonl\.gz is not a whole gzip file/],
  ['plain.txt.gz', 'not packed', /plain\.txt\.gz is not a whole gzip file/],
];
for (const [name, data, message] of refusals) {
  test(`refused with file and line: ${name}`, async (t) => {
    const error = await t.throwsAsync(texts(put(`bad/${name}`, data)), { instanceOf: SweetspotError, message });
    t.is(error.code, 'SWEETSPOT_INPUT');
  });
}

test('missing inputs and folders without text are refused', async (t) => {
  mkdirSync(join(root, 'void'), { recursive: true });
  for (const inputs of [join(root, 'nowhere'), join(root, 'void'), []]) {
    const error = await t.throwsAsync(texts(inputs), { instanceOf: SweetspotError });
    t.is(error.code, 'SWEETSPOT_INPUT');
  }
});

test('a fired signal stops the reading', async (t) => {
  const path = put('many.jsonl', lines({ text: 'a' }, { text: 'b' }, { text: 'c' }));
  const controller = new AbortController();
  const found: string[] = [];
  const reading = async () => {
    for await (const { text } of readDocuments(path, { signal: controller.signal })) {
      found.push(text);
      controller.abort();
    }
  };
  const error = await t.throwsAsync(reading(), { instanceOf: SweetspotError });
  t.is(error.code, 'SWEETSPOT_ABORTED');
  t.deepEqual(found, ['a']);
});
