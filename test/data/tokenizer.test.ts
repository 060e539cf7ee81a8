import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import reference from 'tokenizers';
import { type ErrorCode, SweetspotError } from '../../ts/backend/errors.js';
import { BYTE_SYMBOLS, wordEnd } from '../../ts/data/bpe.js';
import { END_OF_TEXT, Tokenizer, trainTokenizer } from '../../ts/data/tokenizer.js';
import { Prng } from '../../ts/tensor/prng.js';

const root = mkdtempSync(join(tmpdir(), 'sweetspot-tokenizer-'));

const samples: Record<string, string> = {
  english:
    "The farmer's daughters weren't home; they'd gone to sell 12,500 apples. We'll see what I'm told, he'S said.",
  contractions: "'s't're've'm'll'd 'S it's'they''re ' s can't'''ve don’t 're'r 'l 'v",
  emoji: 'Good 👍🏽 morning 👩‍👩‍👧‍👦! 🇫🇷🏳️‍🌈😀😀 x😀y ☃️',
  cjk: '今天天气很好，我们去公园散步。日本語のテキスト、カタカナとひらがな。한국어 문장입니다。 全角　スペース',
  combining: 'e\u0301te\u0301 n\u0303 a\u0300\u0301\u0302 नमस्ते ภาษาไทย שָׁלוֹם مَرْحَبًا Å\u030a',
  code: 'for (let i = 0; i < n; i++) {\n\tsum += a[i]*2.5e-3; // total\n}\n\n    return `$sum`; /* x */ #include <stdio.h>\r\n',
  spaces: '  a   b\t\tc \n\n\n d \n  \u00a0e\u3000\u2003f\u0085g\ufeffh \u200b i\u2028j\v\f\r\n   ',
  runs: `${' '.repeat(100)}x${'\n'.repeat(50)}${'\t'.repeat(7)}y${'a'.repeat(3000)}${'!'.repeat(700)}${'7'.repeat(99)}`,
  digits: '0 12 345 6789 3.14159 1e10 ½ ²³ Ⅷ ٣٤٥ १२३ 2024-01-31 a1b2c3',
  controls: '\u0000\u0001\u001f\u007f\u0080\u009f\u00ad\u061c\u202e\ufffd\uffff\u{10ffff}',
  borders: '\ud7ff\ue000 \u{1d7d8}\u{1f130}\u{20000}\u{2b73a}\u{16ff4}\u088f1\u0c5ca',
  empty: '',
};

/** Text with every sort of character, drawn with a fixed seed; long enough that merges are learned in every script. */
function randomText(prng: Prng, length: number): string {
  const ranges = [
    [0x20, 0x7e],
    [0x61, 0x7a],
    [0x61, 0x65],
    [0x09, 0x0d],
    [0x20, 0x20],
    [0x30, 0x39],
    [0x80, 0x24f],
    [0x2000, 0x206f],
    [0x300, 0x5ff],
    [0x4e00, 0x4e20],
    [0x1f600, 0x1f64f],
    [0, 0xd7ff],
    [0xe000, 0x10ffff],
  ] as const;
  let text = '';
  while (text.length < length) {
    const [first, last] = ranges[prng.int(ranges.length)]!;
    for (let run = 1 + prng.int(6); run > 0; run--) text += String.fromCodePoint(first + prng.int(last - first + 1));
    if (prng.int(8) === 0) text += ["'s", "'ll", "'", ' ', '  ', '\n', 'the'][prng.int(7)]!;
  }
  return text;
}

const fuzz = (seed: string, count: number, length: number) => {
  const prng = new Prng(seed);
  return Array.from({ length: count }, () => randomText(prng, 1 + prng.int(length)));
};

const trainingText = [...Object.values(samples), ...fuzz('training', 300, 300)];
/** No merges: every byte is a token. */
const plain = await trainTokenizer([], { vocabSize: 257 });
const tokenizer = await trainTokenizer([...trainingText, ...trainingText], { vocabSize: 1500 });

function saved(name: string, of: Tokenizer): string {
  const path = join(root, name);
  of.save(path);
  return path;
}
const path = saved('tokenizer.json', tokenizer);
const oracle = reference.Tokenizer.fromFile(path);

test.after.always(() => rmSync(root, { recursive: true }));

async function sameAsOracle(text: string): Promise<boolean> {
  const expected = (await oracle.encode(text)).getIds();
  const ids = tokenizer.encode(text);
  return ids.length === expected.length && expected.every((id, i) => id === ids[i]);
}

for (const [name, text] of Object.entries(samples)) {
  test(`ids equal those of Hugging Face and decode to the same text: ${name}`, async (t) => {
    t.true(await sameAsOracle(text));
    const ids = tokenizer.encode(text);
    t.is(tokenizer.decode(ids), text);
    t.is(await oracle.decode([...ids], true), text);
    t.is(tokenizer.byteLength(ids), Buffer.byteLength(text));
  });
}

test('ids equal those of Hugging Face on random text', async (t) => {
  t.is(tokenizer.vocabSize, 1500);
  for (const text of fuzz('held out', 400, 400)) {
    t.true(await sameAsOracle(text), JSON.stringify(text));
    t.is(tokenizer.decode(tokenizer.encode(text)), text);
  }
});

test('words are cut as Hugging Face cuts them at every code point that Unicode assigns', (t) => {
  // Beside a letter, a digit and a sign, the kind of the character in between shows.
  const cut = reference.byteLevelPreTokenizer(false, true);
  const prng = new Prng('code points');
  for (let code = 0; code < 0x30000; code += 1 + prng.int(40)) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const character = String.fromCodePoint(code);
    const text = `a${character}b 1${character}2 !${character}? ${character} ${character}`;
    const expected = cut.preTokenizeString(text).map(([word]) => word);
    t.deepEqual(wordsOf(text), expected, code.toString(16));
  }
});

/** The words of `text` in byte symbols. */
function wordsOf(text: string): string[] {
  const words: string[] = [];
  for (let at = 0; at < text.length; ) {
    const end = wordEnd(text, at);
    words.push(Array.from(Buffer.from(text.slice(at, end)), (byte) => BYTE_SYMBOLS[byte]!).join(''));
    at = end;
  }
  return words;
}

test('training finds the merges that Hugging Face finds', async (t) => {
  // Its trainer takes no options here: 30,000 tokens, no least frequency, only the bytes seen, text line by line.
  const prng = new Prng('trainer');
  const lines = Array.from({ length: 400 }, () => `${randomText(prng, 200).replaceAll(/[\n\r]/g, ' ')}\n`);
  const file = join(root, 'lines.txt');
  writeFileSync(file, lines.join(''));
  const theirs = new reference.Tokenizer(reference.BPE.empty());
  theirs.setPreTokenizer(reference.byteLevelPreTokenizer(false, true));
  theirs.train([file]);
  theirs.save(join(root, 'theirs.json'));
  const merges: (string | string[])[] = JSON.parse(readFileSync(join(root, 'theirs.json'), 'utf8')).model.merges;
  const expected = merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')));
  const ours = await trainTokenizer(lines, { vocabSize: 30_000, minFrequency: 1 });
  const found = (ours.toJSON() as { model: { merges: string[] } }).model.merges;
  t.true(found.length > 5000);
  t.deepEqual(found.slice(0, expected.length), expected.slice(0, found.length));
});

test('training is the same whatever the order of texts, and smaller when pairs run out', async (t) => {
  const texts = trainingText.slice(0, 60);
  const one = await trainTokenizer(texts, { vocabSize: 400 });
  const other = await trainTokenizer([...texts].reverse(), { vocabSize: 400 });
  t.is(other.hash, one.hash);
  t.is((await trainTokenizer(['abab abab'], { vocabSize: 5000 })).vocabSize, 257 + 2);
  t.is((await trainTokenizer([], { vocabSize: 300 })).vocabSize, 257);
  const frequent = await trainTokenizer(['ab ab ab cd cd'], { vocabSize: 300, minFrequency: 3 });
  t.deepEqual((frequent.toJSON() as { model: { merges: string[] } }).model.merges, ['a b']);
});

test('the layout of ids: marker 0, bytes in the order of GPT-2, then merges', (t) => {
  const { model } = tokenizer.toJSON() as { model: { vocab: Record<string, number>; merges: string[] } };
  const byId = Object.entries(model.vocab).sort(([, a], [, b]) => a - b);
  t.is(byId[0]![0], END_OF_TEXT);
  t.is(byId[1]![0], '!');
  t.is(byId[256]![0], 'Ń');
  t.is(byId[257]![0], model.merges[0]!.replace(' ', ''));
  t.is(model.vocab['Ġ'], 1 + 188 + 32);
  t.is(tokenizer.endOfText, 0);
});

test('text cannot inject a special token, and training does not learn one', async (t) => {
  const text = `before${END_OF_TEXT}after`;
  t.false(tokenizer.encode(text).includes(0));
  t.is(tokenizer.decode(tokenizer.encode(text)), text);
  const specials = [END_OF_TEXT, 'user'];
  const chat = await trainTokenizer(['user user user user'], { vocabSize: 300, specialTokens: specials });
  t.false(chat.encode('user').includes(1));
  t.is(chat.decode(chat.encode('user user')), 'user user');
  t.is(
    (await reference.Tokenizer.fromFile(saved('chat.json', chat)).encode('us er')).getIds().length,
    chat.encode('us er').length,
  );
});

test('special tokens and broken characters in decoding', (t) => {
  const ids = [0, ...tokenizer.encode('a'), 0];
  t.is(tokenizer.decode(ids), 'a');
  t.is(tokenizer.decode(ids, { skipSpecialTokens: false }), `${END_OF_TEXT}a${END_OF_TEXT}`);
  const smile = plain.encode('😀!');
  t.is(plain.decode(smile.subarray(0, 3)), '\ufffd');
  t.is(plain.decode(smile.subarray(2)), '\ufffd\ufffd!');
  t.is(plain.decode(plain.encode('\ud83d x')), '\ufffd x');
  for (const id of [257, -1, 1.5, Number.NaN]) {
    t.is(t.throws(() => plain.decode([id]), { instanceOf: SweetspotError }).code, 'SWEETSPOT_USAGE');
  }
});

test('decoding as ids come never splits a character', (t) => {
  for (const from of [plain, tokenizer]) {
    for (const text of Object.values(samples)) {
      const decoder = from.streamDecoder();
      const parts = Array.from(from.encode(text), (id) => decoder.push(id));
      t.false(parts.some((part) => part.includes('\ufffd') && !text.includes('\ufffd')));
      t.is(parts.join('') + decoder.end(), text);
    }
  }
  const decoder = plain.streamDecoder();
  t.deepEqual([decoder.push(plain.encode('é').subarray(0, 1)), decoder.end()], ['', '\ufffd']);
});

test('encoding in pieces equals encoding at once', (t) => {
  const text = fuzz('pieces', 300, 1500).join(' ');
  t.true(text.length > 3 * 65536);
  const pieces = [...tokenizer.encodePieces(text)];
  t.true(pieces.length >= 3);
  t.deepEqual(
    pieces.flatMap((piece) => [...piece]),
    [...tokenizer.encode(text)],
  );
});

test('one word of a million letters takes seconds, not hours', async (t) => {
  const text = 'abcde'.repeat(200_000);
  const few = await trainTokenizer([text], { vocabSize: 270 });
  t.is(few.decode(few.encode(text)), text);
});

test('saving and loading keeps the hash; merges may be pairs or strings', (t) => {
  const json = JSON.parse(readFileSync(path, 'utf8'));
  t.is(Tokenizer.load(path).hash, tokenizer.hash);
  t.is(Tokenizer.load(root).hash, tokenizer.hash);
  json.model.merges = json.model.merges.map((merge: string) => merge.split(' '));
  t.is(Tokenizer.fromJSON(json).hash, tokenizer.hash);
  json.model.merges.reverse();
  t.not(Tokenizer.fromJSON(json).hash, tokenizer.hash);
});

test('a vocabulary with the marker last, as GPT-2 has it, keeps its ids', (t) => {
  const json = JSON.parse(readFileSync(path, 'utf8'));
  const { vocab } = json.model;
  for (const token of Object.keys(vocab)) vocab[token]--;
  vocab[END_OF_TEXT] = 1499;
  json.added_tokens[0].id = 1499;
  const shifted = Tokenizer.fromJSON(json);
  t.is(shifted.endOfText, 1499);
  t.deepEqual(
    [...shifted.encode(samples['english']!)],
    [...tokenizer.encode(samples['english']!)].map((id) => id - 1),
  );
});

type Json = {
  added_tokens: Record<string, unknown>[];
  pre_tokenizer: unknown;
  model: Record<string, unknown>;
} & Record<string, unknown>;
const damages: [what: string, code: ErrorCode, change: (json: Json) => void][] = [
  ['no model', 'SWEETSPOT_CORRUPT', (json) => Reflect.deleteProperty(json, 'model')],
  ['no vocab', 'SWEETSPOT_CORRUPT', ({ model }) => Reflect.deleteProperty(model, 'vocab')],
  ['merges not a list', 'SWEETSPOT_CORRUPT', ({ model }) => (model['merges'] = {})],
  ['a merge of three', 'SWEETSPOT_CORRUPT', ({ model }) => (model['merges'] = ['a b c'])],
  ['a merge of unknown tokens', 'SWEETSPOT_CORRUPT', ({ model }) => (model['merges'] = [['zq', 'qz']])],
  ['a merge of numbers', 'SWEETSPOT_CORRUPT', ({ model }) => (model['merges'] = [7])],
  [
    'a merge twice',
    'SWEETSPOT_CORRUPT',
    ({ model }) => (model['merges'] as string[]).push((model['merges'] as string[])[0]!),
  ],
  ['an id twice', 'SWEETSPOT_CORRUPT', ({ model }) => ((model['vocab'] as Record<string, number>)['a'] = 5)],
  ['an id too large', 'SWEETSPOT_CORRUPT', ({ model }) => ((model['vocab'] as Record<string, number>)['a'] = 1500)],
  ['an id that is text', 'SWEETSPOT_CORRUPT', ({ model }) => ((model['vocab'] as Record<string, unknown>)['a'] = '66')],
  ['a missing byte', 'SWEETSPOT_CORRUPT', ({ model }) => renameToken(model, 'a', 'Ġ'.repeat(60))],
  ['a symbol outside the table', 'SWEETSPOT_CORRUPT', ({ model }) => renameToken(model, 'a', '今')],
  ['an added token without id', 'SWEETSPOT_CORRUPT', (json) => (json.added_tokens = [{ content: END_OF_TEXT }])],
  ['an added token with another id', 'SWEETSPOT_CORRUPT', (json) => (json.added_tokens[0]!['id'] = 3)],
  ['no marker', 'SWEETSPOT_INPUT', (json) => (json.added_tokens = [])],
  ['an added token that is text', 'SWEETSPOT_INPUT', (json) => (json.added_tokens[0]!['special'] = false)],
  ['another model', 'SWEETSPOT_INPUT', ({ model }) => (model['type'] = 'Unigram')],
  ['byte fallback', 'SWEETSPOT_INPUT', ({ model }) => (model['byte_fallback'] = true)],
  ['dropout', 'SWEETSPOT_INPUT', ({ model }) => (model['dropout'] = 0.1)],
  ['another pre-tokenizer', 'SWEETSPOT_INPUT', (json) => (json.pre_tokenizer = { type: 'Whitespace' })],
  [
    'a prefix space',
    'SWEETSPOT_INPUT',
    (json) => (json.pre_tokenizer = { type: 'ByteLevel', add_prefix_space: true, use_regex: true }),
  ],
  ['another decoder', 'SWEETSPOT_INPUT', (json) => (json['decoder'] = { type: 'WordPiece' })],
  ['a normalizer', 'SWEETSPOT_INPUT', (json) => (json['normalizer'] = { type: 'NFC' })],
];
for (const [what, code, change] of damages) {
  test(`refused: ${what}`, (t) => {
    const json = JSON.parse(readFileSync(path, 'utf8'));
    change(json);
    t.is(t.throws(() => Tokenizer.fromJSON(json), { instanceOf: SweetspotError }).code, code);
  });
}

function renameToken(model: Record<string, unknown>, from: string, to: string): void {
  const vocab = model['vocab'] as Record<string, number>;
  vocab[to] = vocab[from]!;
  Reflect.deleteProperty(vocab, from);
}

test('files that cannot be loaded are refused by name', (t) => {
  const cut = join(root, 'cut.json');
  writeFileSync(cut, readFileSync(path, 'utf8').slice(0, 5000));
  const damaged = t.throws(() => Tokenizer.load(cut), { instanceOf: SweetspotError, message: /cut\.json/ });
  t.is(damaged.code, 'SWEETSPOT_CORRUPT');
  const missing = t.throws(() => Tokenizer.load(join(root, 'none.json')), { instanceOf: SweetspotError });
  t.is(missing.code, 'SWEETSPOT_INPUT');
});

test('options out of range are refused before any text is read', async (t) => {
  const untouched = {
    [Symbol.iterator](): Iterator<string> {
      throw new Error('was read');
    },
  };
  const wrong = [
    { vocabSize: 256 },
    { vocabSize: 257.5 },
    { vocabSize: Number.NaN },
    { vocabSize: 300, minFrequency: 0 },
    { vocabSize: 300, specialTokens: [] },
    { vocabSize: 300, specialTokens: ['<s>'] },
    { vocabSize: 300, specialTokens: [END_OF_TEXT, 'a'] },
    { vocabSize: 300, specialTokens: [END_OF_TEXT, END_OF_TEXT] },
  ];
  for (const options of wrong) {
    const error = await t.throwsAsync(trainTokenizer(untouched, options), { instanceOf: SweetspotError });
    t.is(error.code, 'SWEETSPOT_USAGE');
  }
});

test('training yields to the event loop, reports and can be interrupted', async (t) => {
  const texts = Array.from({ length: 3 }, () => trainingText).flat();
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const stages = new Set<string>();
  const lively = await trainTokenizer(texts, { vocabSize: 4000, onProgress: ({ stage }) => stages.add(stage) });
  clearInterval(timer);
  t.true(lively.vocabSize > 257 && turns >= 2, `${turns} turns`);
  t.deepEqual([...stages], ['read', 'merge']);
  const signal = AbortSignal.timeout(5);
  const error = await t.throwsAsync(trainTokenizer(texts, { vocabSize: 4000, signal }), { instanceOf: SweetspotError });
  t.is(error.code, 'SWEETSPOT_ABORTED');
});
