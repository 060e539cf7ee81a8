// Results of an experiment. results.json holds what was found and is the same bytes however often, and with however many
// processes, it was computed on a machine; machine.json holds what it took there: seconds and memory, by cell.
// The report and the table of the terminal are made of these two files alone.
import path from 'node:path';
import { SweetspotError } from '../backend/errors.js';
import type { Evaluation } from '../eval/perplexity.js';
import { readJson } from '../methods/run.js';
import type { ZodType } from '../vendor/zod.js';
import type { Choice } from './experiment.js';
import { machineSchema, resultsSchema } from './results_schema.js';

/** FLOPs and training tokens. */
export interface Cost {
  readonly flops: number;
  readonly tokens: number;
}

/** One system on one domain at one size with one seed, with one choice of expert. */
export interface ResultRow {
  /** Index in `systems`. */
  readonly system: number;
  /** Of pretraining and all after it. */
  readonly seed: number;
  /** Name in the file. */
  readonly domain: string;
  /** In-domain tokens asked for. */
  readonly size: number;
  /** How the expert was chosen; null for a method without experts. */
  readonly choice: Choice | null;
  /** On test text, before fine-tuning; null for a model without pretraining. */
  readonly before: Evaluation | null;
  /** On test text, after fine-tuning; null where nothing was fine-tuned. */
  readonly after: Evaluation | null;
  /** After fine-tuning, on the held-out part of the training text. */
  readonly heldout: Evaluation | null;
  /** Step of the weights kept, 0 for the untouched ones; null where nothing was fine-tuned. */
  readonly bestStep: number | null;
  /** Fine-tuning steps done; null where nothing was fine-tuned. */
  readonly steps: number | null;
  /** The expert chosen, or the most frequent cluster. */
  readonly cluster: number | null;
  /** The domain's share of each cluster; empty without clusters. */
  readonly histogram: number[];
  /** Of the histogram, nats. */
  readonly entropy: number | null;
  /** 0 to 1: how much generic text there is where the domain lies (data/clusters.ts). */
  readonly coverage: number | null;
  /** Facts of the pretraining, such as largestRepeat and coefficientSpread. */
  readonly facts: Record<string, number>;
  /** Before any domain is known; shared by all domains. */
  readonly generic: Cost;
  /** For this domain: pretraining (of importance sampling), choosing, fine-tuning. */
  readonly specialization: { readonly pretraining: Cost; readonly choosing: Cost; readonly tuning: Cost };
  /**
   * What of `generic` and `specialization` is not the system's own but its teacher's: pretraining, fine-tuning. Only where there
   * is a teacher; a pretraining that both start from is the system's own. With the cells it took before a domain is known and after.
   */
  readonly teacher?:
    | {
        readonly generic: Cost;
        readonly specialization: Cost;
        readonly cells: { readonly generic: string[]; readonly specialization: string[] };
      }
    | undefined;
  /** Values trained in pretraining. */
  readonly pretrainParameters: number;
  /** Of the model that is served: its parameters, and FLOPs a token. */
  readonly inference: { readonly parameters: number; readonly flops: number };
  /** Cells it is made of, for machine.json. */
  readonly cells: { readonly run: string | null; readonly starts: string[]; readonly tunes: string[] };
}

/** A system of the results: one variant of one of the file's. */
export interface ResultSystem {
  readonly name: string;
  readonly method: string;
  /** Unique. */
  readonly label: string;
  readonly settings: Record<string, unknown>;
  /** Settings in which the variants of this name differ. */
  readonly varied: string[];
  /** Fine-tuning settings of its own, where it has any. */
  readonly finetune?: Record<string, unknown> | undefined;
}

export interface ClusterMap {
  readonly clusters: number;
  /** Of generic text. */
  readonly shares: number[];
  /** Centroids on their two leading principal components, and the share of variance of each. */
  readonly x: number[];
  readonly y: number[];
  readonly explained: number[];
  readonly terms: string[][];
}

/** Perplexity of a whole system on generic text. */
export interface GenericResult {
  readonly system: number;
  readonly seed: number;
  readonly evaluation: Evaluation;
  readonly cost: Cost;
  readonly pretrainParameters: number;
  readonly cell: string;
}

/** What results.json holds: a row a system, domain, size and seed, and what each cost. */
export interface Results {
  /** What kind of file it is. */
  readonly format: 'sweetspot-results';
  /** Of the layout. */
  readonly version: 1;
  /** Title of the experiment. */
  readonly name: string;
  /** Cells done of all. */
  readonly done: number;
  /** Cells of the whole experiment. */
  readonly cells: number;
  /** Size of the generic corpus, in documents and tokens; vocabulary; context T. */
  readonly corpus: {
    readonly documents: number;
    readonly tokens: number;
    readonly vocabSize: number;
    readonly context: number;
  };
  /** Names, in the order of the file. */
  readonly domains: string[];
  /** In-domain tokens, in the order of the file. */
  readonly sizes: number[];
  /** In the order of the file. */
  readonly seeds: number[];
  /** Every variant of every system; rows name them by index. */
  readonly systems: ResultSystem[];
  /** Clusterings that systems used, drawn in two dimensions. */
  readonly maps: ClusterMap[];
  /** Perplexity of whole systems on generic text. */
  readonly generic: GenericResult[];
  /** What was found. */
  readonly rows: ResultRow[];
}

/** What machine.json holds: seconds and memory of every cell, apart from results so that these are the same bytes everywhere. */
export interface MachineFile {
  /** What kind of file it is. */
  readonly format: 'sweetspot-machine';
  /** Of the layout. */
  readonly version: 1;
  /** Name of the processor. */
  readonly cpu: string;
  /** Cores the process could use. */
  readonly cores: number;
  /** Version of Node. */
  readonly node: string;
  /** Backend that computed. */
  readonly backend: string;
  /** Its instruction set. */
  readonly isa: string;
  /** By cell. */
  readonly measured: Record<string, { readonly seconds: number; readonly peakMemory: number | null }>;
}

/**
 * Reads results.json and, where it is there, machine.json of an experiment's folder.
 * @throws SweetspotError SWEETSPOT_INPUT when there are no results; SWEETSPOT_CORRUPT
 */
export function readResults(folder: string): { results: Results; machine: MachineFile | undefined } {
  const results = check(path.join(folder, 'results.json'), resultsSchema)!;
  return { results, machine: check(path.join(folder, 'machine.json'), machineSchema, true) };
}

function check<T>(file: string, schema: ZodType<T>, optional = false): T | undefined {
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
