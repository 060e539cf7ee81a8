// report.html: one file with everything in it, drawings inline, no script and nothing from elsewhere. Follows the light or dark
// scheme of the reader, prints in light, and can be gone through by keyboard.
import type { Results } from '../experiment/results.js';
import { compactCount } from '../io/numbers.js';
import { describeSvg } from './chart.js';
import { schemeVariables } from './style.js';
import { compact, escapeHtml, type Table, toHtml } from './table.js';
import type { Figure, MissingFigure } from './view.js';

export interface Section {
  readonly id: string;
  readonly title: string;
  readonly text: string;
  readonly table: Table;
}

export interface Content {
  readonly results: Results;
  /** One line on the machine; empty when it is not known. */
  readonly machine: string;
  readonly headline: Section;
  readonly figures: readonly Figure[];
  readonly missing: readonly MissingFigure[];
  readonly tables: readonly Section[];
}

/** What a page says about the whole experiment, as pairs of a word and a value. */
export function facts({ results }: Content): [string, string][] {
  const { domains, seeds, sizes, systems, corpus, cells, done } = results;
  const open = cells - done;
  return [
    ['systems', String(systems.length)],
    ['domains', String(domains.length)],
    ['in-domain tokens', sizes.map(compactCount).join(', ')],
    ['seeds', String(seeds.length)],
    ['corpus', `${compact(corpus.tokens)} tokens`],
    ['vocabulary', String(corpus.vocabSize)],
    ['context', String(corpus.context)],
    ['cells', open === 0 ? `${cells}` : `${done} of ${cells}, ${open} still to do`],
  ];
}

export function renderPage(content: Content): string {
  const { results, headline, figures, missing, tables, machine } = content;
  const scheme = schemeVariables();
  const contents = [headline, ...figures, ...tables, ...(missing.length > 0 ? [MISSING] : [])];
  const heading = (id: string, title: string) => `<h2 id="${id}"><a href="#${id}">${escapeHtml(title)}</a></h2>`;
  const section = ({ id, title, text, table }: Section) =>
    `<section aria-labelledby="${id}">${heading(id, title)}\n<p>${escapeHtml(text)}</p>\n${toHtml(table)}</section>`;
  const figure = ({ id, title, caption, text, svg }: Figure) =>
    `<section aria-labelledby="${id}">${heading(id, title)}\n<figure>${scheme.replace(describeSvg(separate(svg, id), id, title, text))}\n<figcaption>${escapeHtml(caption)}</figcaption></figure></section>`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(results.name)} - sweetspot</title>
<style>
:root{${scheme.light}}
@media (prefers-color-scheme: dark){:root{${scheme.dark}}}
@media print{:root{${scheme.light}}}
${STYLE}
</style>
</head>
<body>
<a class="skip" href="#${headline.id}">Skip to the results</a>
<header>
<h1>${escapeHtml(results.name)}</h1>
<dl>${facts(content)
    .map(([word, value]) => `<div><dt>${escapeHtml(word)}</dt><dd>${escapeHtml(value)}</dd></div>`)
    .join('')}</dl>
</header>
<nav aria-label="Contents"><ol>${contents.map(({ id, title }) => `<li><a href="#${id}">${escapeHtml(title)}</a></li>`).join('')}</ol></nav>
<main>
${[section(headline), ...figures.map(figure), ...tables.map(section)].join('\n')}
${
  missing.length === 0
    ? ''
    : `<section aria-labelledby="${MISSING.id}">${heading(MISSING.id, MISSING.title)}\n<ul>${missing.map(({ title, add }) => `<li><b>${escapeHtml(title)}</b>: ${escapeHtml(add)}</li>`).join('')}</ul></section>`
}
</main>
<footer><p>Made by sweetspot from results.json. Perplexity is of held-out text; the macro average is exp of the mean over domains of their nats a token. ± is one standard deviation over seeds. ${escapeHtml(machine)}</p></footer>
</body>
</html>
`;
}

export const MISSING = { id: 'missing', title: 'Not shown' };

/** echarts numbers clip paths from zero in every drawing; in one page they must not meet. */
const separate = (svg: string, id: string): string => svg.replace(/(id="|url\(#)(zr\d+-[^")]+)/g, `$1${id}-$2`);

const STYLE = `
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:1rem}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
header,nav,main,footer{max-width:66rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:2.5rem}
h1{font-size:2rem;line-height:1.2;margin:0 0 1rem;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:0 0 .6rem}
h2 a{color:inherit;text-decoration:none}
h2 a:hover,h2 a:focus-visible{text-decoration:underline}
a{color:var(--c0)}
:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
dl{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:0 0 1.5rem}
dt{color:var(--soft);font-size:.8rem}
dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}
nav ol{columns:18rem;column-gap:2.5rem;margin:0 0 1rem;padding:1rem 1rem 1rem 2.2rem;background:var(--mark);border-radius:.5rem;font-size:.9rem}
nav li{break-inside:avoid}
section{margin:2.5rem 0 0;padding-top:1.5rem;border-top:1px solid var(--grid);break-inside:avoid}
p{max-width:46rem;margin:.4rem 0 1rem}
figure{margin:0}
figure svg{display:block;width:100%;height:auto}
figcaption{max-width:46rem;color:var(--soft);font-size:.9rem;margin-top:.5rem}
.table{overflow-x:auto}
table{border-collapse:collapse;font-size:.84rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}
thead th{white-space:normal;max-width:7rem;color:var(--soft);font-weight:600;vertical-align:bottom;border-bottom:2px solid var(--soft)}
th:first-child{text-align:left;padding-left:.2rem}
tbody th{font-weight:500;position:sticky;left:0;background:var(--back)}
tbody tr:hover,tbody tr:hover th{background:var(--mark)}
footer{color:var(--soft);font-size:.85rem;padding-bottom:3rem;margin-top:2.5rem}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:1rem;background:var(--back);padding:.5rem}
@media print{nav{display:none}body{font-size:11pt}section{border:0}}
`;
