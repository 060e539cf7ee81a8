// Small models and texts that several tests share.
import type { Backend } from '../../ts/backend/backend.js';
import { type Tokenizer, trainTokenizer } from '../../ts/data/tokenizer.js';
import { type TransformerConfig, type TransformerSizes, transformerConfig } from '../../ts/models/config.js';
import { DenseModel } from '../../ts/models/dense.js';
import { transformerParameters } from '../../ts/models/transformer.js';
import { Prng } from '../../ts/tensor/prng.js';

export const TEXTS: readonly string[] = Array.from({ length: 24 }, (_, i) => {
  const animal = ['fox', 'hen', 'owl', 'eel'][i % 4]!;
  return `The ${animal} number ${i} crossed the river ${'and came back, naïve as ever, '.repeat(i % 7)}to café № ${i * i}.`;
});

export const smallTokenizer = (vocabSize = 300): Promise<Tokenizer> => trainTokenizer(TEXTS, { vocabSize });

/** The shapes that differ in code: plain Llama, grouped queries, Qwen3, separate output matrix, wide heads, capped logits, routed layers. */
export const LAYOUTS: Readonly<Record<string, TransformerSizes>> = {
  llama: {},
  'grouped queries': { heads: 4, kvHeads: 2 },
  'qwen3, untied': { heads: 4, kvHeads: 2, headDim: 16, qkNorm: true, tieEmbeddings: false },
  'capped logits': { logitCap: 6 },
  mixtral: { moe: { experts: 4, width: 32 } },
  'switch, all else': {
    qkNorm: true,
    logitCap: 6,
    moe: { experts: 5, topK: 1, normalize: false, width: 32, sharedWidth: 16, biased: true, layers: [1] },
  },
};

export const smallConfig = (vocabSize: number, given: TransformerSizes = {}): TransformerConfig =>
  transformerConfig({
    vocabSize,
    hiddenSize: 32,
    layers: 2,
    heads: 2,
    intermediateSize: 48,
    contextLength: 24,
    ...given,
  });

/** Values large enough that attention is not flat and every part matters; norms are not 1. */
export function randomValues(config: TransformerConfig, seed: number | string): Map<string, Float32Array> {
  return new Map(
    transformerParameters(config).map(({ name, shape, kind }) => {
      const random = new Prng(`${seed}/${name}`);
      const size = shape.reduce((a, b) => a * b, 1);
      const scale = name === 'embedding' ? 1 : 1.5 / Math.sqrt(config.hiddenSize);
      const value = () => (kind === 'vector' ? 0.5 + random.next() : scale * random.normal());
      return [name, Float32Array.from({ length: size }, value)];
    }),
  );
}

export function smallModel(
  backend: Backend,
  tokenizer: Tokenizer,
  given: TransformerSizes = {},
  seed: number | string = 1,
): DenseModel {
  const config = smallConfig(tokenizer.vocabSize, given);
  return DenseModel.fromValues(backend, config, randomValues(config, seed), tokenizer);
}
