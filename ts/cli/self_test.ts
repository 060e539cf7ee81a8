// Whether a backend computes: a few training steps of a small model and a text that it then writes. What one backend gets
// is compared with what the first one got.
import type { Backend } from '../backend/index.js';
import { type Tokenizer, trainTokenizer } from '../data/tokenizer.js';
import { transformerConfig } from '../models/config.js';
import { DenseModel } from '../models/dense.js';
import { transformerParameters } from '../models/transformer.js';
import { ParameterSet } from '../nn/parameters.js';
import { ADAMW } from '../optim/adamw.js';
import { generateText } from '../serve/generate.js';
import { TrainStep } from '../train/step.js';
import { demoDocuments, TOPIC_NAMES } from './demo_text.js';

const BATCH = 8;
const TIME = 32;
const STEPS = 12;
const RATE = 0.01;
const PROMPT = 'The clerk';
/**
 * Largest relative difference of a loss. Backends add in different orders, which shows in the sixth or seventh digit; a wrong
 * kernel shows in the second.
 */
export const TOLERANCE = 1e-3;

export interface SelfTest {
  readonly ok: boolean;
  /** Of every training step, nats a token. */
  readonly losses: readonly number[];
  /** What the model writes afterwards. */
  readonly text: string;
  /** Largest relative difference of a loss from that of the backend compared with; 0 for the first. */
  readonly difference: number;
  readonly seconds: number;
}

/**
 * @param expected losses of the backend to compare with
 * @throws SweetspotError SWEETSPOT_PROGRAM when the backend refuses or fails
 */
export async function selfTest(backend: Backend, expected?: readonly number[]): Promise<SelfTest> {
  const begin = performance.now();
  const documents = TOPIC_NAMES.flatMap((topic) => demoDocuments(topic, 20, 'self-test'));
  const tokenizer = await trainTokenizer(documents, { vocabSize: 320 });
  const config = transformerConfig({
    vocabSize: tokenizer.vocabSize,
    hiddenSize: 64,
    layers: 2,
    heads: 4,
    contextLength: TIME,
  });
  const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: true });
  let step: TrainStep | undefined;
  let model: DenseModel | undefined;
  try {
    parameters.initialize('self-test');
    step = new TrainStep(backend, { config, parameters }, { batch: BATCH, time: TIME }, ADAMW);
    const batch = batchOf(tokenizer, documents.join(' '));
    const losses: number[] = [];
    for (let t = 1; t <= STEPS; t++) losses.push((await step.run(batch, RATE, t)).loss);
    const names = parameters.specs.map(({ name }) => name);
    const values = await Promise.all(names.map((name) => parameters.read(name)));
    model = DenseModel.fromValues(backend, config, new Map(names.map((name, i) => [name, values[i]!])), tokenizer);
    const text = await generateText(model, PROMPT, { maxTokens: 24, temperature: 0 });
    const differences = losses.map((loss, i) => Math.abs(loss / (expected?.[i] ?? loss) - 1));
    // NaN is not ok.
    const ok = losses.at(-1)! < losses[0]! && differences.every((one) => one <= TOLERANCE);
    const seconds = (performance.now() - begin) / 1000;
    return { ok, losses, text: PROMPT + text, difference: Math.max(...differences), seconds };
  } finally {
    model?.dispose();
    step?.dispose();
    parameters.dispose();
  }
}

function batchOf(tokenizer: Tokenizer, text: string) {
  const ids = tokenizer.encode(text).subarray(0, BATCH * TIME + 1);
  return {
    tokens: Int32Array.from(ids.subarray(0, -1)),
    targets: Int32Array.from(ids.subarray(1)),
    clusters: new Int32Array(BATCH),
    groups: new Int32Array(BATCH),
    count: BATCH * TIME,
  };
}
