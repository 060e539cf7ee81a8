// Decoding one token after the other, batch 1: every weight is read once a token, so the roof is that of memory (of the
// caches for models that fit there).
import type { Backend } from '../ts/backend/index.js';
import { trainTokenizer } from '../ts/data/tokenizer.js';
import { transformerConfig } from '../ts/models/config.js';
import { denseParameterCount } from '../ts/models/cost.js';
import { DenseModel } from '../ts/models/dense.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { Decoder } from '../ts/serve/decoder.js';
import { sizeOf } from '../ts/tensor/tensor.js';
import { type BenchCase, CACHED_BYTES, type Context, compete, ours } from './context.js';
import type { Result } from './result.js';

const TOKENS = 32;
const PROMPT = 64;

export const DECODE_SIZES = [
  { name: 'd64 L4 V2048', width: 64, layers: 4, heads: 4, vocab: 2048, quick: false },
  { name: 'd256 L4 V8192', width: 256, layers: 4, heads: 4, vocab: 8192, quick: true },
  { name: 'd512 L8 V16384', width: 512, layers: 8, heads: 8, vocab: 16384, quick: false },
] as const;

type DecodeSize = (typeof DECODE_SIZES)[number];

/** Seconds a token of reading a prompt, or of one token after the other, on a model of these sizes. */
export async function decodeWork(backend: Backend, size: DecodeSize, prefill: boolean) {
  const config = transformerConfig({
    vocabSize: size.vocab,
    hiddenSize: size.width,
    layers: size.layers,
    heads: size.heads,
    contextLength: 2048,
  });
  // Values of no meaning: what is timed does not depend on them.
  const values = new Map(
    transformerParameters(config).map(({ name, shape }) => [name, new Float32Array(sizeOf(shape)).fill(0.01)]),
  );
  const tokenizer = await trainTokenizer(['a b c d e f'], { vocabSize: 260 });
  const model = DenseModel.fromValues(backend, config, values, tokenizer);
  const decoder = new Decoder(model);
  const count = prefill ? 512 : TOKENS;
  const turn = async () => {
    if (prefill) await decoder.read(Array.from({ length: PROMPT }, (_, i) => i));
    else await decoder.read([1]);
    const began = performance.now();
    if (prefill) await decoder.read(Array.from({ length: count }, (_, i) => i));
    else for (let i = 0; i < count; i++) await decoder.read([i]);
    return [(performance.now() - began) / 1000 / count];
  };
  const dispose = () => {
    decoder.dispose();
    model.dispose();
  };
  return { parameters: denseParameterCount(config), turn, dispose };
}

async function run(context: Context, name: string, size: DecodeSize, prefill: boolean): Promise<Result[]> {
  const { parameters, turn, dispose } = await decodeWork(context.backend, size, prefill);
  const bytes = 4 * parameters;
  const flops = 2 * parameters;
  try {
    return await compete(
      context,
      {
        name,
        op: prefill ? 'prefill' : 'decode',
        shape: size.name,
        dtype: 'fp32',
        unit: 'tokens/s',
        value: (seconds) => 1 / seconds,
        ideal: (roof) => (prefill ? flops / 1e9 / roof.fp32 : bytes < CACHED_BYTES ? null : bytes / 1e9 / roof.read),
      },
      [ours(context, { name: 'sweetspot', turn })],
    );
  } finally {
    dispose();
  }
}

export const decodeCases: readonly BenchCase[] = DECODE_SIZES.flatMap((size) =>
  [false, true].map((prefill): BenchCase => {
    const name = `${prefill ? 'prefill' : 'decode'} ${size.name}`;
    return {
      group: 'decode',
      name,
      quick: size.quick && !prefill,
      run: (context) => run(context, name, size, prefill),
    };
  }),
);
