// The sizes of a model, checked once. The dense transformer is the Llama layout; with qkNorm it is the Qwen3 layout.
import { SweetspotError } from '../backend/errors.js';
import { defined } from '../backend/options.js';
import { SLICE_TYPES, type SliceType } from '../nn/parameters.js';

/** Sizes of a transformer of the Llama layout. */
export interface TransformerConfig {
  /** V: rows of the embedding, at least those of the tokenizer. */
  readonly vocabSize: number;
  /** Width C. */
  readonly hiddenSize: number;
  /** Feed-forward width F. */
  readonly intermediateSize: number;
  /** Blocks of attention and feed-forward. */
  readonly layers: number;
  /** Query heads H. */
  readonly heads: number;
  /** Key and value heads; fewer than H is grouped-query attention. */
  readonly kvHeads: number;
  /** D: width of a head. */
  readonly headDim: number;
  /** Longest sequence T the model is trained on. */
  readonly contextLength: number;
  /** Base of the rotary position embedding. Default 10,000. */
  readonly ropeTheta: number;
  /** Added to the mean square in RMS norms. Default 1e-5. */
  readonly normEps: number;
  /** One matrix for embedding and output layer. */
  readonly tieEmbeddings: boolean;
  /** RMS norm on query and key heads. */
  readonly qkNorm: boolean;
  /** Logits are bent towards +-logitCap before the softmax: cap tanh(x / cap) (Gemma 2); 0: they are not. */
  readonly logitCap: number;
  /** Feed-forward blocks in which a router sends every token to a few of many experts; null: all are dense. */
  readonly moe: MoeConfig | null;
}

/** Softmax-routed mixture layers (models/moe.ts). How their load is kept even belongs to training: train/balance.ts. */
export interface MoeConfig {
  /** E: experts of a layer. */
  readonly experts: number;
  /** k: experts of a token. */
  readonly topK: number;
  /** Weights of the k sum to 1 (Mixtral); without, they are those of the softmax over all experts (Switch). */
  readonly normalize: boolean;
  /** Feed-forward width of one expert. */
  readonly width: number;
  /** Feed-forward width of an expert that every token passes; 0 for none. */
  readonly sharedWidth: number;
  /** Whether a bias steers the choice, and nothing else (DeepSeek-V3). */
  readonly biased: boolean;
  /** Layers that are routed; the others are dense. */
  readonly layers: readonly number[];
}

/**
 * What the weights of a group of windows are generated from: its cluster, through a table of expert vectors (projected
 * network); a histogram over clusters, through an MLP (soup of experts); an embedding, through an MLP (hyper-network).
 */
export type Conditioning = 'cluster' | 'histogram' | 'embedding';

/** Sizes and kind of a bank of experts: W = S + sum_r c_r T_r. All but experts and slices have defaults. */
export interface BankConfig {
  /** R (h in the paper): slices of every projected matrix; sets the capacity of the bank. */
  readonly slices: number;
  /** K (k in the paper): experts, one a cluster. */
  readonly experts: number;
  /** m: length of an expert's vector E_i, or of what the MLP puts in its place. */
  readonly expertVector: number;
  /** What coefficients are made of: a cluster, a histogram over clusters, or an embedding. */
  readonly conditioning: Conditioning;
  /** D: length of the histogram (K) or of the embedding; 0 for clusters. */
  readonly conditionSize: number;
  /** Hidden width of the MLP; 0 for clusters. */
  readonly mlpWidth: number;
  /** Layers whose feed-forward matrices are generated; the others stay dense. */
  readonly projectedLayers: readonly number[];
  /** Whether a shared slice S is added: W = S + sum_r c_r T_r. Without it, the paper's own form. */
  readonly shared: boolean;
  /** How slices are kept: bf16 halves what every step reads of them, and the optimizer rounds stochastically. */
  readonly sliceType: SliceType;
  /** r: slices are products T_j = A_j B_j of rank r; 0: dense matrices. */
  readonly sliceRank: number;
}

const MAX_DIMENSION = 1 << 20;

/** Sizes of a model, of which `transformerConfig` fills in the rest. */
export type TransformerSizes = Partial<Omit<TransformerConfig, 'moe'>> & {
  readonly moe?: Partial<MoeConfig> | null | undefined;
};

/** Fills defaults and throws SWEETSPOT_USAGE for sizes that cannot work. */
export function transformerConfig({
  moe,
  ...given
}: Pick<TransformerConfig, 'vocabSize' | 'hiddenSize' | 'layers' | 'heads'> & TransformerSizes): TransformerConfig {
  const config: TransformerConfig = {
    kvHeads: given.heads,
    headDim: Math.floor(given.hiddenSize / given.heads),
    intermediateSize: Math.ceil((given.hiddenSize * 8) / 3 / 16) * 16,
    contextLength: 256,
    ropeTheta: 10000,
    normEps: 1e-5,
    tieEmbeddings: true,
    qkNorm: false,
    logitCap: 0,
    moe: null,
    ...defined(given),
  };
  const refuse = (what: string, expected: string, found: unknown): never => {
    throw new SweetspotError('SWEETSPOT_USAGE', { what: `model size: ${what}`, expected, found: String(found) });
  };
  for (const name of [
    'vocabSize',
    'hiddenSize',
    'intermediateSize',
    'layers',
    'heads',
    'kvHeads',
    'headDim',
    'contextLength',
  ] as const) {
    const value = config[name];
    if (!Number.isInteger(value) || value < 1 || value > MAX_DIMENSION)
      refuse(name, `a whole number from 1 to ${MAX_DIMENSION}`, value);
  }
  if (config.hiddenSize % 16 !== 0) refuse('hiddenSize', 'a multiple of 16', config.hiddenSize);
  if (config.intermediateSize % 16 !== 0) refuse('intermediateSize', 'a multiple of 16', config.intermediateSize);
  if (config.heads % config.kvHeads !== 0) refuse('kvHeads', `a divisor of heads (${config.heads})`, config.kvHeads);
  if (config.headDim % 2 !== 0) refuse('headDim', 'an even number, for the rotary embedding', config.headDim);
  if ((config.heads * config.headDim) % 16 !== 0)
    refuse('heads x headDim', 'a multiple of 16', config.heads * config.headDim);
  if (!(config.normEps > 0 && config.normEps < 1)) refuse('normEps', 'between 0 and 1', config.normEps);
  if (!(config.ropeTheta > 1)) refuse('ropeTheta', 'more than 1', config.ropeTheta);
  if (config.logitCap !== 0 && !(config.logitCap >= 1 && config.logitCap <= 1e6))
    refuse('logitCap', '1 to 1e6, or 0 for none', config.logitCap);
  return moe ? routedConfig(config, moe) : config;
}

/**
 * The same model with routed layers. Defaults: 8 experts, 2 for a token, normalized, in every layer, no shared expert, no bias,
 * and a width at which the experts of a token together are as wide as the dense block was, so that a token costs the same.
 */
export function routedConfig(model: TransformerConfig, given: Partial<MoeConfig> = {}): TransformerConfig {
  const topK = given.topK ?? Math.min(2, given.experts ?? 8);
  const moe: MoeConfig = {
    experts: 8,
    topK,
    normalize: true,
    width: Math.ceil(model.intermediateSize / topK / 16) * 16,
    sharedWidth: 0,
    biased: false,
    layers: Array.from({ length: model.layers }, (_, i) => i),
    ...defined(given),
  };
  const refuse = (what: string, expected: string, found: unknown): never => {
    throw new SweetspotError('SWEETSPOT_USAGE', { what: `routed layers: ${what}`, expected, found: String(found) });
  };
  const whole = (value: number, from: number, to: number) => Number.isInteger(value) && value >= from && value <= to;
  if (!whole(moe.experts, 1, 4096)) refuse('experts', 'a whole number from 1 to 4096', moe.experts);
  if (!whole(moe.topK, 1, moe.experts))
    refuse('topK', `a whole number from 1 to ${moe.experts}, the experts`, moe.topK);
  for (const name of ['width', 'sharedWidth'] as const) {
    const least = name === 'width' ? 16 : 0;
    if (!whole(moe[name], least, MAX_DIMENSION) || moe[name] % 16 !== 0)
      refuse(name, `a multiple of 16 from ${least} on`, moe[name]);
  }
  requireLayers(moe.layers, model, (expected, found) => refuse('layers', expected, found));
  // Without a dense layer the feed-forward width of the model says nothing but this.
  const intermediateSize = moe.layers.length === model.layers ? moe.width : model.intermediateSize;
  return { ...model, intermediateSize, moe };
}

/** Calls `refuse` unless `layers` are some of the model's, each once. */
function requireLayers(
  layers: readonly number[],
  model: TransformerConfig,
  refuse: (expected: string, found: string) => void,
): void {
  const known = layers.every((l) => Number.isInteger(l) && l >= 0 && l < model.layers);
  if (layers.length === 0 || new Set(layers).size !== layers.length || !known)
    refuse(`some of the layers 0 to ${model.layers - 1}, each once`, `[${layers}]`);
}

/** Fills defaults (16 slices, a vector as long as the slices, by cluster, every layer, shared slice on) and checks them. */
export function bankConfig(
  model: TransformerConfig,
  given: Pick<BankConfig, 'experts'> & Partial<BankConfig>,
): BankConfig {
  const slices = given.slices ?? 16;
  const config: BankConfig = {
    slices,
    expertVector: slices,
    conditioning: 'cluster',
    conditionSize: given.conditioning === 'histogram' ? given.experts : 0,
    mlpWidth: (given.conditioning ?? 'cluster') === 'cluster' ? 0 : 64,
    projectedLayers: Array.from({ length: model.layers }, (_, i) => i),
    shared: true,
    sliceType: 'f32',
    sliceRank: 0,
    ...defined(given),
  };
  const refuse = (what: string, expected: string, found: unknown): never => {
    throw new SweetspotError('SWEETSPOT_USAGE', { what: `bank: ${what}`, expected, found: String(found) });
  };
  for (const name of ['slices', 'experts', 'expertVector'] as const) {
    const value = config[name];
    if (!Number.isInteger(value) || value < 1 || value > 4096) refuse(name, 'a whole number from 1 to 4096', value);
  }
  if (!SLICE_TYPES.includes(config.sliceType)) refuse('sliceType', SLICE_TYPES.join(' or '), config.sliceType);
  const rank = Math.min(model.hiddenSize, model.intermediateSize);
  if (!Number.isInteger(config.sliceRank) || config.sliceRank < 0 || config.sliceRank > rank)
    refuse('sliceRank', `a whole number from 0 to ${rank}, the smaller side of the matrices`, config.sliceRank);
  // Their product starts at zero, and is never stored.
  if (config.sliceRank > 0 && !config.shared) refuse('low-rank slices', 'a shared slice to start from', 'none');
  if (config.sliceRank > 0 && config.sliceType !== 'f32')
    refuse('sliceType of low-rank slices', 'f32', config.sliceType);
  if (config.conditioning !== 'cluster') {
    for (const name of ['conditionSize', 'mlpWidth'] as const) {
      const value = config[name];
      if (!Number.isInteger(value) || value < 1 || value > 65536) refuse(name, 'a whole number from 1 to 65536', value);
    }
  }
  requireLayers(config.projectedLayers, model, (expected, found) => refuse('projectedLayers', expected, found));
  if (model.moe !== null) refuse('of a model with routed layers', 'a dense model', 'routed layers');
  return config;
}
