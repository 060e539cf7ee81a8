// The table and the picture of a comparison.
import test from 'ava';
import type { ComparedRow } from '../../ts/methods/compare.js';
import { comparisonPicture } from '../../ts/report/picture.js';
import { compact, comparisonTable, toMarkdown, toText } from '../../ts/report/table.js';

const cell = {
  domain: 'law',
  cluster: 3,
  entropy: 0.7,
  coverage: 1,
  perplexityBefore: 30.25,
  perplexityAfter: 20.5,
  bitsPerByteBefore: 1.5,
  bitsPerByteAfter: 1.25,
  finetuneSteps: 10,
  bestStep: 8,
  specializationFlops: 1e9,
  specializationSeconds: 2,
};
const row: ComparedRow = {
  method: 'projected',
  domainTokens: 100_000,
  pretrainParameters: 1_234_567,
  inferenceParameters: 300_000,
  tokens: 20e6,
  flops: 3e13,
  seconds: 61,
  facts: {},
  domains: [cell],
  macro: { perplexityBefore: 30.25, perplexityAfter: 20.5 },
};

test('numbers keep three digits', (t) => {
  t.deepEqual([compact(999), compact(1234), compact(20e6), compact(1.5e12)], ['999', '1.23k', '20.0M', '1.50T']);
});

test('one row a method, columns for every domain, in Markdown and as aligned text', (t) => {
  const table = comparisonTable([row]);
  t.regex(
    toMarkdown(table),
    /\| projected \| 100k \| 1\.23M \| 300k \| 20\.0M \| 3\.00e\+13 \| 61 \| 30\.3 -> 20\.5 \|/,
  );
  const lines = toText(table).split('\n');
  t.is(new Set(lines.map((line) => line.length)).size, 1);
});

test('the picture is an SVG with a name for every method', async (t) => {
  const svg = await comparisonPicture([row, { ...row, method: 'slm', flops: 1e13 }], 'title');
  t.regex(svg, /^<svg/);
  for (const text of ['projected', 'slm', 'title', 'macro perplexity']) t.true(svg.includes(text), text);
});
