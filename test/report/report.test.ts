// The report: every figure from results that are made here, one page that needs nothing else, and what is missing by name.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { type MachineFile, type ResultRow, type Results, readResults } from '../../ts/experiment/results.js';
import { groupRows, statistics } from '../../ts/experiment/summary.js';
import { logTicks } from '../../ts/report/chart.js';
import { renderPage } from '../../ts/report/page.js';
import { drawReport, writeReport } from '../../ts/report/report.js';
import { PALETTE } from '../../ts/report/style.js';
import { compact, power, toHtml, toMarkdown, toText } from '../../ts/report/table.js';
import { costTable, macroTable } from '../../ts/report/tables.js';

const evaluation = (perplexity: number) => ({
  nll: Math.log(perplexity),
  perplexity,
  bitsPerByte: 1.5,
  tokens: 1000,
  bytes: 4000,
  documents: 10,
  windows: 20,
});

interface Entry {
  readonly method: string;
  readonly clusters?: readonly number[];
  readonly slices?: readonly number[];
  readonly choices?: readonly ResultRow['choice'][];
  readonly teacher?: string;
}

/** Results as a run with this grid would leave them: two domains, two sizes, two seeds, two budgets. */
function synthetic(grid: Readonly<Record<string, Entry>>, domains = ['law <&> "order"', 'sea']): Results {
  const systems: Results['systems'] = Object.entries(grid).flatMap(
    ([name, { method, clusters = [], slices = [], teacher }]) =>
      [1e6, 2e6].flatMap((tokens) =>
        (clusters.length > 0 ? clusters : [undefined]).flatMap((k) =>
          (slices.length > 0 ? slices : [undefined]).map((r) => ({
            name,
            method,
            label: `${name} (tokens ${tokens}${k === undefined ? '' : `, clusters ${k}`}${r === undefined ? '' : `, slices ${r}`})`,
            settings: {
              model: 'small',
              tokens,
              ...(k && { clusters: k }),
              ...(r && { slices: r }),
              ...(teacher && { teacher }),
            },
            varied: ['tokens', ...(clusters.length > 1 ? ['clusters'] : []), ...(slices.length > 1 ? ['slices'] : [])],
          })),
        ),
      ),
  );
  const seeds = [1, 2];
  const sizes = [30_000, 120_000];
  const rows = systems.flatMap(({ name, method, settings }, system): ResultRow[] =>
    seeds.flatMap((seed) =>
      sizes.flatMap((size) =>
        (grid[name]!.choices ?? [null]).flatMap((choice, c) =>
          domains.map((domain, d): ResultRow => {
            const tokens = Number(settings['tokens']);
            const k = Number(settings['clusters'] ?? 0);
            const base = 60 + 10 * d - tokens / 1e5 + seed + c - k / 8 + system;
            const pretraining = { flops: tokens * 1e6, tokens };
            const nothing = { flops: 0, tokens: 0 };
            const own = method === 'importance';
            const never = method === 'domain-only';
            return {
              system,
              seed,
              domain,
              size,
              choice,
              before: never ? null : evaluation(base),
              after: evaluation(base - Math.log10(size)),
              heldout: evaluation(base),
              bestStep: 10,
              steps: 20,
              cluster: k > 0 ? d : null,
              histogram: Array.from({ length: k }, (_, i) => (i === d ? 0.5 : 0.5 / (k - 1))),
              entropy: k > 0 ? 1 + d / 2 : null,
              coverage: k > 0 ? 0.9 - d / 4 : null,
              facts: {},
              generic:
                own || never ? nothing : method === 'distillation' ? { flops: 3 * tokens * 1e6, tokens } : pretraining,
              ...(method === 'distillation' && {
                teacher: {
                  generic: { flops: 2 * tokens * 1e6, tokens },
                  specialization: { flops: size * 5e5, tokens: size / 2 },
                  cells: { generic: ['run-0-1'], specialization: ['tune-1'] },
                },
              }),
              specialization: {
                pretraining: own ? pretraining : nothing,
                choosing: nothing,
                tuning: { flops: size * 1e6, tokens: size },
              },
              pretrainParameters: never ? 0 : 5e5,
              inference: { parameters: 2e5, flops: 4e5 },
              cells: {
                run: never ? null : `run-${system}-${seed}`,
                starts: [`start-${system}-${seed}`],
                tunes: [`tune-${seed}`],
              },
            };
          }),
        ),
      ),
    ),
  );
  const counts = [...new Set(Object.values(grid).flatMap(({ clusters = [] }) => clusters))];
  return {
    format: 'sweetspot-results',
    version: 1,
    name: 'A & B',
    done: rows.length,
    cells: rows.length + 1,
    corpus: { documents: 100, tokens: 1e6, vocabSize: 2048, context: 128 },
    domains,
    sizes,
    seeds,
    systems,
    maps: counts.map((k) => ({
      clusters: k,
      shares: Array.from({ length: k }, () => 1 / k),
      x: Array.from({ length: k }, (_, c) => Math.cos(c)),
      y: Array.from({ length: k }, (_, c) => Math.sin(c)),
      explained: [0.4, 0.2],
      terms: Array.from({ length: k }, (_, c) => [`term${c}`, 'and', 'more']),
    })),
    generic: systems.flatMap(({ method, settings }, system) =>
      ['importance', 'domain-only'].includes(method)
        ? []
        : seeds.map((seed) => ({
            system,
            seed,
            evaluation: evaluation(50 + seed),
            cost: { flops: Number(settings['tokens']) * 1e6, tokens: Number(settings['tokens']) },
            pretrainParameters: 5e5,
            cell: `generic-${system}-${seed}`,
          })),
    ),
    rows,
  };
}

const FULL = synthetic({
  SLM: { method: 'slm' },
  'SLM-is': { method: 'importance', clusters: [8, 16, 64] },
  'SLM-mix': { method: 'mixture', clusters: [4, 8] },
  'SLM-pn': { method: 'projected', clusters: [8, 16], slices: [4, 8], choices: ['histogram', 'frequent', 'all'] },
  'SLM-d': { method: 'distillation', teacher: 'SLM-is' },
  'domain <only>': { method: 'domain-only' },
});
const MACHINE: MachineFile = {
  format: 'sweetspot-machine',
  version: 1,
  cpu: 'a processor',
  cores: 2,
  node: 'v20',
  backend: 'cpu',
  isa: 'avx2',
  measured: Object.fromEntries(['start-0-1', 'tune-1', 'run-0-1'].map((id) => [id, { seconds: 3, peakMemory: 2e8 }])),
};

/** Names of elements that are not closed, or closed where they were not open; good enough for what we write. */
function unbalanced(markup: string): string[] {
  const alone = new Set(['meta', 'br', 'hr', 'img', 'link', '!doctype']);
  const open: string[] = [];
  const wrong: string[] = [];
  const text = markup.replace(/<style[^>]*>[\s\S]*?<\/style>/g, '').replace(/<!--[\s\S]*?-->/g, '');
  for (const [, slash, name, rest] of text.matchAll(/<(\/?)([a-z!][\w:-]*)((?:"[^"]*"|'[^']*'|[^>"'])*)>/gi)) {
    const tag = name!.toLowerCase();
    if (alone.has(tag) || rest!.endsWith('/')) continue;
    if (slash === '') open.push(tag);
    else if (open.pop() !== tag) wrong.push(`</${tag}>`);
  }
  return [...wrong, ...open];
}

test('all figures from complete results, on a page that needs nothing else', async (t) => {
  const content = await drawReport(FULL, MACHINE);
  t.deepEqual(content.missing, []);
  t.deepEqual(
    content.figures.map(({ id }) => id),
    [
      'specialized',
      'generic',
      'total-cost',
      'domains',
      'distillation',
      'expert-choice',
      'importance-clusters',
      'experts',
      'mixture-size',
      'slices',
      'entropy',
      'map',
    ],
  );
  const page = renderPage(content);
  t.deepEqual(unbalanced(page), []);
  // The namespaces of SVG are names, not addresses; nothing else may look like one.
  const addresses = page.replaceAll(/xmlns(:\w+)?="[^"]*"/g, '').match(/https?:|src=|@import|url\((?!#)/g);
  t.is(addresses, null);
  t.notRegex(page, /<script|javascript:|\son\w+=/i);
  t.false(page.includes('NaN') || page.includes('undefined'));
  t.true(page.includes('law &lt;&amp;&gt; &quot;order&quot;'));
  t.false(page.includes('domain <only>'));

  const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id!);
  t.is(new Set(ids).size, ids.length, 'ids are unique');
  for (const [, target] of page.matchAll(/href="#([^"]+)"/g)) t.true(ids.includes(target!), target);
  for (const [, target] of page.matchAll(/url\(#([^)]+)\)/g)) t.true(ids.includes(target!), target);
  const pictures = [...page.matchAll(/<svg [^>]*>/g)].map(([tag]) => tag);
  t.is(pictures.length, 12);
  for (const tag of pictures) t.regex(tag, /role="img" aria-labelledby=/);
  // Colours are variables of the scheme; in the drawings none is left.
  const drawings = page.slice(page.indexOf('<main>'));
  for (const [light] of PALETTE) t.false(drawings.includes(light), light);
  for (const { svg, caption, text } of content.figures) {
    t.deepEqual(unbalanced(svg), []);
    // It stands alone as a file too, and XML is not as patient as HTML.
    for (const [tag] of svg.matchAll(/<[^!?>]*>/g)) t.regex(tag, /^<\/?[\w:-]+(\s+[\w:-]+="[^"<&]*")*\s*\/?>$/);
    t.true(caption.length > 40 && text.length > 20);
  }
  for (const name of ['lower is better', 'less is better', 'FLOPs', 'in-domain tokens'])
    t.true(page.includes(name), name);
});

test('a figure without its data is named, with what to add', async (t) => {
  const content = await drawReport({ ...synthetic({ SLM: { method: 'slm' } }), generic: [], maps: [] }, undefined);
  t.deepEqual(
    content.figures.map(({ id }) => id),
    ['specialized', 'total-cost', 'domains'],
  );
  t.deepEqual(
    content.missing.map(({ id }) => id),
    [
      'generic',
      'distillation',
      'expert-choice',
      'importance-clusters',
      'experts',
      'mixture-size',
      'slices',
      'entropy',
      'map',
    ],
  );
  const page = renderPage(content);
  t.regex(page, /Generic perplexity against generic cost<\/b>: name held-out generic text as corpus\.test/);
  const nothing = await drawReport({ ...FULL, rows: [], generic: [] }, undefined);
  t.deepEqual(nothing.figures, []);
  t.deepEqual(unbalanced(renderPage(nothing)), []);
});

test('files are written, and results that are none are refused', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'sweetspot-report-'));
  t.throws(() => readResults(folder), { code: 'SWEETSPOT_INPUT' });
  writeFileSync(path.join(folder, 'results.json'), JSON.stringify({ ...FULL, version: 2 }));
  t.throws(() => readResults(folder), { code: 'SWEETSPOT_CORRUPT', message: /version/ });
  writeFileSync(path.join(folder, 'results.json'), JSON.stringify(FULL));
  const out = path.join(folder, 'page');
  const { html, markdown, figures } = await writeReport(folder, out);
  t.true(readFileSync(html, 'utf8').startsWith('<!DOCTYPE html>'));
  const text = readFileSync(markdown, 'utf8');
  for (const id of figures) {
    t.true(text.includes(`](figures/${id}.svg)`));
    t.regex(readFileSync(path.join(out, 'figures', `${id}.svg`), 'utf8'), /^<svg/);
  }
  rmSync(folder, { recursive: true });
});

test('a student pays for its teacher, and is shown without it too', async (t) => {
  const content = await drawReport(FULL, MACHINE);
  const figure = content.figures.find(({ id }) => id === 'distillation')!;
  // Two domains and 30,000 in-domain tokens: 3e12 + 2 x 3e10 overall, 1e12 + 2 x 1.5e10 without the teacher.
  t.regex(figure.text, /^30k in-domain tokens: SLM \S+ at 1\.1e\+12, .*SLM-d, overall \S+ at 3\.1e\+12/);
  t.regex(figure.text, /SLM-d, teacher not counted \S+ at 1\.0e\+12/);
  const line = costTable(FULL, MACHINE).rows.find(([name]) => name === 'SLM-d (tokens 1000000)')!;
  t.is(line[2], '3·10¹² (10¹²)');
  t.is(line[5], '3·10¹⁰ (1.5·10¹⁰)');
  // Seconds of its teacher's cells too.
  t.is(line[7], '4.5');
  // Before fine-tuning it is a plain model.
  const before = content.figures[0]!.text.split('30k in-domain tokens')[0]!;
  t.true(before.includes('SLM-mix') && !before.includes('SLM-d'));
});

test('tables: the macro average over domains, then over seeds', (t) => {
  t.deepEqual(statistics([1, 3]), { mean: 2, deviation: Math.SQRT2, seeds: 2 });
  const group = groupRows(FULL)[0]!;
  const perSeed = [1, 2].map((seed) => {
    const mine = group.rows.filter((row) => row.seed === seed);
    return Math.exp(mine.reduce((sum, row) => sum + row.after!.nll, 0) / mine.length);
  });
  t.true(Math.abs(group.after!.mean - (perSeed[0]! + perSeed[1]!) / 2) < 1e-9);
  // A seed with a domain missing does not count.
  const part = groupRows({ ...FULL, rows: FULL.rows.filter((row) => row.seed === 1 || row.domain === 'sea') })[0]!;
  t.is(part.after!.seeds, 1);

  const table = macroTable(FULL);
  t.deepEqual(table.head.slice(0, 5), ['system', 'generic', 'no fine-tuning', '30k', '120k']);
  t.is(table.rows.length, 40);
  const lines = toText(table).split('\n');
  t.is(new Set(lines.map((line) => line.length)).size, 1);
  t.true(
    toMarkdown(table)
      .split('\n')
      .every((line) => line.startsWith('| ') || line.startsWith('|')),
  );
  t.is(
    toHtml({
      head: ['a', 'b'],
      rows: [
        ['x', '9 → 3 ± 1'],
        ['y', '2.5'],
        ['z', '-'],
      ],
      lower: [1],
    }).match(/<b>2\.5<\/b>/g)?.length,
    1,
  );
});

test('numbers for people', (t) => {
  t.deepEqual([compact(999), compact(1234), compact(20e6), compact(1.5e12)], ['999', '1.23k', '20.0M', '1.50T']);
  t.deepEqual([power(0), power(1e11), power(2.46e13), power(2.46e13, 3)], ['0', '10¹¹', '2.5·10¹³', '2.46·10¹³']);
  t.deepEqual(logTicks(12, 29, 300, 60), [15, 20, 25]);
  t.deepEqual(logTicks(1.5e10, 2e12, 300, 60), [3e10, 1e11, 3e11, 1e12]);
  for (const [low, high] of [
    [14.1, 14.9],
    [10, 480],
    [1e9, 1e17],
  ] as const) {
    const ticks = logTicks(low, high, 240, 44);
    t.true(ticks.length >= 2 && ticks.length <= 6, String(ticks));
    t.true(ticks.every((tick) => tick >= low && tick <= high));
  }
});
