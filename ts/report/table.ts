// A table, as Markdown for files, as HTML for pages, as aligned columns for a terminal.
export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Columns in which the least figure is the best: pages set it in bold. */
  readonly lower?: readonly number[];
}

/** 1234567 -> "1.23M". */
export function compact(n: number): string {
  for (const [unit, size] of [
    ['T', 1e12],
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const) {
    if (n >= size) return `${(n / size).toPrecision(3)}${unit}`;
  }
  return n.toFixed(0);
}

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** 2e13 -> 2·10¹³. */
export function power(value: number, digits = 2): string {
  if (value === 0) return '0';
  const [factor, exponent] = value.toExponential(digits - 1).split('e') as [string, string];
  const raised = [...String(Number(exponent))].map((digit) => (digit === '-' ? '⁻' : SUPERSCRIPTS[Number(digit)]!));
  const short = String(Number(factor));
  return short === '1' ? `10${raised.join('')}` : `${short}·10${raised.join('')}`;
}

export const toMarkdown = ({ head, rows }: Table): string =>
  [`| ${head.join(' | ')} |`, `|${' --- |'.repeat(head.length)}`, ...rows.map((row) => `| ${row.join(' | ')} |`)].join(
    '\n',
  );

export function toText({ head, rows }: Table): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  return [line(head), widths.map((w) => '-'.repeat(w)).join('  '), ...rows.map(line)].join('\n');
}

/** Text as it may stand in HTML and SVG, attributes included. */
export const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** Row of the least figure of a column; none where fewer than two rows have one. The figure is the last mean: of 30 → 20 ± 1, 20. */
function bestRow({ rows }: Table, column: number): number {
  const values = rows.map((row) => Number.parseFloat(row[column]!.split('→').at(-1)!));
  const known = values.filter(Number.isFinite);
  return known.length < 2 ? -1 : values.indexOf(Math.min(...known));
}

/** The first column heads its row; others hold figures. */
export function toHtml(table: Table): string {
  const { head, rows, lower = [] } = table;
  const best = new Map(lower.map((column) => [column, bestRow(table, column)]));
  const th = head.map((title) => `<th scope="col">${escapeHtml(title)}</th>`).join('');
  const cell = (text: string, row: number, column: number) =>
    best.get(column) === row ? `<td><b>${escapeHtml(text)}</b></td>` : `<td>${escapeHtml(text)}</td>`;
  const body = rows.map(
    ([first, ...rest], i) =>
      `<tr><th scope="row">${escapeHtml(first!)}</th>${rest.map((text, j) => cell(text, i, j + 1)).join('')}</tr>`,
  );
  return `<div class="table" tabindex="0"><table><thead><tr>${th}</tr></thead><tbody>\n${body.join('\n')}\n</tbody></table></div>`;
}
