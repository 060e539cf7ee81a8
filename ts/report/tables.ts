// The tables of an experiment: as in the paper, a row a system and a column an in-domain size.
import type { MachineFile, Results } from '../experiment/results.js';
import { average, domainStat, type Group, genericStat, groupRows, type Stat } from '../experiment/summary.js';
import { compactCount } from '../io/numbers.js';
import { compact, power, type Table } from './table.js';

const NONE = '-';
/** 47.41, or with several seeds 47.41 ± 0.63. */
export function stat(value: Stat | null): string {
  if (value === null) return NONE;
  const mean = digits(value.mean);
  return value.seeds > 1 ? `${mean} ± ${value.deviation.toFixed(mean.split('.')[1]?.length ?? 0)}` : mean;
}
/** Four digits. */
const digits = (value: number): string => value.toFixed(value < 100 ? 2 : value < 1000 ? 1 : 0);
const flops = (value: number): string => power(value, 3);
const duration = (seconds: number): string => seconds.toFixed(seconds < 100 ? 1 : 0);

/** Groups that differ in their size only, together. */
function bySystem(results: Results): Group[][] {
  const lines = new Map<string, Group[]>();
  for (const group of groupRows(results)) lines.set(group.label, [...(lines.get(group.label) ?? []), group]);
  return [...lines.values()];
}

const cell = (groups: readonly Group[], size: number, of: (group: Group) => Stat | null): string => {
  const group = groups.find((one) => one.size === size);
  return group === undefined ? NONE : stat(of(group));
};

/** Macro perplexity: generic text, before fine-tuning (by the smallest in-domain size), after it for every size. */
export function macroTable(results: Results): Table {
  const least = Math.min(...results.sizes);
  return {
    head: [
      'system',
      'generic',
      'no fine-tuning',
      ...results.sizes.map(compactCount),
      'generic FLOPs',
      'FLOPs a domain',
    ],
    lower: Array.from({ length: 2 + results.sizes.length }, (_, i) => i + 1),
    rows: bySystem(results).map((groups) => [
      groups[0]!.label,
      stat(genericStat(results, groups[0]!.system)),
      cell(groups, least, (group) => group.before),
      ...results.sizes.map((size) => cell(groups, size, (group) => group.after)),
      flops(groups[0]!.genericFlops),
      flops(average(groups.map((group) => group.domainFlops))),
    ]),
  };
}

/** Perplexity of every domain, before -> after fine-tuning, for one in-domain size. */
export function domainTable(results: Results, size: number): Table {
  return {
    head: ['system', ...results.domains, 'macro'],
    lower: Array.from({ length: results.domains.length + 1 }, (_, i) => i + 1),
    rows: bySystem(results)
      .flatMap((groups) => groups.filter((group) => group.size === size))
      .map((group) => [
        group.label,
        ...results.domains.map((domain) =>
          arrow(domainStat(group, domain, 'before'), domainStat(group, domain, 'after')),
        ),
        arrow(group.before, group.after),
      ]),
  };
}

const arrow = (before: Stat | null, after: Stat | null): string =>
  before === null ? stat(after) : after === null ? stat(before) : `${digits(before.mean)} → ${stat(after)}`;

/** Where domains lie, and what the methods say about themselves; means over seeds. */
export function placementTable(results: Results): Table {
  const placed = groupRows(results).filter(({ rows }) => rows.some((row) => row.entropy !== null));
  const fact = (rows: Group['rows'], name: string): string => {
    const values = rows.flatMap((row) => row.facts[name] ?? []);
    return values.length === 0 ? NONE : average(values).toFixed(2);
  };
  return {
    head: ['system', 'in-domain', 'domain', 'cluster', 'entropy (nats)', 'coverage', 'repeats', 'spread', 'best step'],
    rows: placed.flatMap((group) =>
      results.domains.flatMap((domain) => {
        const rows = group.rows.filter((row) => row.domain === domain);
        if (rows.length === 0) return [];
        const steps = rows.flatMap((row) => row.bestStep ?? []);
        return [
          [
            group.label,
            compactCount(group.size),
            domain,
            [...new Set(rows.map((row) => row.cluster))].join(', '),
            average(rows.map((row) => row.entropy!)).toFixed(2),
            average(rows.map((row) => row.coverage ?? 0)).toFixed(2),
            fact(rows, 'largestRepeat'),
            fact(rows, 'coefficientSpread'),
            steps.length === 0 ? NONE : average(steps).toFixed(0),
          ],
        ];
      }),
    ),
  };
}

type Row = Group['rows'][number];

/** Whether its pretraining was done before any domain was known. */
const ownGeneric = ({ generic, teacher }: Row): boolean => generic.flops > (teacher?.generic.flops ?? 0);

/** Costs in their three parts, for the smallest in-domain size; means over domains and seeds. */
export function costTable(results: Results, machine: MachineFile | undefined): Table {
  const measured = (ids: readonly (string | null)[]) =>
    ids.flatMap((id) => (id === null ? [] : (machine?.measured[id] ?? [])));
  const seconds = (ids: readonly (string | null)[]) => measured(ids).reduce((sum, one) => sum + one.seconds, 0);
  const least = Math.min(...results.sizes);
  return {
    head: [
      'system',
      'trained parameters',
      'generic FLOPs',
      'generic tokens',
      'generic s',
      'FLOPs a domain',
      'tokens a domain',
      's a domain',
      'peak memory',
      'served parameters',
      'served FLOPs a token',
    ],
    rows: groupRows(results)
      .filter((group) => group.size === least)
      .map(({ label, rows, genericFlops, domainFlops, teacher }) => {
        const shared = rows.filter((row) => row.generic.flops > 0);
        // Shared runs are the generic part; a teacher's may be shared where the student's own is not.
        const before = (row: Row) => [
          ...(ownGeneric(row) ? [row.cells.run] : []),
          ...(row.teacher?.cells.generic ?? []),
        ];
        const after = (row: Row) => [
          ...(ownGeneric(row) ? [] : [row.cells.run]),
          ...row.cells.starts,
          ...row.cells.tunes,
          ...(row.teacher?.cells.specialization ?? []),
        ];
        const peaks = rows.flatMap((row) =>
          measured([...before(row), ...after(row)]).flatMap((one) => one.peakMemory ?? []),
        );
        const without = (all: number, part: number) => (part > 0 ? `${flops(all)} (${flops(all - part)})` : flops(all));
        const active = rows.flatMap((row) => row.facts['activeParameters'] ?? []);
        const perDomain = (row: (typeof rows)[number]) =>
          row.specialization.pretraining.tokens + row.specialization.tuning.tokens;
        return [
          label,
          compact(average(rows.map((row) => row.pretrainParameters))),
          without(genericFlops, teacher.genericFlops),
          shared.length === 0 ? '0' : compact(average(shared.map((row) => row.generic.tokens))),
          machine === undefined
            ? NONE
            : shared.length === 0
              ? '0'
              : duration(average(shared.map((row) => seconds(before(row))))),
          without(domainFlops, teacher.domainFlops),
          compact(average(rows.map(perDomain))),
          machine === undefined ? NONE : duration(average(rows.map((row) => seconds(after(row))))),
          peaks.length === 0 ? NONE : `${(Math.max(...peaks) / 1e6).toFixed(0)} MB`,
          `${compact(average(rows.map((row) => row.inference.parameters)))}${active.length === 0 ? '' : ` (${compact(average(active))})`}`,
          flops(average(rows.map((row) => row.inference.flops))),
        ];
      }),
  };
}
