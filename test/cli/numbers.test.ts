import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { duration, figure, quote, short, table } from '../../ts/cli/format.js';
import { count, list, real } from '../../ts/cli/numbers.js';
import { workLine } from '../../ts/cli/progress.js';

test('counts are read as people type them', (t) => {
  const read = count('--tokens');
  const cases: Record<string, number> = {
    '1': 1,
    '4096': 4096,
    '20_000': 20_000,
    '1.5k': 1500,
    '10M': 10_000_000,
    '10m': 10_000_000,
    '2G': 2_000_000_000,
    '1B': 1_000_000_000,
    '1e6': 1_000_000,
    '4.35k': 4350,
    '1.005k': 1005,
    ' 7 ': 7,
  };
  for (const [text, value] of Object.entries(cases)) t.is(read(text), value, text);
  t.is(count('--seed', 0)('0'), 0);
});

test('other counts are refused by the name of the flag', (t) => {
  for (const text of [
    '',
    '0',
    '-1',
    '1.5',
    '1.0005k',
    'ten',
    '10Q',
    '10 M',
    'NaN',
    'Infinity',
    '0x10',
    '_5',
    '1e300',
    '9e15M',
  ]) {
    const error = t.throws(() => count('--tokens')(text), { instanceOf: SweetspotError }, text);
    t.is(error.code, 'SWEETSPOT_USAGE');
    t.regex(error.message, /--tokens/);
    t.is(error.found, text);
  }
});

test('decimal numbers and lists', (t) => {
  t.is(real('--shrink')('1e-3'), 1e-3);
  t.is(real('--shrink')('-0.5'), -0.5);
  for (const text of ['', 'x', '1,5', 'NaN', 'Infinity'])
    t.throws(() => real('--shrink')(text), { message: /--shrink/ }, text);
  t.deepEqual(list('--projected-layers')('0, 1,12'), [0, 1, 12]);
  for (const text of ['', '1,', '1.5', '-1', 'a']) {
    t.throws(() => list('--projected-layers')(text), { message: /--projected-layers/ }, text);
  }
});

test('numbers and durations for people', (t) => {
  const numbers = [0, 5, 999, 999.4, 999.6, 1000, 1234, 12_345, 999_499, 999_600, 1_234_567, 4.2e9, 1e12, Number.NaN];
  const texts = ['0', '5', '999', '999', '1k', '1k', '1.23k', '12.3k', '999k', '1M', '1.23M', '4.2G', '1T', '?'];
  t.deepEqual(numbers.map(short), texts);
  const seconds = [0.25, 9.94, 10, 59.6, 80, 3599, 3600, 7500, 86_399, 86_400, 273_600, Number.POSITIVE_INFINITY];
  t.deepEqual(seconds.map(duration), [
    '0.3 s',
    '9.9 s',
    '10 s',
    '1 min 0 s',
    '1 min 20 s',
    '59 min 59 s',
    '1 h 0 min',
    '2 h 5 min',
    '1 d 0 h',
    '1 d 0 h',
    '3 d 4 h',
    '?',
  ]);
  t.deepEqual([1.23456, 123.456, 1e7, Number.NaN].map(figure), ['1.235', '123.5', '1.000e+7', '?']);
});

test('tables are aligned and commands quoted', (t) => {
  const lines = table(
    ['name', 'n'],
    [
      ['a', '1'],
      ['longer', '234'],
    ],
    ['name'],
  );
  t.deepEqual(lines, ['name      n', 'a         1', 'longer  234']);
  t.deepEqual(['runs/a', 'The court', "it's", '', '$HOME'].map(quote), [
    'runs/a',
    "'The court'",
    `'it'\\''s'`,
    "''",
    "'$HOME'",
  ]);
});

test('the progress line says what is known, and the bar takes the room that is left', (t) => {
  const work = {
    stage: 'main',
    done: 2_500_000,
    total: 10e6,
    unit: 'tokens',
    loss: 4.2,
    rate: 50_000,
    secondsLeft: 150,
  } as const;
  const figures = '  25%  2.5M/10M tokens  50k/s  loss 4.200  2 min 30 s left';
  t.is(workLine(work, 200), `main [======                  ]${figures}`);
  t.is(workLine(work, 79).length, 79);
  t.is(workLine(work, 60), `main${figures}`);
  t.is(workLine({ stage: 'encode', done: 1500, unit: 'bytes' }, 79), 'encode  1.5k bytes');
  const stalled = workLine(
    { stage: 'a', done: 0, total: 9, unit: 'steps', rate: 0, secondsLeft: Number.POSITIVE_INFINITY },
    79,
  );
  t.false(/left|NaN|\?/.test(stalled));
});
