// What tables and figures show: rows of results put together over domains (macro average: every domain weighs the same, PAPER,
// "What is measured") and over seeds (mean, standard deviation).
import { macroAverage } from '../eval/perplexity.js';
import { totalCost } from './assemble.js';
import type { Choice } from './experiment.js';
import type { ResultRow, Results } from './results.js';

/** Over seeds. */
export interface Stat {
  readonly mean: number;
  /** Standard deviation with n - 1; 0 for one seed. */
  readonly deviation: number;
  readonly seeds: number;
}

/** A system of the grid with one way of choosing and one in-domain size: a cell of the paper's tables. */
export interface Group {
  /** Index in `results.systems`. */
  readonly system: number;
  /** The system's label, with the choice where there are several. */
  readonly label: string;
  readonly choice: Choice | null;
  readonly size: number;
  readonly rows: readonly ResultRow[];
  /** Macro perplexity over all domains; null where a domain is missing or nothing was measured. */
  readonly before: Stat | null;
  readonly after: Stat | null;
  /** FLOPs before any domain is known, and for a domain (mean over domains); over seeds the mean. */
  readonly genericFlops: number;
  readonly domainFlops: number;
  /** What of both is a teacher's; 0 where nobody teaches. */
  readonly teacher: { readonly genericFlops: number; readonly domainFlops: number };
}

export function statistics(values: readonly number[]): Stat | null {
  const n = values.length;
  if (n === 0) return null;
  const mean = average(values);
  const deviation = n > 1 ? Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1)) : 0;
  return { mean, deviation, seeds: n };
}

export const average = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Groups in the order of systems, choices, sizes. */
export function groupRows(results: Results): Group[] {
  const keys = new Map<string, ResultRow[]>();
  for (const row of results.rows) {
    const key = JSON.stringify([row.system, row.choice, row.size]);
    keys.set(key, [...(keys.get(key) ?? []), row]);
  }
  const several = (system: number) =>
    new Set(results.rows.filter((row) => row.system === system).map((row) => row.choice)).size > 1;
  const groups = [...keys.values()].map((rows): Group => {
    const { system, choice, size } = rows[0]!;
    const name = results.systems[system]!.label;
    return {
      system,
      label: choice !== null && several(system) ? `${name}, ${choice}` : name,
      choice,
      size,
      rows,
      before: macro(results, rows, (row) => row.before),
      after: macro(results, rows, (row) => row.after),
      genericFlops: average(rows.map((row) => row.generic.flops)),
      domainFlops: average(rows.map((row) => totalCost(row, 1) - row.generic.flops)),
      teacher: {
        genericFlops: average(rows.map((row) => row.teacher?.generic.flops ?? 0)),
        domainFlops: average(rows.map((row) => row.teacher?.specialization.flops ?? 0)),
      },
    };
  });
  return groups.sort((a, b) => a.system - b.system);
}

/** Over seeds, of the macro perplexity of those seeds for which every domain is there. */
function macro(results: Results, rows: readonly ResultRow[], of: (row: ResultRow) => ResultRow['before']): Stat | null {
  const perSeed = results.seeds.flatMap((seed) => {
    const evaluations = rows.filter((row) => row.seed === seed).map(of);
    const all = evaluations.filter((one) => one !== null);
    return all.length === results.domains.length ? [macroAverage(all).perplexity] : [];
  });
  return statistics(perSeed);
}

/** Perplexity of one domain over seeds. */
export const domainStat = (group: Group, domain: string, of: 'before' | 'after'): Stat | null =>
  statistics(group.rows.filter((row) => row.domain === domain).flatMap((row) => row[of]?.perplexity ?? []));

/** Perplexity of a system on generic text, over seeds. */
export const genericStat = (results: Results, system: number): Stat | null =>
  statistics(results.generic.filter((one) => one.system === system).map((one) => one.evaluation.perplexity));
