// writeReport(): from the folder of an experiment to report.html, report.md and a drawing a figure.
// To add a figure: a file in figures/ that gives a Figure or says what is missing, and its place in `FIGURES`.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { type MachineFile, type Results, readResults } from '../experiment/results.js';
import { writeFileAtomic } from '../io/atomic.js';
import { compactCount } from '../io/numbers.js';
import { choiceFigure } from './figures/choice.js';
import { genericFigure, specializedFigure, totalFigure } from './figures/cost.js';
import { distillationFigure } from './figures/distillation.js';
import { domainsFigure } from './figures/domains.js';
import { entropyFigure } from './figures/entropy.js';
import { mapFigure } from './figures/map.js';
import { sweepFigures } from './figures/sweep.js';
import { renderMarkdown } from './markdown.js';
import { type Content, renderPage } from './page.js';
import { costTable, domainTable, macroTable, placementTable } from './tables.js';
import { type DrawFigure, type Figure, type MissingFigure, viewOf } from './view.js';

const FIGURES: readonly DrawFigure[] = [
  specializedFigure,
  genericFigure,
  totalFigure,
  domainsFigure,
  distillationFigure,
  choiceFigure,
  ...sweepFigures,
  entropyFigure,
  mapFigure,
];

/** What a report consists of. */
export interface ReportResult {
  /** Path of the page. */
  readonly html: string;
  /** Path of the tables. */
  readonly markdown: string;
  /** Ids of the figures drawn. */
  readonly figures: readonly string[];
  /** Figures that could not be drawn, and why. */
  readonly missing: readonly MissingFigure[];
}

/**
 * Writes the page, tables and figures of an experiment that has run.
 *
 * @param folder of `runExperiment`, finished or not
 * @param out folder to write; files of an earlier report are replaced
 * @throws SweetspotError SWEETSPOT_INPUT when there are no results, SWEETSPOT_CORRUPT, SWEETSPOT_IO; SWEETSPOT_USAGE when
 *   echarts is not installed
 */
export async function writeReport(folder: string, out: string): Promise<ReportResult> {
  const { results, machine } = readResults(folder);
  const content = await drawReport(results, machine);
  mkdirSync(path.join(out, 'figures'), { recursive: true });
  for (const { id, svg } of content.figures) writeFileAtomic(path.join(out, 'figures', `${id}.svg`), svg);
  const files = { html: path.join(out, 'report.html'), markdown: path.join(out, 'report.md') };
  writeFileAtomic(files.html, renderPage(content));
  writeFileAtomic(
    files.markdown,
    renderMarkdown(content, ({ id }) => `figures/${id}.svg`),
  );
  return { ...files, figures: content.figures.map(({ id }) => id), missing: content.missing };
}

/** Everything a page shows. Throws SWEETSPOT_USAGE when echarts is not installed. */
export async function drawReport(results: Results, machine: MachineFile | undefined): Promise<Content> {
  const view = viewOf(results, machine);
  const drawn: (Figure | MissingFigure)[] = [];
  for (const draw of FIGURES) drawn.push(await draw(view));
  const sizes = results.sizes;
  return {
    results,
    machine:
      machine === undefined
        ? ''
        : `Seconds and memory were measured on ${machine.cores} cores of ${machine.cpu} (${machine.backend}/${machine.isa}, Node ${machine.node}), with whatever else ran there.`,
    headline: {
      id: 'results',
      title: 'Macro perplexity',
      text: `Mean over ${results.domains.join(', ')}, on held-out text, lower is better: on generic text, without fine-tuning (as chosen by ${compactCount(Math.min(...sizes))} in-domain tokens), and after fine-tuning on ${sizes.map(compactCount).join(', ')} in-domain tokens. Costs are FLOPs of training, for a domain the mean over in-domain sizes.`,
      table: macroTable(results),
    },
    figures: drawn.filter((one): one is Figure => 'svg' in one),
    missing: drawn.filter((one): one is MissingFigure => 'add' in one),
    tables: [
      {
        id: 'costs',
        title: 'Costs',
        text: `In three parts: before any domain is known, for a domain (${compactCount(Math.min(...sizes))} in-domain tokens), and for an answer. FLOPs by formula; seconds and peak memory of the process as measured. What a student learns from counts as its own, and in brackets what is left without it; of a model that is served, in brackets what takes part in a token.`,
        table: costTable(results, machine),
      },
      ...sizes.map((size) => ({
        id: `domains-${size}`,
        title: `Perplexity of each domain, ${compactCount(size)} in-domain tokens`,
        text: 'Before → after fine-tuning, on held-out text; lower is better.',
        table: domainTable(results, size),
      })),
      {
        id: 'placement',
        title: 'Where domains lie',
        text: 'The cluster of the expert chosen (or the most frequent one), entropy of the histogram, coverage by generic text, largest repeat of a cluster in importance sampling, spread of the coefficients of a bank, and the best step of fine-tuning (0: it did not help).',
        table: placementTable(results),
      },
    ],
  };
}
