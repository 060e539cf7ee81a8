// The small JSON files of a Hugging Face model folder: config.json both ways, generation_config.json and
// tokenizer_config.json for writing. What a config.json may say and we would compute differently is refused by name.
// To accept one more architecture: a line in ARCHITECTURES, and below what of its settings is refused.
import { readFileSync } from 'node:fs';
import { ioError, SweetspotError } from '../backend/errors.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { type MoeConfig, type TransformerConfig, transformerConfig } from '../models/config.js';

interface Architecture {
  readonly modelType: string;
  readonly qkNorm: boolean;
  readonly routed: boolean;
}

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  LlamaForCausalLM: { modelType: 'llama', qkNorm: false, routed: false },
  Qwen3ForCausalLM: { modelType: 'qwen3', qkNorm: true, routed: false },
  MixtralForCausalLM: { modelType: 'mixtral', qkNorm: false, routed: true },
};
/**
 * Ours, for what no other layout holds: the keys and tensors of Llama, or with routed layers of Mixtral, and a few more. Only
 * sweetspot reads them. Whether queries and keys are normed is a key.
 */
const OWN_ARCHITECTURES: Readonly<Record<string, Omit<Architecture, 'qkNorm'>>> = {
  SweetspotForCausalLM: { modelType: 'sweetspot', routed: false },
  SweetspotRoutedForCausalLM: { modelType: 'sweetspot_routed', routed: true },
};

/** What keeps a model out of every Hugging Face layout, in words. */
export function beyondLayouts({ moe, qkNorm, logitCap, layers }: TransformerConfig): string[] {
  const reasons: [boolean, string][] = [
    [logitCap !== 0, 'a soft cap of the logits'],
    [moe?.normalize === false, 'weights of a softmax over all experts'],
    [moe !== null && moe.sharedWidth > 0, 'a shared expert'],
    [moe?.biased === true, 'a bias of the choice of experts'],
    [moe !== null && moe.layers.length < layers, 'dense layers beside routed ones'],
    [moe !== null && qkNorm, 'RMS norm on queries and keys of routed layers'],
  ];
  return reasons.flatMap(([there, what]) => (there ? [what] : []));
}

/** The architecture a folder of this model names. */
export function architectureOf(config: TransformerConfig): string {
  const routed = config.moe !== null;
  if (beyondLayouts(config).length > 0)
    return Object.entries(OWN_ARCHITECTURES).find(([, one]) => one.routed === routed)![0];
  return Object.entries(ARCHITECTURES).find(([, one]) => one.qkNorm === config.qkNorm && one.routed === routed)![0];
}

/** Whether an architecture is one that only sweetspot reads. */
export const isOwn = (architecture: unknown): boolean => Object.hasOwn(OWN_ARCHITECTURES, String(architecture));

/**
 * Sizes out of config.json, as transformers 4 or 5 writes it.
 * @throws SweetspotError SWEETSPOT_INPUT when there is no such file or the model is of a kind that is not supported;
 *   SWEETSPOT_CORRUPT when it is not JSON or a size is missing or not a number
 */
export function readConfig(path: string): TransformerConfig {
  let given: Record<string, unknown>;
  try {
    given = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw ioError(`cannot read the model ${path}`, cause);
    throw corrupt(path, 'JSON', cause.message);
  }
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw corrupt(path, 'a JSON object', brief(given));
  const refuse = (key: string, expected: string): never => {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `${path} describes a model that is not supported: ${key}`,
      expected,
      found: brief(given[key]),
    });
  };
  const { architectures } = given;
  const architecture: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  const own = isOwn(architecture);
  if (typeof architecture !== 'string' || !(own || Object.hasOwn(ARCHITECTURES, architecture))) {
    refuse('architectures', Object.keys(ARCHITECTURES).join(' or '));
  }
  const flag = (key: string): boolean => {
    const value = given[key];
    if (typeof value !== 'boolean') throw corrupt(path, `true or false as ${key}`, brief(value));
    return value;
  };
  const { qkNorm, routed } = own
    ? { ...OWN_ARCHITECTURES[architecture as string]!, qkNorm: flag('qk_norm') }
    : ARCHITECTURES[architecture as string]!;
  const plain: readonly (readonly [key: string, allowed: readonly unknown[]])[] = [
    ['hidden_act', ['silu', undefined]],
    ['attention_bias', [false, undefined]],
    ['mlp_bias', [false, undefined]],
    ['use_sliding_window', [false, undefined]],
    ['quantization_config', [null, undefined]],
    ['partial_rotary_factor', [1, null, undefined]],
    // Gemma 2's name; of ours it is read below.
    ...(own ? [] : ([['final_logit_softcapping', [null, undefined]]] as const)),
    ...(routed ? ([['sliding_window', [null, undefined]]] as const) : []),
  ];
  for (const [key, allowed] of plain) if (!allowed.includes(given[key])) refuse(key, `${allowed[0]}`);
  const types = given['layer_types'] ?? [];
  if (!Array.isArray(types) || types.some((type) => type !== 'full_attention'))
    refuse('layer_types', 'full_attention only');
  let ropeTheta = given['rope_theta'];
  for (const key of ['rope_scaling', 'rope_parameters']) {
    const rope = (given[key] ?? {}) as Record<string, unknown>;
    const type = rope['rope_type'] ?? rope['type'] ?? 'default';
    if (type !== 'default' || (rope['partial_rotary_factor'] ?? 1) !== 1) refuse(key, 'the plain rotary embedding');
    ropeTheta = rope['rope_theta'] ?? ropeTheta;
  }
  const number = (key: string, value: unknown, whole = true): number => {
    if (typeof value === 'number' && (whole ? Number.isSafeInteger(value) : Number.isFinite(value)) && value > 0)
      return value;
    throw corrupt(path, `a ${whole ? 'whole ' : ''}number above 0 as ${key}`, brief(value));
  };
  const of = (key: string, otherwise?: number) => number(key, given[key] ?? otherwise);
  const capped = own && (given['final_logit_softcapping'] ?? null) !== null;
  const [hiddenSize, heads] = [of('hidden_size'), of('num_attention_heads')];
  const tied = given['tie_word_embeddings'] ?? false;
  if (typeof tied !== 'boolean') throw corrupt(path, 'true or false as tie_word_embeddings', brief(tied));
  const sizes = {
    vocabSize: of('vocab_size'),
    hiddenSize,
    intermediateSize: of('intermediate_size'),
    layers: of('num_hidden_layers'),
    heads,
    kvHeads: of('num_key_value_heads', heads),
    headDim: of('head_dim', qkNorm ? 128 : Math.floor(hiddenSize / heads)),
    contextLength: of('max_position_embeddings'),
    ropeTheta: number('rope_theta', ropeTheta ?? 10000, false),
    normEps: number('rms_norm_eps', given['rms_norm_eps'] ?? 1e-6, false),
    tieEmbeddings: tied,
    qkNorm,
    logitCap: capped ? number('final_logit_softcapping', given['final_logit_softcapping'], false) : 0,
    moe: !routed
      ? null
      : {
          experts: of('num_local_experts'),
          topK: of('num_experts_per_tok'),
          normalize: own ? flag('norm_topk_prob') : true,
          width: of(own ? 'moe_intermediate_size' : 'intermediate_size'),
          sharedWidth:
            own && given['shared_expert_intermediate_size'] !== 0 ? of('shared_expert_intermediate_size') : 0,
          biased: own && flag('selection_bias'),
          ...(own && { layers: routedLayers(path, given['routed_layers']) }),
        },
  };
  try {
    return transformerConfig(sizes);
  } catch (cause) {
    if (!(cause instanceof SweetspotError)) throw cause;
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `${path}: ${cause.message.split('\n')[0]}`,
      ...(cause.expected === undefined ? {} : { expected: cause.expected }),
      ...(cause.found === undefined ? {} : { found: cause.found }),
      cause,
    });
  }
}

/** rope_theta and torch_dtype are what transformers 4 reads, rope_parameters and dtype what transformers 5 does. */
export function modelConfig(config: TransformerConfig, tokenizer: Tokenizer): object {
  const architecture = architectureOf(config);
  const own = isOwn(architecture);
  return {
    architectures: [architecture],
    model_type: (ARCHITECTURES[architecture] ?? OWN_ARCHITECTURES[architecture])!.modelType,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    max_position_embeddings: config.contextLength,
    rope_theta: config.ropeTheta,
    rope_parameters: { rope_type: 'default', rope_theta: config.ropeTheta },
    rms_norm_eps: config.normEps,
    tie_word_embeddings: config.tieEmbeddings,
    hidden_act: 'silu',
    attention_bias: false,
    attention_dropout: 0,
    ...(config.moe !== null
      ? routedKeys(config.moe, own)
      : config.qkNorm
        ? { use_sliding_window: false, sliding_window: null }
        : { mlp_bias: false }),
    ...(own && { qk_norm: config.qkNorm, final_logit_softcapping: config.logitCap || null }),
    bos_token_id: tokenizer.endOfText,
    eos_token_id: tokenizer.endOfText,
    torch_dtype: 'float32',
    dtype: 'float32',
  };
}

function routedKeys(moe: MoeConfig, own: boolean): object {
  return {
    num_local_experts: moe.experts,
    num_experts_per_tok: moe.topK,
    sliding_window: null,
    output_router_logits: false,
    ...(own && {
      moe_intermediate_size: moe.width,
      shared_expert_intermediate_size: moe.sharedWidth,
      norm_topk_prob: moe.normalize,
      selection_bias: moe.biased,
      routed_layers: moe.layers,
    }),
  };
}

function routedLayers(path: string, value: unknown): number[] {
  if (Array.isArray(value) && value.every((layer) => Number.isSafeInteger(layer))) return value;
  throw corrupt(path, 'numbers of layers as routed_layers', brief(value));
}

export function generationConfig({ endOfText }: Tokenizer): object {
  return {
    bos_token_id: endOfText,
    eos_token_id: endOfText,
    pad_token_id: endOfText,
    do_sample: true,
    temperature: 0.8,
    top_k: 40,
  };
}

export function tokenizerConfig(config: TransformerConfig, tokenizer: Tokenizer): object {
  const marker = tokenizer.decode([tokenizer.endOfText], { skipSpecialTokens: false });
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: config.contextLength,
    bos_token: marker,
    eos_token: marker,
    pad_token: marker,
    clean_up_tokenization_spaces: false,
  };
}

const brief = (value: unknown): string => (JSON.stringify(value) ?? 'nothing').slice(0, 100);

/** What readers of the folder throw for a damaged file. */
export function corrupt(path: string, expected: string, found: string): SweetspotError {
  return new SweetspotError('SWEETSPOT_CORRUPT', {
    what: `${path} is damaged`,
    expected,
    found,
    fix: 'get or make the model folder again',
  });
}
