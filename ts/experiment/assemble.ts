// From finished cells to results.
import type { CellStore } from './cells.js';
import { costsOf, lineage, teacherPart } from './costs.js';
import type { GenericCellResult, RunCellResult, StartCellResult, TuneCellResult } from './execute.js';
import type { Experiment } from './experiment.js';
import type { Plan, PlannedRow } from './plan.js';
import type { ClusterMap, ResultRow, Results } from './results.js';

/** Puts together what is done; rows with a cell that is missing are left out. */
export function assembleResults(
  experiment: Experiment,
  plan: Plan,
  store: CellStore,
  facts: { readonly corpus: Omit<Results['corpus'], 'context'>; readonly maps: readonly ClusterMap[] },
): Results {
  // Rows share cells.
  const known = new Map<string, unknown>();
  const read = <T>(id: string): T => {
    if (!known.has(id)) known.set(id, store.read(id).result);
    return known.get(id) as T;
  };
  const done = new Set(plan.cells.filter(({ id }) => store.done(id)).map(({ id }) => id));
  const ready = (row: PlannedRow) =>
    lineage(row).every(({ run, starts, tunes }) =>
      [...(run === null ? [] : [run]), ...starts, ...tunes].every((id) => done.has(id)),
    );
  return {
    format: 'sweetspot-results',
    version: 1,
    name: experiment.name,
    done: done.size,
    cells: plan.cells.length,
    corpus: { ...facts.corpus, context: experiment.corpus.context },
    domains: experiment.domains.map(({ name }) => name),
    sizes: experiment.sizes.map(({ tokens }) => tokens),
    seeds: [...experiment.seeds],
    systems: plan.variants.map(({ system, method, label, settings, varied, entry }) => ({
      name: system,
      method,
      label,
      settings: { ...settings },
      varied: [...varied],
      ...(Object.keys(entry.finetune || {}).length > 0 ? { finetune: { ...entry.finetune } } : {}),
    })),
    maps: [...facts.maps],
    generic: plan.generic
      .filter(({ run, cell }) => done.has(run) && done.has(cell))
      .map(({ variant, seed, run, cell }) => {
        const { flops, tokens, pretrainParameters } = read<RunCellResult>(run);
        const evaluation = read<GenericCellResult>(cell);
        return { system: variant, seed, evaluation, cost: { flops, tokens }, pretrainParameters, cell };
      }),
    rows: plan.rows.filter(ready).map((planned) => assembleRow(plan, planned, read)),
  };
}

function assembleRow(plan: Plan, planned: PlannedRow, read: <T>(id: string) => T): ResultRow {
  const { variant, seed, domain, size, choice, run: runId } = planned;
  const run = runId === null ? undefined : read<RunCellResult>(runId);
  const starts = planned.starts.map((id) => read<StartCellResult>(id));
  const tunes = planned.tunes.map((id) => read<TuneCellResult>(id));
  // Among several candidates the held-out part of the training text decides; the test text must not.
  let best = 0;
  for (const [i, tune] of tunes.entries()) if (tune.heldoutAfter.nll < tunes[best]!.heldoutAfter.nll) best = i;
  const [start, tune] = [starts[best]!, tunes[best]];
  const costs = costsOf(plan, lineage(planned), read);
  const clustered = start.histogram.length > 0;
  return {
    system: variant,
    seed,
    domain,
    size,
    choice,
    before: start.before,
    after: tune?.after ?? null,
    heldout: tune?.heldoutAfter ?? null,
    bestStep: tune?.bestStep ?? null,
    steps: tune?.steps ?? null,
    cluster: start.cluster,
    histogram: [...start.histogram],
    entropy: clustered ? start.entropy : null,
    coverage: start.coverage,
    facts: { ...run?.facts },
    generic: costs.generic,
    specialization: costs.specialization,
    ...(planned.teacher === undefined ? {} : { teacher: teacherPart(plan, planned, costs, read) }),
    pretrainParameters: run?.pretrainParameters ?? 0,
    inference: { parameters: start.inferenceParameters, flops: start.inferenceFlops },
    cells: { run: runId, starts: [...planned.starts], tunes: [...planned.tunes] },
  };
}

/** C_total(N) = C_generic + N C_specialization, in FLOPs, of a row (PAPER, "Four budgets"). */
export function totalCost(row: Pick<ResultRow, 'generic' | 'specialization'>, domains: number): number {
  const { pretraining, choosing, tuning } = row.specialization;
  return row.generic.flops + domains * (pretraining.flops + choosing.flops + tuning.flops);
}
