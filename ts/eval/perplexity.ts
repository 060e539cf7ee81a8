// Perplexity and bits per byte of a model on a domain. What exactly is computed:
//   Every document is [endOfText, t1 ... tn]. At context length T it is cut into windows of at most T inputs whose targets
//   do not overlap (cutWindows): every token but the marker is predicted exactly once, from the marker or token that
//   begins its window and all between, at most T tokens; no window sees another document.
//   nll           = mean over all predicted tokens of the domain of -log p(token), in nats; every token weighs the same
//   perplexity    = exp(nll)
//   bits per byte = sum of -log2 p(token) / UTF-8 bytes of the text predicted; comparable between tokenizers
//   macro average = exp(mean of the domains' nll): every domain weighs the same, however long it is
// Short windows are padded at their end with targets -1: attention looks back only, so padding changes no prediction.
import type { Backend, BufferId } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import type { Corpus } from '../data/corpus.js';
import { cutWindows, type Windows } from '../data/windows.js';
import type { TransformerConfig } from '../models/config.js';
import { outputMatrix, transformer } from '../models/transformer.js';
import type { ParameterSet } from '../nn/parameters.js';
import { linearCrossEntropy } from '../ops/cross_entropy.js';
import { Program } from '../program/program.js';
import { bufferTensor } from '../tensor/tensor.js';

/** How well a model predicts a text, every token but the marker once (ARCHITECTURE.md, "Evaluation"). */
export interface Evaluation {
  /** Mean negative log-likelihood of a token, in nats. */
  readonly nll: number;
  /** exp(nll). */
  readonly perplexity: number;
  /** Sum of -log2 p over the UTF-8 bytes of the text; comparable between tokenizers. */
  readonly bitsPerByte: number;
  /** Tokens predicted. */
  readonly tokens: number;
  /** UTF-8 bytes of their text. */
  readonly bytes: number;
  /** Documents with a prediction, a cut one included. */
  readonly documents: number;
  /** Windows the documents were cut in. */
  readonly windows: number;
}

/** How to go over a corpus. */
export interface EvaluationOptions {
  /** Rows of one run, padding included. Default 4096; more only takes more memory. */
  readonly batchTokens?: number | undefined;
  /** Stop before the window, in the order of the corpus, that would pass so many predictions; at least one is taken. Default: all. */
  readonly maxTokens?: number | undefined;
  /** Ends the work with SWEETSPOT_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Predictions done, and how many there will be. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Evaluates a model on a corpus.
 *
 * @throws SweetspotError SWEETSPOT_MISMATCH when the corpus has more tokens than the model's vocabulary; SWEETSPOT_INPUT
 *   when nothing can be predicted; SWEETSPOT_USAGE for options out of range; SWEETSPOT_ABORTED when `signal` fires
 */
export async function evaluateCorpus(
  backend: Backend,
  config: TransformerConfig,
  parameters: ParameterSet,
  corpus: Corpus,
  options: EvaluationOptions = {},
): Promise<Evaluation> {
  const windows = cutWindows(corpus, config.contextLength);
  const count = windowsWithin(windows, options.maxTokens);
  const losses = await windowLosses(backend, config, parameters, corpus, { ...options, windows, count });
  const total = losses.reduce((sum, loss) => sum + loss, 0);
  return evaluationOf(corpus, windows, count, total);
}

/** The figures of the first `count` windows of a corpus, of which `total` is the sum of -log p (nats). */
export function evaluationOf(corpus: Corpus, windows: Windows, count: number, total: number): Evaluation {
  const { tokens, bytes, documents } = textOf(corpus, windows, count);
  const nll = total / tokens;
  return {
    nll,
    perplexity: Math.exp(nll),
    bitsPerByte: total / Math.LN2 / bytes,
    tokens,
    bytes,
    documents,
    windows: count,
  };
}

/** exp of the mean nll over domains, and the mean bits per byte. Throws SWEETSPOT_USAGE for an empty list. */
export function macroAverage(
  evaluations: readonly Pick<Evaluation, 'nll' | 'bitsPerByte'>[],
): Pick<Evaluation, 'nll' | 'perplexity' | 'bitsPerByte'> {
  const n = evaluations.length;
  if (n === 0) throw usage('no evaluations to average', 'at least one', 0);
  const nll = evaluations.reduce((sum, one) => sum + one.nll, 0) / n;
  return {
    nll,
    perplexity: Math.exp(nll),
    bitsPerByte: evaluations.reduce((sum, one) => sum + one.bitsPerByte, 0) / n,
  };
}

export interface LossOptions extends Omit<EvaluationOptions, 'maxTokens'> {
  /** Cut at config.contextLength. Default: those of the corpus. */
  readonly windows?: Windows | undefined;
  /** Only the first so many windows. */
  readonly count?: number | undefined;
}

/**
 * Sums of -log p (nats) over the predictions of each window: what experts are compared by, window for window.
 *
 * @returns (windows)
 * @throws SweetspotError like `evaluateCorpus`
 */
export async function windowLosses(
  backend: Backend,
  config: TransformerConfig,
  parameters: ParameterSet,
  corpus: Corpus,
  options: LossOptions = {},
): Promise<Float64Array> {
  const windows = options.windows ?? cutWindows(corpus, config.contextLength);
  const losses = new Float64Array(options.count ?? windows.count);
  await predict(backend, config, parameters, corpus, windows, options, (window, values) => {
    for (const value of values) losses[window]! += value;
  });
  return losses;
}

/**
 * -log p (nats) of every prediction, window after window: what output ensembles are made of.
 *
 * @returns (predictions)
 * @throws SweetspotError like `evaluateCorpus`
 */
export async function tokenLosses(
  backend: Backend,
  config: TransformerConfig,
  parameters: ParameterSet,
  corpus: Corpus,
  options: LossOptions = {},
): Promise<Float32Array> {
  const windows = options.windows ?? cutWindows(corpus, config.contextLength);
  const count = options.count ?? windows.count;
  const begins = new Float64Array(count + 1);
  for (let i = 0; i < count; i++) begins[i + 1] = begins[i]! + windows.length[i]!;
  const losses = new Float32Array(begins[count]!);
  await predict(backend, config, parameters, corpus, windows, options, (window, values) => {
    losses.set(values, begins[window]!);
  });
  return losses;
}

/** Computes the windows in batches; `visit` gets the -log p of each window's predictions, windows in any order. */
async function predict(
  backend: Backend,
  config: TransformerConfig,
  parameters: ParameterSet,
  corpus: Corpus,
  windows: Windows,
  { batchTokens = 4096, signal, onProgress, count = windows.count }: LossOptions,
  visit: (window: number, losses: Float32Array) => void,
): Promise<void> {
  const vocabSize = corpus.tokenizer().vocabSize;
  if (!Number.isInteger(batchTokens) || batchTokens < 1)
    throw usage('batchTokens', 'an integer of 1 or more', batchTokens);
  if (vocabSize > config.vocabSize) {
    throw new SweetspotError('SWEETSPOT_MISMATCH', {
      what: 'the corpus has more different tokens than the model',
      expected: `at most ${config.vocabSize}`,
      found: String(vocabSize),
      fix: 'build the corpus with the tokenizer of the model',
    });
  }
  if (count === 0) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: 'there is nothing to predict',
      expected: 'a document with at least one token',
      fix: 'give more text',
    });
  }
  let total = 0;
  for (let i = 0; i < count; i++) total += windows.length[i]!;
  let done = 0;
  for (const { time, members } of byLength(windows, count)) {
    const batch = Math.min(Math.max(1, Math.floor(batchTokens / time)), members.length);
    const pass = new Pass(backend, config, parameters, batch, time);
    // The second is queued before the first is awaited, so that the device never waits for us.
    const inFlight: { readonly members: readonly number[]; readonly rows: Promise<Float32Array> }[] = [];
    const collect = async () => {
      const { members: part, rows } = inFlight.shift()!;
      const values = await rows;
      part.forEach((window, b) => {
        const length = windows.length[window]!;
        visit(window, values.subarray(b * time, b * time + length));
        done += length;
      });
      onProgress?.(done, total);
    };
    try {
      for (let at = 0; at < members.length; at += batch) {
        if (signal?.aborted)
          throw new SweetspotError('SWEETSPOT_ABORTED', {
            what: 'the evaluation was interrupted',
            cause: signal.reason,
          });
        const part = members.slice(at, at + batch);
        inFlight.push({ members: part, rows: pass.run(corpus, windows, part) });
        if (inFlight.length === 2) await collect();
      }
      while (inFlight.length > 0) await collect();
    } finally {
      await Promise.allSettled(inFlight.map((one) => one.rows));
      pass.release();
    }
  }
}

/** The model and its loss for batches of one shape (B, T), with the buffers of its inputs. */
class Pass {
  readonly #backend: Backend;
  readonly #program: Program;
  readonly #inputs: BufferId;
  readonly #bytes: number;
  readonly #time: number;
  readonly #tokens: Int32Array;
  readonly #targets: Int32Array;
  readonly #window: Int32Array;

  constructor(backend: Backend, config: TransformerConfig, parameters: ParameterSet, batch: number, time: number) {
    const rows = batch * time;
    this.#backend = backend;
    this.#time = time;
    this.#bytes = Math.ceil((rows * 4) / 64) * 64;
    this.#tokens = new Int32Array(rows);
    this.#targets = new Int32Array(rows);
    this.#window = new Int32Array(time + 1);
    this.#inputs = backend.alloc(3 * this.#bytes);
    const input = (name: string, shape: number[], part: number) =>
      bufferTensor(name, shape, 'i32', { buffer: this.#inputs, offset: part * this.#bytes });
    const tokens = input('tokens', [batch, time], 0);
    const targets = input('targets', [rows], 1);
    const positions = input('positions', [rows], 2);
    try {
      this.#program = Program.record(backend, `evaluate ${batch}x${time}`, (tape) => {
        const hidden = transformer(config, parameters, tokens, positions);
        const options = { cap: config.logitCap };
        tape.output('loss', linearCrossEntropy(hidden, outputMatrix(config, parameters), targets, undefined, options));
      });
    } catch (error) {
      backend.free(this.#inputs);
      throw error;
    }
    this.#write(
      2,
      Int32Array.from({ length: rows }, (_, i) => i % time),
    );
  }

  /** Queues a batch of windows; the loss of every row, (B T). */
  run(corpus: Corpus, windows: Windows, members: readonly number[]): Promise<Float32Array> {
    this.#tokens.fill(0);
    this.#targets.fill(-1);
    members.forEach((window, b) => {
      const length = windows.length[window]!;
      corpus.read(windows.start[window]!, length + 1, this.#window, 0);
      this.#tokens.set(this.#window.subarray(0, length), b * this.#time);
      this.#targets.set(this.#window.subarray(1, length + 1), b * this.#time);
    });
    this.#write(0, this.#tokens);
    this.#write(1, this.#targets);
    this.#program.run();
    return this.#program.read('loss');
  }

  release(): void {
    this.#program.release();
    this.#backend.free(this.#inputs);
  }

  #write(part: number, values: Int32Array): void {
    this.#backend.write(this.#inputs, part * this.#bytes, new Uint8Array(values.buffer));
  }
}

/**
 * Windows in groups padded to one time each: T, T/2, T/4 ... down to 16, so that a corpus of short documents does not
 * compute mostly padding. Inside a group the order is the corpus's.
 */
function byLength(windows: Windows, count: number): { time: number; members: number[] }[] {
  const times = [windows.contextLength];
  while (times.at(-1)! >= 32) times.push(Math.ceil(times.at(-1)! / 2));
  const groups = times.map((time) => ({ time, members: [] as number[] }));
  for (let i = 0; i < count; i++) groups.findLast(({ time }) => time >= windows.length[i]!)!.members.push(i);
  return groups.filter(({ members }) => members.length > 0);
}

/** How many windows, from the first on, predict at most `maxTokens`; at least one. Throws SWEETSPOT_USAGE. */
export function windowsWithin(windows: Windows, maxTokens = Number.POSITIVE_INFINITY): number {
  if (!(maxTokens >= 1)) throw usage('maxTokens', 'a number of 1 or more', maxTokens);
  let predictions = windows.length[0] ?? 0;
  let count = Math.min(1, windows.count);
  while (count < windows.count && predictions + windows.length[count]! <= maxTokens)
    predictions += windows.length[count++]!;
  return count;
}

/** What the first `count` windows predict. The bytes of a document that is cut are those of its predicted tokens. */
function textOf(corpus: Corpus, windows: Windows, count: number) {
  let [tokens, bytes, documents] = [0, 0, 0];
  for (let i = 0; i < count; ) {
    const document = windows.document[i]!;
    let predicted = 0;
    for (; i < count && windows.document[i] === document; i++) predicted += windows.length[i]!;
    const whole = corpus.offset(document + 1) - corpus.offset(document) - 1;
    const cut = () => corpus.tokenizer().byteLength(corpus.document(document).subarray(1, predicted + 1));
    bytes += predicted === whole ? corpus.bytes(document) : cut();
    tokens += predicted;
    documents++;
  }
  return { tokens, bytes, documents };
}

function usage(what: string, expected: string, found: unknown): SweetspotError {
  return new SweetspotError('SWEETSPOT_USAGE', { what: `evaluation: ${what}`, expected, found: String(found) });
}
