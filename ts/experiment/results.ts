// Results of an experiment. results.json holds what was found and is the same bytes however often, and with however many
// processes, it was computed on a machine; machine.json holds what it took there: seconds and memory, by cell.
// The report and the table of the terminal are made of these two files alone.
import path from 'node:path';
import * as z from 'zod';
import { SweetspotError } from '../backend/errors.js';
import { readJson } from '../methods/run.js';
import type { CellStore } from './cells.js';
import { costsOf, lineage, teacherPart } from './costs.js';
import type { GenericCellResult, RunCellResult, StartCellResult, TuneCellResult } from './execute.js';
import type { Plan, PlannedRow } from './plan.js';
import { CHOICES, type Experiment } from './schema.js';

const evaluation = z.object({
  /** Mean nats a token. */
  nll: z.number(),
  perplexity: z.number(),
  bitsPerByte: z.number(),
  tokens: z.number(),
  bytes: z.number(),
  documents: z.number(),
  windows: z.number(),
});

/** FLOPs and training tokens. */
const cost = z.object({ flops: z.number(), tokens: z.number() });

const row = z.object({
  /** Index in `systems`. */
  system: z.int(),
  seed: z.number(),
  domain: z.string(),
  /** In-domain tokens asked for. */
  size: z.number(),
  /** How the expert was chosen; null for a method without experts. */
  choice: z.enum(CHOICES).nullable(),
  /** On test text, before fine-tuning (null for a model without pretraining) and after (null where nothing was fine-tuned). */
  before: evaluation.nullable(),
  after: evaluation.nullable(),
  /** After fine-tuning, on the held-out part of the training text. */
  heldout: evaluation.nullable(),
  bestStep: z.number().nullable(),
  steps: z.number().nullable(),
  /** The expert chosen, or the most frequent cluster. */
  cluster: z.number().nullable(),
  histogram: z.array(z.number()),
  /** Of the histogram, nats. */
  entropy: z.number().nullable(),
  /** 0 to 1: how much generic text there is where the domain lies (data/clusters.ts). */
  coverage: z.number().nullable(),
  /** Facts of the pretraining, such as largestRepeat and coefficientSpread. */
  facts: z.record(z.string(), z.number()),
  /** Before any domain is known; shared by all domains. */
  generic: cost,
  /** For this domain: pretraining (of importance sampling), choosing, fine-tuning. */
  specialization: z.object({ pretraining: cost, choosing: cost, tuning: cost }),
  /**
   * What of `generic` and `specialization` is not the system's own but its teacher's: pretraining, fine-tuning. Only where there
   * is a teacher; a pretraining that both start from is the system's own. With the cells it took before a domain is known and after.
   */
  teacher: z
    .object({
      generic: cost,
      specialization: cost,
      cells: z.object({ generic: z.array(z.string()), specialization: z.array(z.string()) }),
    })
    .optional(),
  /** Values trained in pretraining; values and FLOPs a token of the model that is served. */
  pretrainParameters: z.number(),
  inference: z.object({ parameters: z.number(), flops: z.number() }),
  /** Cells it is made of, for machine.json. */
  cells: z.object({ run: z.string().nullable(), starts: z.array(z.string()), tunes: z.array(z.string()) }),
});

const system = z.object({
  name: z.string(),
  method: z.string(),
  /** Unique. */
  label: z.string(),
  settings: z.record(z.string(), z.unknown()),
  /** Settings in which the variants of this name differ. */
  varied: z.array(z.string()),
  /** Fine-tuning settings of its own, where it has any. */
  finetune: z.record(z.string(), z.unknown()).optional(),
});

const clusterMap = z.object({
  clusters: z.number(),
  /** Of generic text. */
  shares: z.array(z.number()),
  /** Centroids on their two leading principal components, and the share of variance of each. */
  x: z.array(z.number()),
  y: z.array(z.number()),
  explained: z.array(z.number()),
  terms: z.array(z.array(z.string())),
});

export const resultsSchema = z.object({
  format: z.literal('sweetspot-results'),
  version: z.literal(1),
  name: z.string(),
  /** Cells done of all. */
  done: z.number(),
  cells: z.number(),
  corpus: z.object({ documents: z.number(), tokens: z.number(), vocabSize: z.number(), context: z.number() }),
  domains: z.array(z.string()),
  sizes: z.array(z.number()),
  seeds: z.array(z.number()),
  systems: z.array(system),
  maps: z.array(clusterMap),
  /** Perplexity of whole systems on generic text. */
  generic: z.array(
    z.object({ system: z.int(), seed: z.number(), evaluation, cost, pretrainParameters: z.number(), cell: z.string() }),
  ),
  rows: z.array(row),
});

export const machineSchema = z.object({
  format: z.literal('sweetspot-machine'),
  version: z.literal(1),
  cpu: z.string(),
  cores: z.number(),
  node: z.string(),
  backend: z.string(),
  isa: z.string(),
  /** By cell. */
  measured: z.record(z.string(), z.object({ seconds: z.number(), peakMemory: z.number().nullable() })),
});

/** What results.json holds: one row a system, domain, size and seed, and what each cost. */
export type Results = z.output<typeof resultsSchema>;
/** One system on one domain with one in-domain size and seed. */
export type ResultRow = Results['rows'][number];
export type ClusterMap = z.output<typeof clusterMap>;
/** What machine.json holds: seconds and memory of every cell, apart from results so that these are the same bytes everywhere. */
export type MachineFile = z.output<typeof machineSchema>;

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

/**
 * Reads results.json and, where it is there, machine.json of an experiment's folder.
 * @throws SweetspotError SWEETSPOT_INPUT when there are no results; SWEETSPOT_CORRUPT
 */
export function readResults(folder: string): { results: Results; machine: MachineFile | undefined } {
  const results = check(path.join(folder, 'results.json'), resultsSchema)!;
  return { results, machine: check(path.join(folder, 'machine.json'), machineSchema, true) };
}

function check<T>(file: string, schema: z.ZodType<T>, optional = false): T | undefined {
  let json: unknown;
  try {
    json = readJson(file);
  } catch (error) {
    if (optional && (error as SweetspotError).code === 'SWEETSPOT_INPUT') return undefined;
    throw error;
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const { path: field, message } = parsed.error.issues[0]!;
  throw new SweetspotError('SWEETSPOT_CORRUPT', {
    what: `${file} is not what its name says`,
    found: `${field.join('.') || 'the whole'}: ${message}`,
    fix: 'run the `sweetspot experiment` that made the folder again; finished cells are kept',
  });
}
