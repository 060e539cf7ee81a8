import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { cp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type ErrorCode, SweetspotError } from '../../ts/backend/errors.js';
import { buildCorpus, Corpus, domainCorpus } from '../../ts/data/corpus.js';
import { Tokenizer, trainTokenizer } from '../../ts/data/tokenizer.js';
import { Prng } from '../../ts/tensor/prng.js';

const root = mkdtempSync(join(tmpdir(), 'sweetspot-corpus-'));

const prng = new Prng('corpus');
const vocabulary = Array.from({ length: 400 }, () =>
  Array.from({ length: 2 + prng.int(7) }, () => String.fromCharCode(97 + prng.int(26))).join(''),
);
const sentence = (words: number) => Array.from({ length: words }, () => vocabulary[prng.int(400)]).join(' ');
// Enough tokens for several blocks of the cache, and one document longer than a block.
const texts = Array.from({ length: 300 }, (_, i) => `${i} é 😀 ${sentence(i === 150 ? 40_000 : 1 + prng.int(400))}`);
const input = join(root, 'input.jsonl');
writeFileSync(input, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));

const dir = join(root, 'corpus');
const summary = await buildCorpus({ input, out: dir, vocabSize: 600 });
const tokenizer = Tokenizer.load(dir);
test.after.always(() => rmSync(root, { recursive: true }));

test('the folder holds what the summary says, and every document comes back', (t) => {
  using corpus = Corpus.open(dir);
  t.deepEqual(readdirSync(dir).sort(), [
    'documents.bytes',
    'documents.idx',
    'manifest.json',
    'tokenizer.json',
    'tokens.bin',
  ]);
  t.is(summary.path, dir);
  t.is(summary.documents, 300);
  t.is(corpus.documents, 300);
  t.is(corpus.tokens, summary.tokens);
  t.true(corpus.tokens > 3 * 32768);
  t.is(summary.dtype, 'u16');
  t.is(summary.vocabSize, 600);
  t.is(corpus.tokenizerHash, tokenizer.hash);
  t.is(
    summary.bytes,
    texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
  );
  for (const [i, text] of texts.entries()) {
    const [marker, ...rest] = corpus.document(i);
    t.is(marker, 0);
    t.deepEqual(rest, [...tokenizer.encode(text)]);
    t.is(corpus.bytes(i), Buffer.byteLength(text));
  }
});

test('ranges read through the cache equal the whole', (t) => {
  using corpus = Corpus.open(dir);
  const whole = new Int32Array(corpus.tokens);
  corpus.read(0, corpus.tokens, whole, 0);
  const out = new Int32Array(40_010);
  for (let i = 0; i < 400; i++) {
    const start = prng.int(corpus.tokens);
    const length = prng.int(Math.min(40_000, corpus.tokens - start) + 1);
    out.fill(-1);
    corpus.read(start, length, out, 5);
    t.true(out.subarray(0, 5).every((id) => id === -1) && out[5 + length] === -1);
    t.is(Buffer.compare(bytesOf(out.subarray(5, 5 + length)), bytesOf(whole.subarray(start, start + length))), 0);
  }
});

const bytesOf = (array: Int32Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);

test('a corpus in memory and a domain behave like the folder', async (t) => {
  using disk = Corpus.open(dir);
  for (const corpus of [Corpus.fromTexts(texts, tokenizer), await domainCorpus(input, tokenizer)]) {
    t.is(corpus.tokens, disk.tokens);
    t.is(corpus.documents, disk.documents);
    for (let i = 0; i < 300; i += 7) {
      t.deepEqual(corpus.document(i), disk.document(i));
      t.is(corpus.bytes(i), disk.bytes(i));
      t.is(corpus.offset(i), disk.offset(i));
    }
  }
});

test('a domain is cut at maxTokens, its bytes too', async (t) => {
  using disk = Corpus.open(dir);
  for (const maxTokens of [2, 100, disk.offset(10), disk.offset(10) + 1, disk.offset(10) + 2, disk.offset(151) - 5]) {
    const domain = await domainCorpus(input, tokenizer, { maxTokens });
    t.true(domain.tokens === maxTokens || (maxTokens === disk.offset(10) + 1 && domain.tokens === disk.offset(10)));
    const last = domain.documents - 1;
    const ids = domain.document(last);
    t.deepEqual(ids, disk.document(last).slice(0, ids.length));
    t.true(ids.length >= 2);
    const kept = tokenizer.decode(ids);
    if (!kept.includes('\ufffd')) t.is(domain.bytes(last), Buffer.byteLength(kept));
  }
  for (const maxTokens of [1, 0, 2.5, Number.NaN]) {
    await t.throwsAsync(domainCorpus(input, tokenizer, { maxTokens }), { instanceOf: SweetspotError });
  }
});

test('a given tokenizer is used, and a large vocabulary is stored in 32 bits', async (t) => {
  const again = await buildCorpus({ input, out: join(root, 'given'), tokenizer: dir });
  t.is(again.tokenizerHash, summary.tokenizerHash);
  t.is(readFileSync(join(root, 'given', 'tokens.bin')).compare(readFileSync(join(dir, 'tokens.bin'))), 0);

  // Pairs of the 256 byte symbols give more merges than 16 bits can count.
  const letters = Object.keys((await bare()).model.vocab).filter((token) => token.length === 1);
  const merges = letters.flatMap((a) => letters.map((b) => [a, b])).slice(0, 65536);
  const json = await bare();
  json.model.merges = merges;
  for (const [i, pair] of merges.entries()) json.model.vocab[pair.join('')] = 257 + i;
  const wide = Tokenizer.fromJSON(json);
  const built = await buildCorpus({ input, out: join(root, 'wide'), tokenizer: wide });
  t.is(built.dtype, 'u32');
  using corpus = Corpus.open(built.path);
  t.true(corpus.document(150).some((id) => id > 10_000));
  for (const i of [0, 150, 299]) t.is(wide.decode(corpus.document(i)), texts[i]!);
});

async function bare() {
  type Model = { vocab: Record<string, number>; merges: string[][] };
  return (await trainTokenizer([], { vocabSize: 257 })).toJSON() as { model: Model };
}

test('trainBytes limits what the tokenizer sees', async (t) => {
  const ascii = [sentence(100), sentence(100), sentence(100)];
  const path = join(root, 'ascii.jsonl');
  writeFileSync(path, ascii.map((text) => JSON.stringify({ text })).join('\n'));
  const trainBytes = ascii[0]!.length + 200;
  const built = await buildCorpus({ input: path, out: join(root, 'little'), vocabSize: 2000, trainBytes });
  const expected = await trainTokenizer([ascii[0]!, ascii[1]!.slice(0, 200)], { vocabSize: 2000 });
  t.is(built.tokenizerHash, expected.hash);
});

test('failures leave nothing behind', async (t) => {
  const place = join(root, 'failures');
  mkdirSync(place);
  const controller = new AbortController();
  const bad = join(root, 'bad.jsonl');
  writeFileSync(bad, `${JSON.stringify({ text: 'fine' })}\nnot json\n`);
  const attempts: [ErrorCode, Parameters<typeof buildCorpus>[0]][] = [
    ['SWEETSPOT_INPUT', { input: bad, out: join(place, 'x') }],
    ['SWEETSPOT_INPUT', { input: join(root, 'nowhere'), out: join(place, 'deep', 'x') }],
    ['SWEETSPOT_INPUT', { input, out: join(place, 'x'), tokenizer: join(root, 'nowhere') }],
    ['SWEETSPOT_EXISTS', { input, out: dir }],
    ['SWEETSPOT_USAGE', { input, out: join(place, 'x'), vocabSize: 100 }],
    ['SWEETSPOT_USAGE', { input, out: join(place, 'x'), tokenizer, vocabSize: 100 }],
    ['SWEETSPOT_USAGE', { input, out: join(place, 'x'), trainBytes: 0 }],
    ['SWEETSPOT_ABORTED', { input, out: join(place, 'x'), signal: AbortSignal.abort() }],
    [
      'SWEETSPOT_ABORTED',
      {
        input: [input, input, input, input, input, input],
        out: join(place, 'x'),
        tokenizer,
        signal: controller.signal,
        onProgress: () => controller.abort(),
      },
    ],
  ];
  for (const [code, options] of attempts) {
    const error = await t.throwsAsync(buildCorpus(options), { instanceOf: SweetspotError });
    t.is(error.code, code);
    t.deepEqual(readdirSync(place), []);
  }
});

const damages: [what: string, code: ErrorCode, message: RegExp, change: (at: string) => void][] = [
  ['no manifest', 'SWEETSPOT_INPUT', /is not a corpus folder/, (at) => rmSync(join(at, 'manifest.json'))],
  ['manifest cut', 'SWEETSPOT_CORRUPT', /manifest\.json/, (at) => truncateSync(join(at, 'manifest.json'), 50)],
  ['version 2', 'SWEETSPOT_CORRUPT', /manifest\.json.*version/s, (at) => edit(at, { version: 2 })],
  ['no documents', 'SWEETSPOT_CORRUPT', /manifest\.json.*documents/s, (at) => edit(at, { documents: 0 })],
  ['dtype changed', 'SWEETSPOT_CORRUPT', /tokens\.bin/, (at) => edit(at, { dtype: 'u32' })],
  ['bytes changed', 'SWEETSPOT_CORRUPT', /documents\.bytes/, (at) => edit(at, { bytes: 1 })],
  ['tokens cut', 'SWEETSPOT_CORRUPT', /tokens\.bin/, (at) => truncateSync(join(at, 'tokens.bin'), 1000)],
  ['tokens longer', 'SWEETSPOT_CORRUPT', /tokens\.bin/, (at) => appendFileSync(join(at, 'tokens.bin'), 'xx')],
  ['tokens missing', 'SWEETSPOT_CORRUPT', /tokens\.bin/, (at) => rmSync(join(at, 'tokens.bin'))],
  ['index cut', 'SWEETSPOT_CORRUPT', /documents\.idx/, (at) => truncateSync(join(at, 'documents.idx'), 8)],
  ['index zeroed', 'SWEETSPOT_CORRUPT', /documents\.idx/, (at) => zero(join(at, 'documents.idx'))],
  ['sizes cut', 'SWEETSPOT_CORRUPT', /documents\.bytes/, (at) => truncateSync(join(at, 'documents.bytes'), 8)],
  ['no tokenizer', 'SWEETSPOT_INPUT', /tokenizer\.json/, (at) => rmSync(join(at, 'tokenizer.json'))],
  ['tokenizer cut', 'SWEETSPOT_CORRUPT', /tokenizer\.json/, (at) => truncateSync(join(at, 'tokenizer.json'), 900)],
  ['other tokenizer', 'SWEETSPOT_MISMATCH', /hash.*hash/s, (at) => swapMerges(join(at, 'tokenizer.json'))],
];

function edit(at: string, change: object): void {
  const path = join(at, 'manifest.json');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }));
}

function zero(path: string): void {
  writeFileSync(path, Buffer.alloc(readFileSync(path).length));
}

function swapMerges(path: string): void {
  const json = JSON.parse(readFileSync(path, 'utf8'));
  json.model.merges.reverse();
  writeFileSync(path, JSON.stringify(json));
}

for (const [what, code, message, change] of damages) {
  test(`refused to open: ${what}`, async (t) => {
    const copy = join(root, `damaged ${what}`);
    await cp(dir, copy, { recursive: true });
    change(copy);
    t.is(t.throws(() => Corpus.open(copy), { instanceOf: SweetspotError, message }).code, code);
  });
}

test('damage after opening is an error of the read', async (t) => {
  const copy = join(root, 'later');
  await cp(dir, copy, { recursive: true });
  using corpus = Corpus.open(copy);
  const out = new Int32Array(10);
  truncateSync(join(copy, 'tokens.bin'), 100_000);
  corpus.read(0, 10, out, 0);
  const gone = t.throws(() => corpus.read(corpus.tokens - 10, 10, out, 0), { instanceOf: SweetspotError });
  t.is(gone.code, 'SWEETSPOT_CORRUPT');

  const altered = join(root, 'altered');
  await cp(dir, altered, { recursive: true });
  const tokens = readFileSync(join(altered, 'tokens.bin'));
  tokens.writeUInt16LE(600, 14);
  writeFileSync(join(altered, 'tokens.bin'), tokens);
  using other = Corpus.open(altered);
  other.read(0, 7, out, 0);
  const past = t.throws(() => other.read(0, 8, out, 0), { instanceOf: SweetspotError, message: /600 at token 7/ });
  t.is(past.code, 'SWEETSPOT_CORRUPT');
});

test('ranges outside and closed corpora are refused', (t) => {
  const corpus = Corpus.open(dir);
  const out = new Int32Array(10);
  const wrong = [
    () => corpus.read(-1, 1, out, 0),
    () => corpus.read(corpus.tokens - 1, 2, out, 0),
    () => corpus.read(0, 11, out, 0),
    () => corpus.read(0, 5, out, 6),
    () => corpus.read(Number.NaN, 1, out, 0),
    () => corpus.document(300),
    () => corpus.bytes(-1),
    () => {
      corpus.close();
      corpus.close();
      corpus.read(0, 1, out, 0);
    },
  ];
  for (const call of wrong) t.is(t.throws(call, { instanceOf: SweetspotError }).code, 'SWEETSPOT_USAGE');
});
