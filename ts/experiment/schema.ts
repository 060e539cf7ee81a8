// The file of an experiment, section by section. Sections and systems are checked one by one, so that one message can list
// everything that is wrong (read.ts). A setting of a system may be a list: the system then stands for the whole grid.
// To add a setting: give it a line in `settings`, name it in the methods that read it (methods.ts), use it in `pretrainOptions` (plan.ts).
import * as z from 'zod';
import { defined } from '../backend/options.js';
import { PACKINGS } from '../data/sampler.js';
import { parseCount } from '../io/numbers.js';
import { ENSEMBLE, EXPERT_CHOICES } from '../methods/choose.js';
import { PRESET_NAMES, type PresetName } from '../methods/presets.js';
import { loraSettings } from '../nn/lora.js';
import { SLICE_TYPES } from '../nn/parameters.js';
import { SCHEDULE_SHAPES } from '../optim/schedule.js';
import { BALANCES } from '../train/balance.js';
import { PRECISIONS } from '../train/precision.js';

/** A whole number of `least` or more, written as in 4096, 20_000, 1.5k or 10M. */
export const count = (least = 1) =>
  z.union([z.number(), z.string()], 'a whole number, like 4096, 20_000 or 10M').transform((value, context) => {
    const parsed = parseCount(String(value));
    if (parsed === undefined || parsed < least) {
      context.issues.push({
        code: 'custom',
        message: `a whole number from ${least} up, like 4096, 20_000 or 10M`,
        input: value,
      });
      return z.NEVER;
    }
    return parsed;
  });

/** One value, or a list of them. */
const many = <T extends z.ZodType>(one: T) =>
  z.preprocess((value) => (Array.isArray(value) ? value : [value]), z.array(one).min(1));

/** `false`, or what the schema takes. Unlike a union, it says what is wrong inside. */
const orFalse = <T extends z.ZodType>(schema: T) =>
  z.unknown().transform((value, context): z.output<T> | false => {
    if (value === false) return false;
    const { success, data, error } = schema.safeParse(value);
    if (success) return data;
    context.issues.push(...error.issues.map((issue) => ({ ...issue, input: value }) as z.core.$ZodRawIssue));
    return z.NEVER;
  });

const name = z.string().regex(/^[^|\n]{1,60}$/, 'a name of 1 to 60 characters');
const paths = many(z.string().min(1));
const share = z.number().min(0).max(1);
const rate = z.number().positive().max(10);

export const CHOICES = [...EXPERT_CHOICES, ENSEMBLE, 'all'] as const;
/** `all` fine-tunes the expert of every cluster and keeps the best; `ensemble` averages predictions and is not fine-tuned. */
export type Choice = (typeof CHOICES)[number];

/** Every setting of pretraining there is. What each means: `PretrainOptions` (methods/pretrain.ts) and docs/experiments.md. */
export const settings = {
  model: z.string(),
  preset: z.enum(PRESET_NAMES as [PresetName, ...PresetName[]]),
  tokens: count(),
  batchTokens: count(),
  packing: z.enum(PACKINGS as ['stream', 'best-fit']),
  learningRate: rate,
  warmup: count(0),
  weightDecay: z.number().min(0),
  optimizer: z.enum(['adamw', 'muon']),
  schedule: z.enum(SCHEDULE_SHAPES as ['cosine', 'linear', 'constant', 'wsd']),
  zeroOutputs: z.boolean(),
  clip: z.number().min(0),
  precision: z.enum(PRECISIONS as ['fp32', 'bf16']),
  clusters: count(2).refine((k) => k <= 4096, '2 to 4096 clusters'),
  domainTokens: count(2),
  domainShare: z.number().positive().lt(1),
  shrink: share,
  repeatCap: z.number().positive(),
  singleCluster: z.boolean(),
  trunkShare: share,
  slices: count(),
  expertVector: count(),
  projectedLayers: z.array(count(0)),
  shared: z.boolean(),
  bankScale: z.number().min(0).max(10),
  sliceType: z.enum(SLICE_TYPES as ['f32', 'bf16']),
  sliceRank: count(0),
  mlpWidth: count(),
  mixtures: count(),
  support: z.array(count()),
  experts: count(),
  topK: count(),
  normalize: z.boolean(),
  width: count(),
  sharedWidth: count(0),
  routedLayers: z.array(count(0)),
  balance: z.enum(BALANCES as ['loss', 'bias', 'none']),
  teacher: z.string(),
  weight: share,
  temperature: z.number().min(0.1).max(100),
} as const;
export type SettingName = keyof typeof settings;

/** Values of the settings of one system of the grid; those not given have the defaults of `pretrain`. */
export type Settings = { readonly [K in SettingName]?: z.output<(typeof settings)[K]> };

/** Settings that any method reads. */
export const COMMON = [
  'model',
  'preset',
  'tokens',
  'batchTokens',
  'packing',
  'learningRate',
  'warmup',
  'weightDecay',
  'optimizer',
  'schedule',
  'zeroOutputs',
  'clip',
  'precision',
] as const satisfies readonly SettingName[];

/** Settings whose values are lists themselves: a list of lists is a grid, a single one is a value. */
const LISTS = ['projectedLayers', 'support', 'routedLayers'] as const satisfies readonly SettingName[];
const isList = (setting: SettingName): setting is (typeof LISTS)[number] =>
  (LISTS as readonly string[]).includes(setting);

/** The given settings, each one value or a list. */
export const grid = (names: readonly SettingName[]): z.ZodRawShape =>
  Object.fromEntries(
    names.map((setting) => [
      setting,
      isList(setting)
        ? z
            .preprocess(
              (value) => (Array.isArray(value) && !Array.isArray(value[0]) ? [value] : value),
              z.array(settings[setting]).min(1),
            )
            .optional()
        : many(settings[setting]).optional(),
    ]),
  );

export const finetuneShape = {
  epochs: z.number().positive().optional(),
  steps: count().optional(),
  tokens: count().optional(),
  batchTokens: count().optional(),
  /** Of several, the one that is best on held-out text. */
  learningRate: many(rate).optional(),
  patience: count().optional(),
  heldout: z.number().positive().max(0.5).optional(),
  weightDecay: z.number().min(0).optional(),
  /** Low-rank adapters, with their defaults filled; `false`: all parameters, where a broader level says adapters. */
  lora: orFalse(
    z
      .strictObject({
        rank: count()
          .refine((rank) => rank <= 4096, 'a rank of at most 4096')
          .optional(),
        alpha: z.number().positive().optional(),
      })
      .transform((given) => loraSettings(defined(given))),
  ).optional(),
  /** Probability of a row of generic text. */
  replay: z.number().min(0).lt(1).optional(),
};
const finetune = z.strictObject(finetuneShape);
export type Finetune = z.output<typeof finetune>;

const model = z.strictObject({
  hiddenSize: count(),
  layers: count(),
  heads: count(),
  kvHeads: count().optional(),
  headDim: count().optional(),
  intermediateSize: count().optional(),
  qkNorm: z.boolean().optional(),
  logitCap: z.number().min(0).optional(),
  tieEmbeddings: z.boolean().optional(),
});

/** The sections of a file but `systems`, whose schema depends on the method. */
export const sections = {
  name: name.optional(),
  corpus: z.strictObject({
    /** A corpus that exists, instead of `input`. */
    folder: z.string().min(1).optional(),
    input: paths.optional(),
    vocabulary: count(257).optional(),
    trainBytes: count().optional(),
    context: count(),
    /** Held-out generic text. */
    test: paths.optional(),
  }),
  domains: z.array(z.strictObject({ name, train: paths, test: paths })).min(1),
  /** In-domain tokens; each may have fine-tuning settings of its own. */
  sizes: many(
    z.union(
      [count(2).transform((tokens) => ({ tokens, finetune: {} as Finetune })), sized()],
      'a number of tokens, or {tokens, finetune}',
    ),
  ),
  /** Test tokens at most, of each domain and of generic text. */
  testTokens: count().optional(),
  seeds: many(count(0)).optional(),
  models: z.record(z.string().min(1), model).refine((all) => Object.keys(all).length > 0, 'at least one model'),
  pretrain: z.strictObject(grid(COMMON)) as z.ZodType<{ readonly [K in SettingName]?: readonly unknown[] }>,
  /** `false`: nothing is fine-tuned. */
  finetune: orFalse(finetune).optional(),
};

function sized() {
  return z
    .strictObject({ tokens: count(2), finetune: finetune.optional() })
    .transform((size) => ({ tokens: size.tokens, finetune: size.finetune ?? ({} as Finetune) }));
}

export type Sections = { readonly [K in keyof typeof sections]: z.output<(typeof sections)[K]> };
export type ModelSizes = z.output<typeof model>;

/** A system as the file says it, before its lists are expanded. */
export interface SystemEntry {
  readonly name: string;
  readonly method: string;
  readonly expert: readonly Choice[];
  /** Experts of an ensemble at most. */
  readonly ensembleExperts?: number | undefined;
  /** Settings of its own, over those of the experiment and of the size; `false`: it is not fine-tuned. */
  readonly finetune: Finetune | false;
  readonly grid: { readonly [K in SettingName]?: readonly unknown[] };
}

/** Schema of a system of a method that reads `names` and, with `experts`, chooses among them. */
export const systemSchema = (method: string, names: readonly SettingName[], experts: boolean) =>
  z
    .strictObject({
      name,
      method: z.literal(method),
      ...(experts ? { expert: many(z.enum(CHOICES)).optional(), ensembleExperts: count().optional() } : {}),
      finetune: z.preprocess((value) => (value === true ? {} : value), orFalse(finetune)).optional(),
      ...grid([...COMMON, ...names]),
    })
    .transform((all): SystemEntry => {
      const { name, method, expert, ensembleExperts, finetune, ...rest } = all as unknown as SystemEntry['grid'] &
        Partial<SystemEntry>;
      return {
        name: name!,
        method: method!,
        expert: expert ?? ['histogram'],
        ensembleExperts,
        finetune: finetune ?? {},
        grid: rest as SystemEntry['grid'],
      };
    });

/** A whole experiment, with absolute paths. */
export interface Experiment extends Omit<Sections, 'name' | 'seeds' | 'finetune'> {
  /** Title of the report. */
  readonly name: string;
  /** Every cell is done once for each. */
  readonly seeds: readonly number[];
  /** Defaults of fine-tuning for all systems; false: none. */
  readonly finetune: Finetune | false;
  /** Methods with their settings, lists expanded. */
  readonly systems: readonly SystemEntry[];
}
