// The form of results.json and machine.json; what the fields mean stands at their types (results.ts).
import type { Evaluation } from '../eval/perplexity.js';
import * as z from '../vendor/zod.js';
import { CHOICES } from './experiment.js';
import type { ClusterMap, Cost, MachineFile, ResultRow, ResultSystem, Results } from './results.js';

const evaluation: z.ZodType<Evaluation> = z.object({
  nll: z.number(),
  perplexity: z.number(),
  bitsPerByte: z.number(),
  tokens: z.number(),
  bytes: z.number(),
  documents: z.number(),
  windows: z.number(),
});

const cost: z.ZodType<Cost> = z.object({ flops: z.number(), tokens: z.number() });

const row: z.ZodType<ResultRow> = z.object({
  system: z.int(),
  seed: z.number(),
  domain: z.string(),
  size: z.number(),
  choice: z.enum(CHOICES).nullable(),
  before: evaluation.nullable(),
  after: evaluation.nullable(),
  heldout: evaluation.nullable(),
  bestStep: z.number().nullable(),
  steps: z.number().nullable(),
  cluster: z.number().nullable(),
  histogram: z.array(z.number()),
  entropy: z.number().nullable(),
  coverage: z.number().nullable(),
  facts: z.record(z.string(), z.number()),
  generic: cost,
  specialization: z.object({ pretraining: cost, choosing: cost, tuning: cost }),
  teacher: z
    .object({
      generic: cost,
      specialization: cost,
      cells: z.object({ generic: z.array(z.string()), specialization: z.array(z.string()) }),
    })
    .optional(),
  pretrainParameters: z.number(),
  inference: z.object({ parameters: z.number(), flops: z.number() }),
  cells: z.object({ run: z.string().nullable(), starts: z.array(z.string()), tunes: z.array(z.string()) }),
});

const system: z.ZodType<ResultSystem> = z.object({
  name: z.string(),
  method: z.string(),
  label: z.string(),
  settings: z.record(z.string(), z.unknown()),
  varied: z.array(z.string()),
  finetune: z.record(z.string(), z.unknown()).optional(),
});

const clusterMap: z.ZodType<ClusterMap> = z.object({
  clusters: z.number(),
  shares: z.array(z.number()),
  x: z.array(z.number()),
  y: z.array(z.number()),
  explained: z.array(z.number()),
  terms: z.array(z.array(z.string())),
});

export const resultsSchema: z.ZodType<Results> = z.object({
  format: z.literal('sweetspot-results'),
  version: z.literal(1),
  name: z.string(),
  done: z.number(),
  cells: z.number(),
  corpus: z.object({ documents: z.number(), tokens: z.number(), vocabSize: z.number(), context: z.number() }),
  domains: z.array(z.string()),
  sizes: z.array(z.number()),
  seeds: z.array(z.number()),
  systems: z.array(system),
  maps: z.array(clusterMap),
  generic: z.array(
    z.object({ system: z.int(), seed: z.number(), evaluation, cost, pretrainParameters: z.number(), cell: z.string() }),
  ),
  rows: z.array(row),
});

export const machineSchema: z.ZodType<MachineFile> = z.object({
  format: z.literal('sweetspot-machine'),
  version: z.literal(1),
  cpu: z.string(),
  cores: z.number(),
  node: z.string(),
  backend: z.string(),
  isa: z.string(),
  measured: z.record(z.string(), z.object({ seconds: z.number(), peakMemory: z.number().nullable() })),
});
