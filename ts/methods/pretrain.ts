// pretrain(): everything before a domain is known (for importance sampling: after). Checks all it is given, prepares the
// run folder, and hands over to the method's own file.
import { type Backend, SweetspotError } from '../backend/index.js';
import { defined } from '../backend/options.js';
import { type Clusters, genericHistogram, loadClusters, saveClustering } from '../data/clusters.js';
import { Corpus, domainCorpus } from '../data/corpus.js';
import { loadEmbedder } from '../data/embedder.js';
import { type MixtureOptions, PACKINGS, type Packing } from '../data/sampler.js';
import { capRepeats } from '../data/weights.js';
import { cutWindows, requireWindows } from '../data/windows.js';
import { type BankConfig, bankConfig, type TransformerConfig, transformerConfig } from '../models/config.js';
import { denseParameterCount } from '../models/cost.js';
import { ADAMW, type AdamWSettings } from '../optim/adamw.js';
import { MUON, type MuonSettings } from '../optim/muon.js';
import { SCHEDULE_SHAPES, type Schedule, type ScheduleShape } from '../optim/schedule.js';
import { choosePrecision, type Precision } from '../train/precision.js';
import type { OnProgress } from '../train/progress.js';
import { requireTrunk } from './bank.js';
import { branch, requireBranch } from './branch.js';
import { domainHistogram, type MethodResult, oneHot, type PretrainContext, textHash } from './context.js';
import { embeddingSize, pretrainHypernetwork } from './hypernetwork.js';
import { pretrainImportance } from './importance.js';
import { pretrainMixture } from './mixture.js';
import { type PresetName, presetOf, withPreset } from './presets.js';
import { pretrainProjected } from './projected.js';
import { pretrainRouted, type RoutedOptions, routedModel } from './routed.js';
import { METHODS, type Method, openRun, type RunConfig, RunFolder, type RunResult, startedPrecision } from './run.js';
import { pretrainSlm } from './slm.js';
import { pretrainSoup } from './soup.js';
import { splitHeldout } from './specialize.js';

/** Those of RoutedOptions are for routed. */
export interface PretrainOptions extends RoutedOptions {
  /** Where to compute. */
  readonly backend: Backend;
  /** One of METHODS. */
  readonly method: Method;
  /** Corpus folder, from buildCorpus; clustered for every method but slm and routed. */
  readonly corpus: string;
  /** Run folder to make, or to go on with. */
  readonly out: string;
  /** Pretraining tokens. */
  readonly tokens: number;
  /** Sizes of the small model; the vocabulary comes from the corpus. Default: width 64, 4 layers, 4 heads, context 256. */
  readonly model?: Partial<Omit<TransformerConfig, 'vocabSize' | 'moe'>> | undefined;
  /** Bank of projected network, soup and hyper-network; experts is always the number of clusters. */
  readonly bank?: Partial<Omit<BankConfig, 'experts' | 'conditioning' | 'conditionSize'>> | undefined;
  /** Soup: histograms drawn for a step (default 4) and the sizes of their support (default 1, 2, 4, 8). */
  readonly mixtures?: Partial<MixtureOptions> | undefined;
  /** Which clustering of the corpus. Default 16. */
  readonly clusters?: number | undefined;
  /** Text of the domain (file or folder), for importance sampling and domainShare. */
  readonly domain?: string | readonly string[] | undefined;
  /** Tokens of the domain to use at most. */
  readonly domainTokens?: number | undefined;
  /** Importance sampling: weight of the generic histogram in the sampled one, 0 to 1. Default 0. */
  readonly shrink?: number | undefined;
  /** Importance sampling: passes over any cluster's text at most. Default: no limit. */
  readonly repeatCap?: number | undefined;
  /** Importance sampling: only the domain's most frequent cluster. Default false. */
  readonly singleCluster?: boolean | undefined;
  /** SLM: probability of a row of the domain's text from the start, below 1. Default 0. */
  readonly domainShare?: number | undefined;
  /** With domainShare: share of the domain's documents to leave out, those that `specialize` holds out. Default 0: none. */
  readonly domainHeldout?: number | undefined;
  /** Finished run with the same settings but fewer tokens, schedule 'wsd': goes on from the end of its plateau. */
  readonly from?: string | undefined;
  /**
   * Share of the tokens that train the plain small model first, which the rest grows from. Mixture: default 0.5, 0 is the
   * paper's form. Bank with a shared slice: below 1, default 0.
   */
  readonly trunkShare?: number | undefined;
  /** A recipe by name (presets.ts): settings for what is not given here. Default: none, the defaults below. */
  readonly preset?: PresetName | undefined;
  /** Tokens a step. Default 4096. */
  readonly batchTokens?: number | undefined;
  /** How windows make rows of a batch: as they come, or so that less is cut off. Default stream: as they come. */
  readonly packing?: Packing | undefined;
  /** Peak learning rate. Default 0.008 at width 64, falling as the square root of the width. */
  readonly learningRate?: number | undefined;
  /** The peak as a multiple of its default, where `learningRate` is not given. Default 1. */
  readonly rateScale?: number | undefined;
  /** Steps of linear warm-up at most; never more than a twentieth of all. Default 200. */
  readonly warmup?: number | undefined;
  /** How the rate falls after its peak. Default cosine. */
  readonly schedule?: ScheduleShape | undefined;
  /** Both projections into the residual stream start at zero. Default false. */
  readonly zeroOutputs?: boolean | undefined;
  /** Settings of the optimizer that differ from the defaults. */
  readonly adamw?: Partial<AdamWSettings> | undefined;
  /** Muon for the matrices inside the layers, with AdamW for the rest; {} for its defaults, null for AdamW for all, the default. */
  readonly muon?: Partial<MuonSettings> | null | undefined;
  /**
   * Of the matrix products of training. Default: that of the run to go on with; else bf16 where the processor has
   * instructions for it, and fp32 elsewhere.
   */
  readonly precision?: Precision | undefined;
  /** Equal seeds give equal bits. Default 0. */
  readonly seed?: number | undefined;
  /** Called after every step. */
  readonly onProgress?: OnProgress | undefined;
  /** Ends the work with SWEETSPOT_ABORTED, after a checkpoint: the same call goes on from there. */
  readonly signal?: AbortSignal | undefined;
}

/** Methods that take the corpus as it comes. */
const CLUSTERLESS: readonly Method[] = ['slm', 'routed'];

const DEFAULT_MODEL = { hiddenSize: 64, layers: 4, heads: 4, contextLength: 256 };

/** The peak asked for, or the multiple asked for of one that suits AdamW at these widths. */
export const peakRate = (
  { learningRate, rateScale = 1 }: Pick<PretrainOptions, 'learningRate' | 'rateScale'>,
  hiddenSize: number,
): number => learningRate ?? rateScale * 0.008 * Math.sqrt(64 / hiddenSize);

const usage = (what: string, expected: string, found: unknown): never => {
  throw new SweetspotError('SWEETSPOT_USAGE', { what, expected, found: String(found) });
};

/**
 * Trains by one method into a run folder; an interrupted run goes on where it stopped.
 * Throws SWEETSPOT_USAGE, _INPUT, _MISMATCH, _EXISTS, _LOCKED before anything is changed, SWEETSPOT_ABORTED on interrupt.
 */
export async function pretrain(given: PretrainOptions): Promise<RunResult> {
  const options = withPreset(presetOf(given.preset), given);
  const { method, backend } = options;
  if (!METHODS.includes(method)) usage('no such method', METHODS.join(', '), method);
  if (!(options.tokens >= 1 && options.tokens <= 1e15))
    usage('the number of pretraining tokens', '1 to 1e15', options.tokens);
  for (const [name, value] of Object.entries({
    shrink: options.shrink,
    trunkShare: options.trunkShare,
    domainShare: options.domainShare,
  })) {
    if (value !== undefined && !(value >= 0 && value <= 1)) usage(name, '0 to 1', value);
  }
  if ((method === 'importance' || options.domainShare !== undefined) && options.domain === undefined) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `${method === 'importance' ? 'importance sampling' : 'a share of domain text'} needs text of the domain before pretraining`,
      fix: 'give --domain, or choose projected, mixture or slm',
    });
  }
  using corpus = Corpus.open(options.corpus);
  const tokenizer = corpus.tokenizer();
  const dense = transformerConfig({ ...DEFAULT_MODEL, ...defined(options.model), vocabSize: tokenizer.vocabSize });
  const { model, balance } = method === 'routed' ? routedModel(dense, options) : { model: dense, balance: null };
  const windows = cutWindows(corpus, model.contextLength);
  requireWindows(windows, `the corpus ${options.corpus}`);
  const clusters = CLUSTERLESS.includes(method) ? undefined : loadClusters(options.corpus, options.clusters ?? 16);
  if (clusters !== undefined && clusters.contextLength !== model.contextLength) {
    throw new SweetspotError('SWEETSPOT_MISMATCH', {
      what: 'the corpus was clustered in windows of another length',
      expected: `${model.contextLength} tokens, the context of the model`,
      found: `${clusters.contextLength} tokens`,
      fix: `cluster with --context ${model.contextLength}, or train with --context ${clusters.contextLength}`,
    });
  }
  const batchTokens = options.batchTokens ?? 4096;
  const batch = Math.round(batchTokens / model.contextLength);
  if (!(batch >= 1 && batch <= 65536))
    usage('batch tokens', `at least one window of ${model.contextLength}`, batchTokens);
  const learningRate = peakRate(options, model.hiddenSize);
  if (!(learningRate > 0 && learningRate < 10)) usage('the learning rate', 'above 0', learningRate);
  if (options.schedule !== undefined && !SCHEDULE_SHAPES.includes(options.schedule))
    usage('the schedule', SCHEDULE_SHAPES.join(', '), options.schedule);
  if (options.packing !== undefined && !PACKINGS.includes(options.packing))
    usage('the packing', PACKINGS.join(', '), options.packing);
  const { warmup = 200 } = options;
  if (!Number.isInteger(warmup) || warmup < 0) usage('steps of warm-up', 'a whole number from 0 up', warmup);
  const steps = Math.max(1, Math.round(options.tokens / (batch * model.contextLength)));
  const from = options.from === undefined ? undefined : openRun(options.from);
  const schedule: Schedule = {
    shape: options.schedule ?? 'cosine',
    peak: learningRate,
    warmup: from?.config.schedule.warmup ?? Math.min(warmup, Math.ceil(steps / 20)),
    floor: 0.1,
  };
  const domainShare = method === 'slm' ? (options.domainShare ?? 0) : 0;
  const wantsDomain = method === 'importance' || domainShare > 0;
  let domain = !wantsDomain
    ? undefined
    : await domainCorpus(options.domain!, tokenizer, { maxTokens: options.domainTokens, signal: options.signal });
  if (domainShare > 0) {
    requireWindows(cutWindows(domain!, model.contextLength), 'the domain');
    const heldout = options.domainHeldout ?? 0;
    if (!(heldout >= 0 && heldout <= 0.5)) usage('domainHeldout', '0 to 0.5', heldout);
    if (heldout > 0) domain = splitHeldout(domain!, heldout, model.contextLength).train;
  }
  const bank = bankOf(method, model, options, clusters);
  const trunkShare = options.trunkShare ?? (method === 'mixture' ? 0.5 : 0);
  if (bank !== null) requireTrunk(bank, trunkShare);
  const embedder = clusters === undefined ? undefined : loadEmbedder(options.corpus, backend);
  const config: RunConfig = {
    format: 'sweetspot-run',
    version: 1,
    method,
    tokenizerHash: corpus.tokenizerHash,
    model,
    bank,
    mixtures: method === 'soup' ? mixturesOf(options.mixtures, batch) : null,
    clusters: clusters?.count ?? 0,
    tokens: options.tokens,
    batch,
    packing: options.packing ?? 'stream',
    adamw: { ...ADAMW, ...defined(options.adamw) },
    muon: options.muon == null ? null : { ...MUON, ...defined(options.muon) },
    schedule,
    balance,
    zeroOutputs: options.zeroOutputs ?? false,
    precision: choosePrecision(backend, options.precision ?? startedPrecision(options.out)),
    seed: options.seed ?? 0,
    trunkShare: method === 'mixture' || bank !== null ? trunkShare : 0,
    domainShare,
    domain: domainShare > 0 ? textHash(domain!) : null,
    histogram:
      method === 'importance'
        ? importanceHistogram(
            await domainHistogram(backend, clusters!, embedder!, domain!, options.signal),
            clusters!,
            {
              ...options,
              tokens: steps * batch * model.contextLength,
            },
          )
        : null,
  };
  if (from !== undefined) requireBranch(from, config);
  using run = RunFolder.take(options.out, config);
  if (from !== undefined) branch(from, run);
  tokenizer.save(`${run.path}/tokenizer.json`);
  if (clusters !== undefined) saveClustering(run.path, clusters, embedder!);
  const context: PretrainContext = {
    backend,
    run,
    corpus,
    windows,
    clusters,
    domain,
    onProgress: options.onProgress,
    signal: options.signal,
  };
  const result = await methods[method](context);
  const done: RunResult = {
    method,
    pretrainParameters: result.pretrainParameters,
    inferenceParameters: denseParameterCount(model),
    tokens: result.tokens,
    flops: result.flops,
    seconds: result.seconds,
    loss: result.loss,
    facts: result.facts,
  };
  run.complete(done);
  return done;
}

const methods: Record<Method, (context: PretrainContext) => Promise<MethodResult>> = {
  slm: pretrainSlm,
  importance: pretrainImportance,
  mixture: pretrainMixture,
  projected: pretrainProjected,
  soup: pretrainSoup,
  hypernetwork: pretrainHypernetwork,
  routed: pretrainRouted,
};

/** The bank of a method that has one. */
function bankOf(
  method: Method,
  model: TransformerConfig,
  options: PretrainOptions,
  clusters: Clusters | undefined,
): BankConfig | null {
  if (clusters === undefined) return null;
  const given = { ...options.bank, experts: clusters.count };
  if (method === 'projected') return bankConfig(model, given);
  if (method === 'soup') return bankConfig(model, { ...given, conditioning: 'histogram' });
  if (method === 'hypernetwork')
    return bankConfig(model, { ...given, conditioning: 'embedding', conditionSize: embeddingSize(clusters) });
  return null;
}

function mixturesOf(given: Partial<MixtureOptions> | undefined, batch: number): MixtureOptions {
  const mixtures = { count: Math.min(4, batch), support: [1, 2, 4, 8], ...defined(given) };
  if (!Number.isInteger(mixtures.count) || mixtures.count < 1 || mixtures.count > batch)
    usage('histograms a step', `a whole number from 1 to ${batch}, the windows of a step`, mixtures.count);
  if (mixtures.support.length === 0 || mixtures.support.some((s) => !Number.isInteger(s) || s < 1 || s > 4096))
    usage('sizes of the support of a histogram', 'whole numbers from 1 to 4096', mixtures.support);
  return mixtures;
}

/**
 * What importance sampling draws clusters by: the domain's histogram or its most frequent cluster, shrunk towards the generic one,
 * (1 - eps) h + eps generic, with repeats capped. Clusters without a generic window get nothing.
 */
function importanceHistogram(
  histogram: Float64Array,
  clusters: Clusters,
  {
    shrink = 0,
    repeatCap,
    singleCluster,
    tokens,
  }: Pick<PretrainOptions, 'shrink' | 'repeatCap' | 'singleCluster' | 'tokens'>,
): number[] {
  const generic = genericHistogram(clusters);
  const present = histogram.map((h, c) => (generic[c]! > 0 ? h : 0));
  const frequent = present.indexOf(Math.max(...present));
  const wanted = singleCluster === true ? Float64Array.from(oneHot(present.length, frequent)) : present;
  const mixed = wanted.map((h, c) => (1 - shrink) * h + shrink * generic[c]!);
  const total = mixed.reduce((a, b) => a + b, 0);
  const shares = mixed.map((h) => h / total);
  return Array.from(
    repeatCap === undefined ? shares : capRepeats(shares, clusters.tokensPerCluster, tokens, repeatCap),
  );
}
