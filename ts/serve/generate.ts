// Text from a dense model, token by token: sample, decode, stop. continueText() is that loop, whoever owns the decoder;
// generate() is for one caller, with a decoder of its own; createEngine() (engine.ts) is for many.
import { SweetspotError } from '../backend/errors.js';
import type { Tokenizer } from '../data/tokenizer.js';
import type { DenseModel } from '../models/dense.js';
import { Prng } from '../tensor/prng.js';
import { Decoder } from './decoder.js';
import { checkSampling, type SamplingSettings, sample } from './sampling.js';

/** How to continue a text, and when to stop. */
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
  /** Ends the generation. */
  readonly signal?: AbortSignal | undefined;
}

/** GenerateOptions, checked and complete. */
export interface GenerateSettings extends SamplingSettings {
  readonly maxTokens: number;
  readonly seed: number | string;
  readonly stop: readonly string[];
}

/** Of a text that need not be repeated. */
const anySeed = (): number => crypto.getRandomValues(new Uint32Array(1))[0]!;

/** Defaults filled in. Throws SWEETSPOT_USAGE for an option of the wrong type or out of range. */
export function generateSettings(options: GenerateOptions): GenerateSettings {
  const { maxTokens = 200, temperature = 0.8, topK = 40, topP = 1, seed = anySeed(), signal } = options;
  checkSampling({ temperature, topK, topP });
  if (!Number.isInteger(maxTokens) || maxTokens < 0) throw usage('maxTokens', 'a whole number from 0 up', maxTokens);
  if (typeof seed !== 'string' && !Number.isFinite(seed)) throw usage('seed', 'a number or a text', seed);
  const stop = [options.stop ?? []].flat();
  if (!stop.every((text) => typeof text === 'string' && text !== ''))
    throw usage('stop', 'texts that are not empty', JSON.stringify(options.stop));
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw usage('signal', 'an AbortSignal', signal);
  return { maxTokens, temperature, topK, topP, seed, stop };
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
  const settings = generateSettings(options);
  const { tokenizer } = model;
  const ids = markedPrompt(tokenizer, typeof prompt === 'string' ? tokenizer.encode(prompt) : prompt);
  const { signal } = options;
  const check = () => {
    if (signal?.aborted) throw abortedError(signal);
  };
  check();
  const decoder = new Decoder(model);
  try {
    yield* continueText((next) => decoder.read(next, check), tokenizer, ids, settings, check);
  } finally {
    decoder.dispose();
  }
}

/**
 * All of what `generate` gives, in one string.
 *
 * @throws SweetspotError like `generate`
 */
export async function generateText(
  model: DenseModel,
  prompt: string | Uint32Array,
  options: GenerateOptions = {},
): Promise<string> {
  let text = '';
  for await (const piece of generate(model, prompt, options)) text += piece;
  return text;
}

/**
 * The loop of all generation, in pieces of text as they become complete.
 *
 * @param read reads ids after those before, and gives the logits of the next token
 * @param prompt from the marker on
 * @param check called whenever there was something to wait for; what it throws ends the generation
 */
export async function* continueText(
  read: (ids: readonly number[]) => Promise<Float32Array>,
  tokenizer: Tokenizer,
  prompt: readonly number[],
  settings: GenerateSettings,
  check: () => void,
): AsyncGenerator<string, void, undefined> {
  const { maxTokens, seed, stop } = settings;
  const random = new Prng(seed);
  const text = tokenizer.streamDecoder();
  let next = prompt;
  let held = '';
  for (let n = 0; n < maxTokens; n++) {
    check();
    const logits = await read(next);
    check();
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
}

/** The marker, unless it is there, and `ids`. Throws SWEETSPOT_USAGE for an id that the tokenizer does not have. */
export function markedPrompt(tokenizer: Tokenizer, ids: Uint32Array): number[] {
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
