import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { Corpus } from '../../ts/data/corpus.js';
import { trainTokenizer } from '../../ts/data/tokenizer.js';
import { cutWindows, requireWindows } from '../../ts/data/windows.js';

// Without merges a letter is a token, so the lengths below are exact.
const tokenizer = await trainTokenizer([], { vocabSize: 257 });
const corpus = Corpus.fromTexts(['abcdefg', '', 'abcd', 'x', 'abcde'], tokenizer);

test('every token but the marker is predicted once, by its left neighbour in the same document', (t) => {
  for (let T = 1; T <= 9; T++) {
    const windows = cutWindows(corpus, T);
    const predicted: number[] = [];
    const buffer = new Int32Array(T + 1);
    for (let i = 0; i < windows.count; i++) {
      const length = windows.length[i]!;
      t.true(length >= 1 && length <= T);
      const document = windows.document[i]!;
      t.true(windows.start[i]! >= corpus.offset(document));
      t.true(windows.start[i]! + length < corpus.offset(document + 1));
      corpus.read(windows.start[i]!, length + 1, buffer, 0);
      for (let k = 1; k <= length; k++) predicted.push(buffer[k]!);
    }
    t.deepEqual(predicted, [...tokenizer.encode('abcdefgabcdxabcde')]);
    t.is(windows.predictions, 17);
  }
});

test('windows of three of a document of seven', (t) => {
  const windows = cutWindows(corpus, 3);
  t.is(windows.count, 3 + 0 + 2 + 1 + 2);
  t.deepEqual([...windows.length], [3, 3, 1, 3, 1, 1, 3, 2]);
  t.deepEqual([...windows.document], [0, 0, 0, 2, 2, 3, 4, 4]);
  t.deepEqual([...windows.start], [0, 3, 6, 9, 12, 14, 16, 19]);
});

test('a long context keeps its lengths', (t) => {
  const long = Corpus.fromTexts(['a'.repeat(70_000)], tokenizer);
  t.deepEqual([...cutWindows(long, 2 ** 17).length], [70_000]);
});

test('text below one full window is refused with both numbers', (t) => {
  t.notThrows(() => requireWindows(cutWindows(corpus, 17), 'the domain x'));
  const error = t.throws(() => requireWindows(cutWindows(corpus, 18), 'the domain x'), { instanceOf: SweetspotError });
  t.is(error.code, 'SWEETSPOT_INPUT');
  t.regex(error.message, /the domain x.*18 tokens.*17 tokens/s);
  for (const T of [0, -1, 1.5, Number.NaN]) t.throws(() => cutWindows(corpus, T), { instanceOf: SweetspotError });
});
