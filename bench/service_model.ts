// A model folder for benches of serving: random weights, whose speed is that of trained ones, and a real tokenizer.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../bindings/load.js';
import { trainTokenizer } from '../ts/data/tokenizer.js';
import { saveDenseFolder } from '../ts/io/huggingface.js';
import { transformerConfig } from '../ts/models/config.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { Prng } from '../ts/tensor/prng.js';
import { sizeOf } from '../ts/tensor/tensor.js';

export interface ServiceModelSizes {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocab: number;
  readonly contextLength: number;
}

/** Chapters of Moby Dick. */
export function serviceTexts(): string[] {
  const folder = path.join(packageRoot(), 'node_modules', '@stdlib', 'datasets-moby-dick', 'data');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.txt'))
    .sort()
    .map((file) => readFileSync(path.join(folder, file), 'utf8'));
}

/** Writes the folder; the end-of-text marker is no likelier than other tokens. */
export async function writeServiceModel(folder: string, sizes: ServiceModelSizes): Promise<void> {
  const { width, layers, heads, vocab, contextLength } = sizes;
  const tokenizer = await trainTokenizer(serviceTexts(), { vocabSize: vocab });
  const config = transformerConfig({ vocabSize: vocab, hiddenSize: width, layers, heads, contextLength });
  const values = new Map(
    transformerParameters(config).map(({ name, shape, kind }) => {
      const random = new Prng(name);
      const value = () => (kind === 'vector' ? 1 : random.normal() / Math.sqrt(width));
      return [name, Float32Array.from({ length: sizeOf(shape) }, value)];
    }),
  );
  await saveDenseFolder(folder, config, values, tokenizer);
}
