// One half of a comparison with transformers (the other is check_folder.py, whose head says how to run both): makes small
// random model folders, and writes what we compute for a folder and a text, for Python to compute again.
//   node dist/bench/oracle/dump_logits.js make llama|qwen3|mixtral TEXT FOLDER
//   node dist/bench/oracle/dump_logits.js dump FOLDER TEXT OUT.safetensors
import { readFileSync } from 'node:fs';
import { openBackend } from '../../ts/backend/index.js';
import { Corpus } from '../../ts/data/corpus.js';
import { trainTokenizer } from '../../ts/data/tokenizer.js';
import { cutWindows } from '../../ts/data/windows.js';
import { evaluateCorpus } from '../../ts/eval/perplexity.js';
import { saveDenseFolder } from '../../ts/io/huggingface.js';
import { writeSafetensors } from '../../ts/io/safetensors.js';
import { transformerConfig } from '../../ts/models/config.js';
import { DenseModel } from '../../ts/models/dense.js';
import { transformerParameters } from '../../ts/models/transformer.js';
import { Decoder } from '../../ts/serve/decoder.js';
import { generateText } from '../../ts/serve/generate.js';
import { Prng } from '../../ts/tensor/prng.js';
import { sizeOf } from '../../ts/tensor/tensor.js';

/** Windows whose logits are written in full. */
const WINDOWS = 3;
const PROMPT_CHARACTERS = 40;
const NEW_TOKENS = 40;

async function make(layout: string, text: string, folder: string): Promise<void> {
  const tokenizer = await trainTokenizer([text], { vocabSize: 1024 });
  const config = transformerConfig({
    vocabSize: tokenizer.vocabSize,
    hiddenSize: 128,
    intermediateSize: 336,
    layers: 4,
    heads: 8,
    kvHeads: 4,
    contextLength: 128,
    ...(layout === 'mixtral' ? { moe: { experts: 8, width: 176 } } : {}),
    ...(layout === 'qwen3' ? { qkNorm: true, headDim: 32, tieEmbeddings: false, ropeTheta: 1e6, normEps: 1e-6 } : {}),
  });
  const values = new Map<string, Float32Array>();
  for (const { name, shape, kind } of transformerParameters(config)) {
    const random = new Prng(`${layout}/${name}`);
    // Far from an initial model, so that attention is not flat and logits differ widely.
    const scale = name === 'embedding' || name === 'output' ? 0.2 : 1.5 / Math.sqrt(config.hiddenSize);
    const value = () => (kind === 'vector' ? 0.5 + random.next() : scale * random.normal());
    values.set(name, Float32Array.from({ length: sizeOf(shape) }, value));
  }
  await saveDenseFolder(folder, config, values, tokenizer);
}

async function dump(folder: string, text: string, out: string): Promise<void> {
  const backend = openBackend();
  const model = DenseModel.load(backend, folder);
  const { config, tokenizer, parameters } = model;
  const documents = text.split(/\n{2,}/).filter((part) => part.trim() !== '');
  const corpus = Corpus.fromTexts(documents, tokenizer);
  const windows = cutWindows(corpus, config.contextLength);
  const evaluation = await evaluateCorpus(backend, config, parameters, corpus);

  const row = config.contextLength + 1;
  const ids = new Int32Array(windows.count * row).fill(-1);
  for (let i = 0; i < windows.count; i++) corpus.read(windows.start[i]!, windows.length[i]! + 1, ids, i * row);
  const longest = [...windows.length.keys()].sort((a, b) => windows.length[b]! - windows.length[a]!).slice(0, WINDOWS);
  const logits: Float32Array[] = [];
  for (const window of longest) {
    const decoder = new Decoder(model);
    for (let t = 0; t < windows.length[window]!; t++) logits.push(await decoder.read([ids[window * row + t]!]));
    decoder.dispose();
  }
  const prompt = documents[0]!.slice(0, PROMPT_CHARACTERS);
  const greedy = await generateText(model, prompt, { temperature: 0, maxTokens: NEW_TOKENS });

  const bytes = (values: Int32Array | Float32Array) =>
    new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const all = new Float32Array(logits.length * config.vocabSize);
  for (const [i, values] of logits.entries()) all.set(values, i * config.vocabSize);
  writeSafetensors(
    out,
    {
      windows: { dtype: 'I32', shape: [windows.count, row], data: bytes(ids) },
      selected: { dtype: 'I32', shape: [longest.length], data: bytes(Int32Array.from(longest)) },
      logits: { dtype: 'F32', shape: [logits.length, config.vocabSize], data: bytes(all) },
    },
    {
      nll: String(evaluation.nll),
      tokens: String(evaluation.tokens),
      documents: JSON.stringify(documents),
      prompt,
      greedy,
      new_tokens: String(NEW_TOKENS),
    },
  );
  model.dispose();
  await backend.close();
}

const [command, ...rest] = process.argv.slice(2);
if (command === 'make' && rest.length === 3) await make(rest[0]!, readFileSync(rest[1]!, 'utf8'), rest[2]!);
else if (command === 'dump' && rest.length === 3) await dump(rest[0]!, readFileSync(rest[1]!, 'utf8'), rest[2]!);
else {
  console.error(
    'usage: dump_logits make llama|qwen3|mixtral TEXT FOLDER, or dump_logits dump FOLDER TEXT OUT.safetensors',
  );
  process.exitCode = 2;
}
