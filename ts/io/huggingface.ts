// Models as Hugging Face folders, both ways, so that any tool that knows Llama, Qwen3 or Mixtral loads ours and we load
// theirs: config.json, generation_config.json, model.safetensors, tokenizer.json, tokenizer_config.json.
// Ours fuses the three attention inputs into one matrix, gate and up into another, and experts into one tensor; the folder
// keeps them apart. The
// table `pieces` says which rows of which parameter a tensor of the folder is, and serves saving and loading.
// To accept one more architecture: its line and its refusals in huggingface_config.ts, its tensors in `pieces`.
import { existsSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { SweetspotError } from '../backend/errors.js';
import { Tokenizer } from '../data/tokenizer.js';
import type { MoeConfig, TransformerConfig } from '../models/config.js';
import { routedNames } from '../models/moe.js';
import { layerNames, transformerParameters } from '../models/transformer.js';
import { bf16ToF32, f16ToF32 } from '../tensor/float16.js';
import { sizeOf } from '../tensor/tensor.js';
import { createFolderAtomic } from './atomic.js';
import {
  architectureOf,
  beyondLayouts,
  corrupt,
  generationConfig,
  modelConfig,
  readConfig,
  tokenizerConfig,
} from './huggingface_config.js';
import { atOnce, type Pieces } from './pieces.js';
import { readingSafetensors, type SafetensorsTensor, saveSafetensors } from './safetensors.js';

/** A tensor of the folder: rows `row` to `row + shape[0]` of our parameter `of`. */
interface Piece {
  readonly name: string;
  readonly shape: readonly number[];
  readonly of: string;
  readonly row: number;
}

/** Every tensor of the folder, in the order of the computation. */
function pieces(config: TransformerConfig): Piece[] {
  const { vocabSize: V, hiddenSize: C, intermediateSize: F, heads: H, kvHeads, headDim: D } = config;
  const list: Piece[] = [];
  const put = (name: string, shape: readonly number[], of: string, row = 0) => {
    list.push({ name: `${name}.weight`, shape, of, row });
  };
  put('model.embed_tokens', [V, C], 'embedding');
  for (let i = 0; i < config.layers; i++) {
    const ours = layerNames(i);
    const layer = `model.layers.${i}`;
    put(`${layer}.input_layernorm`, [C], ours.inputNorm);
    put(`${layer}.self_attn.q_proj`, [H * D, C], ours.qkv);
    put(`${layer}.self_attn.k_proj`, [kvHeads * D, C], ours.qkv, H * D);
    put(`${layer}.self_attn.v_proj`, [kvHeads * D, C], ours.qkv, (H + kvHeads) * D);
    if (config.qkNorm) {
      put(`${layer}.self_attn.q_norm`, [D], ours.qNorm);
      put(`${layer}.self_attn.k_norm`, [D], ours.kNorm);
    }
    put(`${layer}.self_attn.o_proj`, [C, H * D], ours.attentionOut);
    put(`${layer}.post_attention_layernorm`, [C], ours.postNorm);
    if (config.moe?.layers.includes(i)) {
      putRouted(put, `${layer}.block_sparse_moe`, config, config.moe, i);
      continue;
    }
    put(`${layer}.mlp.gate_proj`, [F, C], ours.gateUp);
    put(`${layer}.mlp.up_proj`, [F, C], ours.gateUp, F);
    put(`${layer}.mlp.down_proj`, [C, F], ours.down);
  }
  put('model.norm', [C], 'final_norm');
  if (!config.tieEmbeddings) put('lm_head', [V, C], 'output');
  return list;
}

/** Rows are counted over all experts, which lie one behind the other. The last four names are ours. */
function putRouted(
  put: (name: string, shape: readonly number[], of: string, row?: number) => void,
  block: string,
  { hiddenSize: C }: TransformerConfig,
  { experts, width: F, sharedWidth: S, biased }: MoeConfig,
  i: number,
): void {
  const ours = routedNames(i);
  put(`${block}.gate`, [experts, C], ours.router);
  for (let e = 0; e < experts; e++) {
    put(`${block}.experts.${e}.w1`, [F, C], ours.gateUp, e * 2 * F);
    put(`${block}.experts.${e}.w3`, [F, C], ours.gateUp, e * 2 * F + F);
    put(`${block}.experts.${e}.w2`, [C, F], ours.down, e * C);
  }
  if (biased) put(`${block}.selection_bias`, [experts], ours.bias);
  if (S === 0) return;
  put(`${block}.shared_expert.w1`, [S, C], ours.sharedGateUp);
  put(`${block}.shared_expert.w3`, [S, C], ours.sharedGateUp, S);
  put(`${block}.shared_expert.w2`, [C, S], ours.sharedDown);
}

export interface DenseFolder {
  readonly config: TransformerConfig;
  /** Every parameter of transformerParameters(config), row-major. */
  readonly values: Map<string, Float32Array>;
  readonly tokenizer: Tokenizer;
}

/**
 * Writes a model folder, whole or not at all.
 *
 * @param values every parameter of transformerParameters(config), by name, row-major
 * @param extra further files by name, for example a README.md
 * @param options.own also writes a model that no Hugging Face layout holds, for sweetspot alone to read
 * @throws SweetspotError SWEETSPOT_EXISTS when `out` exists; SWEETSPOT_MISMATCH when the tokenizer has more tokens than
 *   the model; SWEETSPOT_USAGE when a parameter is missing or has another size, an extra name is not free, or no Hugging
 *   Face layout holds the model; SWEETSPOT_IO
 */
export async function saveDenseFolder(
  out: string,
  config: TransformerConfig,
  values: ReadonlyMap<string, Float32Array>,
  tokenizer: Tokenizer,
  extra: Readonly<Record<string, string | Uint8Array>> = {},
  options: { readonly own?: boolean } = {},
): Promise<void> {
  const reasons = beyondLayouts(config);
  if (reasons.length > 0 && options.own !== true) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `cannot save the model ${out}: no Hugging Face layout holds ${reasons.join(' and ')}`,
      expected:
        'logits as they are; routed layers as Mixtral has them: in every layer, weights normalized over the chosen experts',
      fix: 'train with these settings, or save it with `own`, for sweetspot alone to read',
    });
  }
  requireTokenizer(out, config, tokenizer);
  for (const { name, shape } of transformerParameters(config)) {
    const length = values.get(name)?.length;
    if (length === sizeOf(shape)) continue;
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `cannot save the model ${out}: the parameter ${name}`,
      expected: `${sizeOf(shape)} values, [${shape}]`,
      found: length === undefined ? 'none' : String(length),
    });
  }
  const files: Record<string, string | Uint8Array> = {
    'config.json': json(modelConfig(config, tokenizer)),
    'generation_config.json': json(generationConfig(tokenizer)),
    'tokenizer.json': json(tokenizer.toJSON()),
    'tokenizer_config.json': json(tokenizerConfig(config, tokenizer)),
  };
  for (const [name, data] of Object.entries(extra)) {
    if (
      name in files ||
      name === 'model.safetensors' ||
      name === '' ||
      name.startsWith('.') ||
      basename(name) !== name
    ) {
      throw new SweetspotError('SWEETSPOT_USAGE', {
        what: `cannot save the model ${out}: the extra file ${JSON.stringify(name)}`,
        expected: 'a plain file name that the folder does not use itself',
      });
    }
    files[name] = data;
  }
  const tensors: Record<string, SafetensorsTensor> = {};
  for (const { name, shape, of, row } of pieces(config)) {
    const begin = row * sizeOf(shape.slice(1));
    const part = values.get(of)!.subarray(begin, begin + sizeOf(shape));
    tensors[name] = { dtype: 'F32', shape, data: new Uint8Array(part.buffer, part.byteOffset, part.byteLength) };
  }
  await createFolderAtomic(out, async (tmp) => {
    for (const [name, data] of Object.entries(files)) writeFileSync(join(tmp, name), data);
    await saveSafetensors(join(tmp, 'model.safetensors'), tensors, { format: 'pt' }, { checksum: true });
  });
}

/**
 * Reads a model folder of the Llama, Qwen3 or Mixtral layout, or of our own, with F32, F16 or BF16 weights, tied or not. Every size is compared
 * with the file before memory is taken for it.
 *
 * @throws SweetspotError SWEETSPOT_INPUT when a file is missing or the model is of a kind that is not supported;
 *   SWEETSPOT_CORRUPT when a file is damaged or a tensor is missing or has another shape than config.json says;
 *   SWEETSPOT_MISMATCH when the tokenizer has more tokens than the model
 */
export function loadDenseFolder(path: string): DenseFolder {
  return atOnce(loadingDenseFolder(path));
}

/** The same, piece by piece. */
export function* loadingDenseFolder(path: string): Pieces<DenseFolder> {
  const config = readConfig(join(path, 'config.json'));
  const file = join(path, 'model.safetensors');
  if (!existsSync(file)) {
    const sharded = existsSync(`${file}.index.json`);
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: sharded ? `${path} holds weights in several files` : `${path} has no model.safetensors`,
      expected: 'one model.safetensors',
      fix: 'load the model with transformers and save it again with save_pretrained(path, max_shard_size="100GB")',
    });
  }
  const tokenizer = Tokenizer.load(join(path, 'tokenizer.json'));
  requireTokenizer(path, config, tokenizer);
  const { tensors } = yield* readingSafetensors(file);
  // Before anything is built per layer: config.json may claim a million of them.
  const { moe, layers } = config;
  if (layers + (moe === null ? 0 : moe.layers.length * moe.experts) > tensors.size) {
    const experts = moe === null ? '' : ` with ${moe.experts} experts`;
    throw corrupt(file, `tensors of ${layers} layers${experts}, as config.json says`, `${tensors.size} tensors`);
  }
  const list = pieces(config);
  checkNames(file, list, tensors, config);
  const shapes = new Map(transformerParameters(config).map((spec) => [spec.name, spec.shape]));
  const values = new Map<string, Float32Array>();
  for (const { name, shape, of, row } of list) {
    yield;
    const part = toFloat32(file, name, tensors.get(name)!);
    tensors.delete(name);
    const whole = shapes.get(of)!;
    if (sizeOf(whole) === part.length) {
      values.set(of, part);
      continue;
    }
    if (!values.has(of)) values.set(of, new Float32Array(sizeOf(whole)));
    values.get(of)!.set(part, row * sizeOf(shape.slice(1)));
  }
  return { config, values, tokenizer };
}

/** Refuses missing tensors, other shapes, and tensors that would change the result but that we would not use. */
function checkNames(
  file: string,
  list: readonly Piece[],
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  config: TransformerConfig,
): void {
  for (const { name, shape } of list) {
    const found = tensors.get(name);
    const same =
      found !== undefined && found.shape.length === shape.length && found.shape.every((n, i) => n === shape[i]);
    if (!same)
      throw corrupt(file, `tensor ${name} with shape [${shape}]`, found ? `[${found.shape}]` : 'no such tensor');
  }
  const known = new Set(list.map((piece) => piece.name));
  for (const name of tensors.keys()) {
    // Old files keep what can be computed, and tied models may store their one matrix twice.
    if (known.has(name) || name.endsWith('.rotary_emb.inv_freq')) continue;
    if (config.tieEmbeddings && name === 'lm_head.weight') continue;
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `${file} holds the tensor ${name}, for which ${architectureOf(config)} has no place`,
      expected: 'a model without biases, adapters or further modules',
    });
  }
}

function toFloat32(file: string, name: string, { dtype, data }: SafetensorsTensor): Float32Array {
  if (dtype === 'F32') return new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4);
  if (dtype === 'F16' || dtype === 'BF16') {
    const bits = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
    return dtype === 'F16' ? f16ToF32(bits) : bf16ToF32(bits);
  }
  throw new SweetspotError('SWEETSPOT_INPUT', {
    what: `${file}: tensor ${name} cannot be used`,
    expected: 'F32, F16 or BF16',
    found: dtype,
    fix: 'save the model again without quantization',
  });
}

function requireTokenizer(path: string, config: TransformerConfig, tokenizer: Tokenizer): void {
  if (tokenizer.vocabSize <= config.vocabSize) return;
  throw new SweetspotError('SWEETSPOT_MISMATCH', {
    what: `${path}: the tokenizer has more tokens than the model`,
    expected: `at most ${config.vocabSize}`,
    found: String(tokenizer.vocabSize),
    fix: 'use the tokenizer the model was trained with',
  });
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
