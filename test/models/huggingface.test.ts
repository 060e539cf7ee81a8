// Model folders: what is saved means the same to an independent implementation, loads back bit for bit, and everything
// that can be wrong with a folder is refused with the right code.
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type ErrorCode, openBackend, SweetspotError } from '../../ts/backend/index.js';
import type { Tokenizer } from '../../ts/data/tokenizer.js';
import { loadDenseFolder, saveDenseFolder } from '../../ts/io/huggingface.js';
import { readSafetensors, type SafetensorsTensor, writeSafetensors } from '../../ts/io/safetensors.js';
import type { MoeConfig, TransformerSizes } from '../../ts/models/config.js';
import { DenseModel } from '../../ts/models/dense.js';
import { Decoder } from '../../ts/serve/decoder.js';
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from '../../ts/tensor/float16.js';
import { loadReference } from '../support/llama_reference.js';
import { LAYOUTS, randomValues, smallConfig, smallTokenizer } from '../support/models.js';
import { relativeDifference } from '../support/train_step.js';

const root = mkdtempSync(join(tmpdir(), 'sweetspot-folder-'));
test.after.always(() => rmSync(root, { recursive: true, force: true }));
const layouts = Object.entries(LAYOUTS);
let tokenizer: Tokenizer;

// One sound folder a layout; tests of damage copy and change it.
test.before(async () => {
  tokenizer = await smallTokenizer();
  for (const [name, given] of layouts) {
    const config = smallConfig(tokenizer.vocabSize, given);
    const extra = { 'README.md': '# hello\n' };
    await saveDenseFolder(join(root, name), config, randomValues(config, name), tokenizer, extra, { own: true });
  }
});

for (const [name, given] of layouts) {
  test(`${name}: logits equal those of an independent implementation`, async (t) => {
    const reference = loadReference(join(root, name));
    const ids = [tokenizer.endOfText, ...tokenizer.encode('The owl number 7 crossed')].slice(0, 20);
    const expected = reference.logits(ids);
    const backend = openBackend();
    const model = DenseModel.load(backend, join(root, name));
    const decoder = new Decoder(model);
    for (const [i, id] of ids.entries()) {
      const difference = relativeDifference(await decoder.read([id]), expected[i]!);
      t.true(difference < 1e-4, `token ${i} differs by ${difference}`);
    }
    decoder.dispose();
    model.dispose();
    await backend.close();
  });

  test(`${name}: a folder loads back as it was saved`, (t) => {
    const config = smallConfig(tokenizer.vocabSize, given);
    const loaded = loadDenseFolder(join(root, name));
    t.deepEqual(loaded.config, config);
    t.deepEqual(loaded.values, randomValues(config, name));
    t.is(loaded.tokenizer.hash, tokenizer.hash);
    t.is(readFileSync(join(root, name, 'README.md'), 'utf8'), '# hello\n');
    const tied = !readSafetensors(join(root, name, 'model.safetensors')).tensors.has('lm_head.weight');
    t.is(tied, config.tieEmbeddings);
  });
}

/** A copy of the Qwen3 folder with changes to its config or its tensors. */
function changed(
  name: string,
  config: (given: Record<string, unknown>) => unknown,
  tensors?: (given: Record<string, SafetensorsTensor>) => void,
): string {
  const folder = join(root, `changed ${name}`);
  cpSync(join(root, 'qwen3, untied'), folder, { recursive: true });
  const given = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config(given) ?? given));
  if (tensors !== undefined) {
    const file = join(folder, 'model.safetensors');
    const all = Object.fromEntries(readSafetensors(file).tensors);
    tensors(all);
    writeSafetensors(file, all);
  }
  return folder;
}

const keep = () => undefined;

/** For t.throws, which prints what a function returns if it does not throw. */
const loading = (folder: string) => () => {
  loadDenseFolder(folder);
};
const narrow =
  (to: (values: Float32Array) => Uint16Array, dtype: 'F16' | 'BF16') => (all: Record<string, SafetensorsTensor>) => {
    for (const [name, { data, shape }] of Object.entries(all)) {
      all[name] = { dtype, shape, data: new Uint8Array(to(new Float32Array(data.buffer)).buffer) };
    }
  };

for (const [dtype, to, from] of [
  ['F16', f32ToF16, f16ToF32],
  ['BF16', f32ToBf16, bf16ToF32],
] as const) {
  test(`weights in ${dtype} are widened exactly`, (t) => {
    const { config, values } = loadDenseFolder(changed(dtype, keep, narrow(to, dtype)));
    for (const [name, value] of randomValues(config, 'qwen3, untied'))
      t.deepEqual(values.get(name), from(to(value)), name);
  });
}

test('settings of either transformers generation are read', (t) => {
  const old = (config: Record<string, unknown>) => ({
    ...config,
    rope_parameters: undefined,
    rope_theta: 5e5,
    rope_scaling: null,
  });
  t.is(loadDenseFolder(changed('old rope', old)).config.ropeTheta, 5e5);
  const young = (config: Record<string, unknown>) => ({
    ...config,
    rope_theta: undefined,
    rope_parameters: { rope_type: 'default', rope_theta: 1e6 },
  });
  t.is(loadDenseFolder(changed('young rope', young)).config.ropeTheta, 1e6);
});

test('a tied model may store its matrix twice', (t) => {
  const tie = (config: Record<string, unknown>) => ({ ...config, tie_word_embeddings: true });
  t.false(loadDenseFolder(changed('twice', tie)).values.has('output'));
});

test('a missing file is an input error, a folder of shards says how to join it', (t) => {
  for (const name of ['config.json', 'model.safetensors', 'tokenizer.json']) {
    const folder = changed(`without ${name}`, keep);
    rmSync(join(folder, name));
    const error = t.throws(loading(folder), { instanceOf: SweetspotError });
    t.is(error?.code, 'SWEETSPOT_INPUT', name);
    t.true(error?.message.includes(name), error?.message);
  }
  const folder = changed('shards', keep);
  rmSync(join(folder, 'model.safetensors'));
  writeFileSync(join(folder, 'model.safetensors.index.json'), '{}');
  t.throws(loading(folder), { code: 'SWEETSPOT_INPUT', message: /several files/ });
});

const configs: readonly [name: string, code: ErrorCode, message: RegExp, change: Record<string, unknown>][] = [
  [
    'another architecture',
    'SWEETSPOT_INPUT',
    /architectures.*GPT2LMHeadModel/s,
    { architectures: ['GPT2LMHeadModel'] },
  ],
  ['an inherited name', 'SWEETSPOT_INPUT', /architectures/, { architectures: ['toString'] }],
  ['no architecture', 'SWEETSPOT_INPUT', /architectures/, { architectures: undefined }],
  ['rope scaling', 'SWEETSPOT_INPUT', /rope_scaling/, { rope_scaling: { rope_type: 'llama3', factor: 8 } }],
  ['rope scaling, old name', 'SWEETSPOT_INPUT', /rope_scaling/, { rope_scaling: { type: 'linear', factor: 2 } }],
  [
    'rope parameters',
    'SWEETSPOT_INPUT',
    /rope_parameters/,
    { rope_parameters: { rope_type: 'yarn', rope_theta: 1e4 } },
  ],
  ['attention bias', 'SWEETSPOT_INPUT', /attention_bias/, { attention_bias: true }],
  ['MLP bias', 'SWEETSPOT_INPUT', /mlp_bias/, { mlp_bias: true }],
  ['activation', 'SWEETSPOT_INPUT', /hidden_act/, { hidden_act: 'gelu' }],
  ['sliding window', 'SWEETSPOT_INPUT', /use_sliding_window/, { use_sliding_window: true }],
  ['layer types', 'SWEETSPOT_INPUT', /layer_types/, { layer_types: ['full_attention', 'sliding_attention'] }],
  ['quantization', 'SWEETSPOT_INPUT', /quantization_config/, { quantization_config: { bits: 4 } }],
  ['capped logits', 'SWEETSPOT_INPUT', /final_logit_softcapping/, { final_logit_softcapping: 30 }],
  ['a size of 24', 'SWEETSPOT_INPUT', /intermediateSize/, { intermediate_size: 24 }],
  ['a missing size', 'SWEETSPOT_CORRUPT', /hidden_size/, { hidden_size: undefined }],
  ['a size in words', 'SWEETSPOT_CORRUPT', /vocab_size/, { vocab_size: 'many' }],
  ['a negative size', 'SWEETSPOT_CORRUPT', /num_hidden_layers/, { num_hidden_layers: -1 }],
  ['a fraction', 'SWEETSPOT_CORRUPT', /num_attention_heads/, { num_attention_heads: 1.5 }],
  ['a million layers', 'SWEETSPOT_CORRUPT', /1000000 layers/, { num_hidden_layers: 1000000 }],
  ['a large vocabulary', 'SWEETSPOT_CORRUPT', /embed_tokens.*\[1000000,32\].*\[300,32\]/s, { vocab_size: 1000000 }],
  ['another width', 'SWEETSPOT_CORRUPT', /embed_tokens.*,64\]/s, { hidden_size: 64 }],
  ['fewer layers', 'SWEETSPOT_INPUT', /layers\.1\./, { num_hidden_layers: 1 }],
  ['a small vocabulary', 'SWEETSPOT_MISMATCH', /tokenizer.*299.*300/s, { vocab_size: 299 }],
];

for (const [name, code, message, change] of configs) {
  test(`refused: ${name}`, (t) => {
    const folder = changed(name, (config) => ({ ...config, ...change }));
    t.throws(loading(folder), { instanceOf: SweetspotError, code, message });
  });
}

test.serial('what no Hugging Face layout holds is refused by name, and saved when asked for', async (t) => {
  const variants: readonly [says: RegExp, moe: Partial<MoeConfig> | null, given?: TransformerSizes][] = [
    [/a soft cap of the logits/, null, { logitCap: 30 }],
    [/a soft cap of the logits/, null, { logitCap: 2.5, qkNorm: true, tieEmbeddings: false }],
    [/softmax over all experts/, { normalize: false }],
    [/a shared expert/, { sharedWidth: 16 }],
    [/a bias of the choice/, { biased: true }],
    [/dense layers/, { layers: [0] }],
    [/RMS norm on queries/, {}, { qkNorm: true }],
  ];
  for (const [i, [message, moe, given]] of variants.entries()) {
    const config = smallConfig(tokenizer.vocabSize, { ...given, moe: moe && { experts: 3, ...moe } });
    const values = randomValues(config, i);
    const out = join(root, `variant ${i}`);
    await t.throwsAsync(saveDenseFolder(out, config, values, tokenizer), { code: 'SWEETSPOT_USAGE', message });
    t.false(existsSync(out));
    await saveDenseFolder(out, config, values, tokenizer, {}, { own: true });
    t.deepEqual(loadDenseFolder(out).config, config);
  }
});

const routed: readonly [layout: string, code: ErrorCode, message: RegExp, change: Record<string, unknown>][] = [
  ['mixtral', 'SWEETSPOT_INPUT', /sliding_window/, { sliding_window: 4096 }],
  ['mixtral', 'SWEETSPOT_CORRUPT', /num_local_experts/, { num_local_experts: undefined }],
  ['mixtral', 'SWEETSPOT_CORRUPT', /2 layers with 4000 experts/, { num_local_experts: 4000 }],
  ['mixtral', 'SWEETSPOT_INPUT', /topK.*1 to 4/s, { num_experts_per_tok: 5 }],
  ['mixtral', 'SWEETSPOT_CORRUPT', /gate.*\[3,32\]/s, { num_local_experts: 3 }],
  ['switch, all else', 'SWEETSPOT_CORRUPT', /norm_topk_prob/, { norm_topk_prob: 'no' }],
  ['switch, all else', 'SWEETSPOT_INPUT', /layers 0 to 1/, { routed_layers: [2] }],
  ['switch, all else', 'SWEETSPOT_CORRUPT', /routed_layers/, { routed_layers: 'all' }],
  ['capped logits', 'SWEETSPOT_CORRUPT', /final_logit_softcapping/, { final_logit_softcapping: -1 }],
  ['capped logits', 'SWEETSPOT_INPUT', /logitCap/, { final_logit_softcapping: 0.5 }],
];

test('settings of routed layers and capped logits that cannot be are refused', (t) => {
  for (const [i, [layout, code, message, change]] of routed.entries()) {
    const folder = join(root, `routed ${i}`);
    cpSync(join(root, layout), folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...change }));
    t.throws(loading(folder), { instanceOf: SweetspotError, code, message }, `${i}`);
  }
});

test('a folder of our own from before there was a cap has none', (t) => {
  const folder = join(root, 'no cap');
  cpSync(join(root, 'switch, all else'), folder, { recursive: true });
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  t.is(config.final_logit_softcapping, 6);
  delete config.final_logit_softcapping;
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  t.is(loadDenseFolder(folder).config.logitCap, 0);
});

test('config.json that is not an object is refused', (t) => {
  for (const [i, text] of ['', '{', 'null', '[]', '"x"'].entries()) {
    const folder = changed(`text ${i}`, keep);
    writeFileSync(join(folder, 'config.json'), text);
    t.throws(loading(folder), { instanceOf: SweetspotError, code: 'SWEETSPOT_CORRUPT' }, text);
  }
});

test('tensors are refused by name: another shape, missing, too many, another dtype', (t) => {
  const key = 'model.layers.1.self_attn.k_proj.weight';
  const shape = changed('shape', keep, (all) => {
    all[key] = { ...all[key]!, shape: [16, 64] };
  });
  t.throws(loading(shape), { code: 'SWEETSPOT_CORRUPT', message: /1\.self_attn\.k_proj.*\[32,32\].*\[16,64\]/s });
  const missing = changed('missing', keep, (all) => {
    delete all[key];
  });
  t.throws(loading(missing), { code: 'SWEETSPOT_CORRUPT', message: /1\.self_attn\.k_proj.*no such tensor/s });
  const bias = changed('bias', keep, (all) => {
    all['model.layers.0.self_attn.q_proj.bias'] = { dtype: 'F32', shape: [1], data: new Uint8Array(4) };
  });
  t.throws(loading(bias), { code: 'SWEETSPOT_INPUT', message: /q_proj\.bias/ });
  const integers = changed('integers', keep, (all) => {
    all[key] = { ...all[key]!, dtype: 'I32' };
  });
  t.throws(loading(integers), { code: 'SWEETSPOT_INPUT', message: /k_proj.*I32/s });
});

test('one flipped bit in the weights is noticed', (t) => {
  const folder = changed('bit', keep);
  const file = join(folder, 'model.safetensors');
  const bytes = readFileSync(file);
  bytes[bytes.length - 1000]! ^= 1;
  writeFileSync(file, bytes);
  t.throws(loading(folder), { code: 'SWEETSPOT_CORRUPT', message: /SHA-256/ });
});

test('saving refuses what cannot be loaded, before anything is on disk', async (t) => {
  const config = smallConfig(tokenizer.vocabSize);
  const values = randomValues(config, 1);
  const before = readdirSync(root).length;
  const out = join(root, 'refused');
  const refused = (code: ErrorCode, save: Promise<void>) => t.throwsAsync(save, { instanceOf: SweetspotError, code });
  await refused('SWEETSPOT_EXISTS', saveDenseFolder(join(root, 'llama'), config, values, tokenizer));
  await refused('SWEETSPOT_MISMATCH', saveDenseFolder(out, smallConfig(260), values, tokenizer));
  await refused(
    'SWEETSPOT_USAGE',
    saveDenseFolder(out, smallConfig(tokenizer.vocabSize, { layers: 3 }), values, tokenizer),
  );
  await refused('SWEETSPOT_USAGE', saveDenseFolder(out, smallConfig(512), values, tokenizer));
  for (const name of ['config.json', 'model.safetensors', '../up', 'a/b', '..', '.hidden', '']) {
    await refused('SWEETSPOT_USAGE', saveDenseFolder(out, config, values, tokenizer, { [name]: '' }));
  }
  t.false(existsSync(out));
  t.is(readdirSync(root).filter((name) => name.includes('tmp')).length, 0);
  t.true(readdirSync(root).length >= before);
});

test('a model whose values are incomplete leaves no memory behind', async (t) => {
  const backend = openBackend();
  const config = smallConfig(tokenizer.vocabSize);
  const values = randomValues(config, 1);
  values.delete('final_norm');
  t.throws(() => DenseModel.fromValues(backend, config, values, tokenizer), { message: /final_norm/ });
  const model = DenseModel.load(backend, join(root, 'llama'));
  model.dispose();
  await backend.fence();
  t.is(backend.allocated(), 0);
  await backend.close();
});
