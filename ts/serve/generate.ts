// Text from a dense model, token by token. A Decoder holds the keys and values of what the model has read, one cache a
// layer, and two Programs: one that reads a chunk of tokens, one that reads a single token; both give the logits after
// the last token. generate() is a loop around it: sample, decode, stop.
//
// When the context is full, the last half of it is read again from position 0 and generation goes on: positions past the
// trained context length are never used, and the cost of reading again is spread over T/2 tokens.
import type { Backend, BufferId } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import type { DenseModel } from '../models/dense.js';
import { headShape, outputMatrix, transformer } from '../models/transformer.js';
import { attentionDecode } from '../ops/attention.js';
import { embedding } from '../ops/embedding.js';
import { linear } from '../ops/matmul.js';
import { softCap } from '../ops/soft_cap.js';
import { Program } from '../program/program.js';
import { Prng } from '../tensor/prng.js';
import { bufferTensor, reshape } from '../tensor/tensor.js';
import { checkSampling, sample } from './sampling.js';

/** Tokens a prefill run reads. More is faster on long prompts, and wastes more on short ones. */
const CHUNK = 32;

/** Where the inputs lie in their buffer, in bytes. The position of the first row is the first of POSITIONS. */
const TOKENS = 0;
const POSITIONS = CHUNK * 4;
const LAST = 2 * CHUNK * 4;
const INPUT_BYTES = LAST + 64;

export class Decoder {
  readonly #backend: Backend;
  readonly #model: DenseModel;
  readonly #buffers: BufferId[] = [];
  readonly #inputs: BufferId;
  readonly #chunk: Program;
  readonly #step: Program;
  /** What the caches hold, in order. */
  #context: number[] = [];

  /** Throws SWEETSPOT_BACKEND_UNAVAILABLE when the caches do not fit into memory. */
  constructor(model: DenseModel) {
    const { backend, config } = model;
    this.#backend = backend;
    this.#model = model;
    try {
      // The padding of the last chunk is written to the caches too, past what anything attends to.
      const capacity = config.contextLength + CHUNK;
      const width = config.kvHeads * config.headDim;
      const alloc = (bytes: number): BufferId => {
        this.#buffers.push(backend.alloc(bytes));
        return this.#buffers.at(-1)!;
      };
      const cache = (name: string) =>
        bufferTensor(name, [capacity, width], 'f32', { buffer: alloc(capacity * width * 4), offset: 0 });
      const caches = Array.from(
        { length: config.layers },
        (_, i) => [cache(`keys.${i}`), cache(`values.${i}`)] as const,
      );
      this.#inputs = alloc(INPUT_BYTES);
      const input = (name: string, shape: number[], offset: number) =>
        bufferTensor(name, shape, 'i32', { buffer: this.#inputs, offset });
      const record = (rows: number) =>
        Program.record(backend, `decode ${rows}`, (tape) => {
          const positions = input('positions', [rows], POSITIONS);
          const attend = { heads: headShape(config), first: input('position', [1], POSITIONS) };
          const hidden = transformer(config, model.parameters, input('tokens', [1, rows], TOKENS), positions, {
            attend: (qkv, layer) => attentionDecode(qkv, attend.first, ...caches[layer]!, attend.heads),
          });
          // The embedding op picks a row by number: only the last real row meets the output matrix.
          const row = embedding(reshape(hidden, [rows, config.hiddenSize]), input('last', [1], LAST));
          tape.output('logits', softCap(linear(row, outputMatrix(config, model.parameters)), config.logitCap));
        });
      this.#chunk = record(CHUNK);
      try {
        this.#step = record(1);
      } catch (error) {
        this.#chunk.release();
        throw error;
      }
    } catch (error) {
      for (const id of this.#buffers) backend.free(id);
      throw error;
    }
  }

  /**
   * Reads `ids` after what was read before, and gives the logits of the token that follows, (V). What does not fit into
   * the context any more is forgotten: see the head of this file.
   *
   * @param ids at least one, each below the vocabulary size
   * @throws SweetspotError SWEETSPOT_ABORTED when `signal` fires; SWEETSPOT_PROGRAM when the device fails
   */
  async read(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    const T = this.#model.config.contextLength;
    let rest = ids;
    if (this.#context.length + ids.length > T) {
      rest = [...this.#context, ...ids].slice(-Math.max(1, Math.floor(T / 2)));
      this.#context = [];
    }
    let program = this.#step;
    for (let at = 0; at < rest.length; ) {
      if (signal?.aborted) throw abortedError(signal);
      program = rest.length - at === 1 ? this.#step : this.#chunk;
      const part = rest.slice(at, at + (program === this.#step ? 1 : CHUNK));
      this.#run(program, part);
      this.#context.push(...part);
      at += part.length;
    }
    return program.read('logits');
  }

  /** Gives the caches and the Programs back, after the work already submitted. */
  dispose(): void {
    this.#chunk.release();
    this.#step.release();
    for (const id of this.#buffers) this.#backend.free(id);
  }

  #run(program: Program, part: readonly number[]): void {
    const words = new Int32Array(INPUT_BYTES / 4);
    words.set(part, TOKENS / 4);
    for (let i = 0; i < CHUNK; i++) words[POSITIONS / 4 + i] = this.#context.length + i;
    words[LAST / 4] = part.length - 1;
    this.#backend.write(this.#inputs, 0, new Uint8Array(words.buffer));
    program.run();
  }
}

export interface GenerateOptions {
  /** Most tokens to generate. Default 200. */
  readonly maxTokens?: number | undefined;
  /** Default 0.8; 0 always takes the most likely token. */
  readonly temperature?: number | undefined;
  /** Default 40; 0 for all. */
  readonly topK?: number | undefined;
  /** Default 1: all. */
  readonly topP?: number | undefined;
  /** Equal seeds give equal text. Default: another one each time. */
  readonly seed?: number | string | undefined;
  /** Texts that end the generation; they are not given out. */
  readonly stop?: string | readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Continues `prompt`, in pieces of text as they become complete. Reads the end-of-text marker first, as in training, and
 * ends when the model writes it. All device memory is given back when the loop over the pieces ends, in whatever way.
 *
 * @param prompt text, or ids of the model's tokenizer; may be empty
 * @throws SweetspotError (at the first piece) SWEETSPOT_USAGE for an option or id out of range; SWEETSPOT_ABORTED when
 *   `signal` fires; SWEETSPOT_INPUT when the model gives no finite logits
 */
export async function* generate(
  model: DenseModel,
  prompt: string | Uint32Array,
  options: GenerateOptions = {},
): AsyncGenerator<string, void, undefined> {
  const { maxTokens = 200, temperature = 0.8, topK = 40, topP = 1, signal } = options;
  const settings = { temperature, topK, topP };
  checkSampling(settings);
  if (!Number.isInteger(maxTokens) || maxTokens < 0) throw usage('maxTokens', 'a whole number from 0 up', maxTokens);
  const stop = [options.stop ?? []].flat();
  if (stop.includes('')) throw usage('stop', 'texts that are not empty', '""');
  const ids = promptIds(model, prompt);
  const random = new Prng(options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!);
  const { tokenizer } = model;
  const text = tokenizer.streamDecoder();
  if (signal?.aborted) throw abortedError(signal);

  const decoder = new Decoder(model);
  try {
    let next = ids;
    let held = '';
    for (let n = 0; n < maxTokens; n++) {
      const logits = await decoder.read(next, signal);
      if (signal?.aborted) throw abortedError(signal);
      // A vocabulary may be larger than its tokenizer, to suit kernels; those rows mean nothing.
      const id = sample(logits.subarray(0, tokenizer.vocabSize), settings, random);
      if (id === tokenizer.endOfText) break;
      held += text.push(id);
      const end = firstOf(held, stop);
      if (end !== undefined) {
        if (end > 0) yield held.slice(0, end);
        return;
      }
      const safe = held.length - possibleStart(held, stop);
      if (safe > 0) yield held.slice(0, safe);
      held = held.slice(safe);
      next = [id];
    }
    held += text.end();
    if (held !== '') yield held;
  } finally {
    decoder.dispose();
  }
}

/** All of what `generate` gives, in one string. */
export async function generateText(
  model: DenseModel,
  prompt: string | Uint32Array,
  options: GenerateOptions = {},
): Promise<string> {
  let text = '';
  for await (const piece of generate(model, prompt, options)) text += piece;
  return text;
}

function promptIds({ tokenizer }: DenseModel, prompt: string | Uint32Array): number[] {
  const ids = typeof prompt === 'string' ? tokenizer.encode(prompt) : prompt;
  const wrong = ids.find((id) => id >= tokenizer.vocabSize);
  if (wrong !== undefined) throw usage('a token of the prompt', `an id below ${tokenizer.vocabSize}`, wrong);
  return ids[0] === tokenizer.endOfText ? [...ids] : [tokenizer.endOfText, ...ids];
}

/** Where the first of `texts` begins in `held`. */
function firstOf(held: string, texts: readonly string[]): number | undefined {
  const found = texts.map((one) => held.indexOf(one)).filter((at) => at >= 0);
  return found.length === 0 ? undefined : Math.min(...found);
}

/** Length of the longest end of `held` that may become one of `texts`. */
function possibleStart(held: string, texts: readonly string[]): number {
  let longest = 0;
  for (const one of texts) {
    for (let n = Math.min(one.length - 1, held.length); n > longest; n--)
      if (held.endsWith(one.slice(0, n))) longest = n;
  }
  return longest;
}

function usage(what: string, expected: string, found: unknown): SweetspotError {
  return new SweetspotError('SWEETSPOT_USAGE', { what: `generation: ${what}`, expected, found: String(found) });
}

function abortedError(signal: AbortSignal): SweetspotError {
  return new SweetspotError('SWEETSPOT_ABORTED', { what: 'the generation was interrupted', cause: signal.reason });
}
