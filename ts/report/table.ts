// The comparison as a table: Markdown for files, aligned columns for a terminal.
import type { ComparedRow } from '../methods/compare.js';

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
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

const pair = (before: number, after: number) => `${before.toFixed(1)} -> ${after.toFixed(1)}`;

/** One row a method and size of in-domain text; perplexities are before -> after fine-tuning. */
export function comparisonTable(rows: readonly ComparedRow[]): Table {
  const domains = rows[0]?.domains.map((cell) => cell.domain) ?? [];
  return {
    head: [
      'method',
      'in-domain',
      'params pretrain',
      'params infer',
      'tokens',
      'pretrain FLOPs',
      'seconds',
      ...domains,
      'macro',
    ],
    rows: rows.map((row) => [
      row.method,
      compact(row.domainTokens),
      compact(row.pretrainParameters),
      compact(row.inferenceParameters),
      compact(row.tokens),
      row.flops === 0 ? '0' : row.flops.toExponential(2),
      row.seconds.toFixed(0),
      ...row.domains.map((cell) => pair(cell.perplexityBefore, cell.perplexityAfter)),
      pair(row.macro.perplexityBefore, row.macro.perplexityAfter),
    ]),
  };
}

/** Which cluster each domain fell in, and how spread it is. */
export function placementTable(rows: readonly ComparedRow[]): Table {
  return {
    head: ['method', 'in-domain', 'domain', 'cluster', 'entropy (nats)', 'best step', 'steps', 'bits per byte'],
    rows: rows.flatMap((row) =>
      row.domains.map((cell) => [
        row.method,
        compact(row.domainTokens),
        cell.domain,
        cell.cluster === null ? '-' : String(cell.cluster),
        cell.cluster === null ? '-' : cell.entropy.toFixed(2),
        String(cell.bestStep),
        String(cell.finetuneSteps),
        `${cell.bitsPerByteBefore.toFixed(3)} -> ${cell.bitsPerByteAfter.toFixed(3)}`,
      ]),
    ),
  };
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
