// An engine: one model that many callers of a service use at once. A fixed number of texts is decoded at a time, each with a
// decoder of its own (keys and values, allocated once and used again); further requests wait in order, and past a limit they
// are refused at once. Each text has one step queued at a time and the device takes steps in order of arrival, so texts
// advance by turns and a long one holds nobody up. Nothing of one request is seen by another: text depends on the seed alone.
import { type Backend, openBackend, SweetspotError } from '../backend/index.js';
import { encodePolitely, textCorpus } from '../data/corpus.js';
import { Pace } from '../data/readers.js';
import { type Evaluation, evaluateCorpus } from '../eval/perplexity.js';
import { DenseModel } from '../models/dense.js';
import { Decoder } from './decoder.js';
import { checkedEngine, type EngineOptions, known } from './engine_options.js';
import { continueText, type GenerateOptions, generateSettings, markedPrompt } from './generate.js';
import { Lending } from './lending.js';
import { EngineRequest, PieceIterator } from './request.js';

/** Tokens of one run of a measurement: short, so that texts which are decoded beside it go on between two of them. */
const BATCH_TOKENS = 512;

/** What an engine is and how much it has to do. */
export interface EngineInfo {
  /** Backend it computes on, as 'cpu'. */
  readonly backend: Backend['name'];
  /** Instruction set of its kernels. */
  readonly isa: string;
  /** Compute threads. */
  readonly threads: number;
  /** Values of the model. */
  readonly parameters: number;
  /** Tokens the model looks back on. */
  readonly contextLength: number;
  /** Tokens of its tokenizer. */
  readonly vocabSize: number;
  /** Texts decoded at once. */
  readonly sequences: number;
  /** Requests that may wait. */
  readonly queue: number;
  /** Requests being served now, those that wait included. */
  readonly requests: number;
  /** Requests that wait now. */
  readonly waiting: number;
}

/** A model that serves many callers at once: made by `createEngine`. Close it, or take it with `await using`. */
export class Engine {
  readonly #backend: Backend;
  readonly #model: DenseModel;
  readonly #owns: { readonly backend: boolean; readonly model: boolean };
  readonly #all: readonly Decoder[];
  readonly #decoders: Lending<Decoder>;
  readonly #queue: number;
  readonly #requests = new Set<EngineRequest>();
  /** Work on the device, which has to end before anything is freed. */
  readonly #running = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(
    model: DenseModel,
    decoders: readonly Decoder[],
    queue: number,
    owns: { readonly backend: boolean; readonly model: boolean },
  ) {
    this.#backend = model.backend;
    this.#model = model;
    this.#all = decoders;
    this.#decoders = new Lending(decoders, queue);
    this.#queue = queue;
    this.#owns = owns;
  }

  /** What the engine is and how much it has to do now; stays readable after `close`. */
  get info(): EngineInfo {
    const { config, parameters, tokenizer } = this.#model;
    return {
      backend: this.#backend.name,
      isa: this.#backend.capabilities.isa,
      threads: this.#backend.capabilities.threads,
      parameters: parameters.count,
      contextLength: config.contextLength,
      vocabSize: tokenizer.vocabSize,
      sequences: this.#all.length,
      queue: this.#queue,
      requests: this.#requests.size,
      waiting: this.#decoders.waiting,
    };
  }

  /**
   * Continues `prompt`, in pieces of text as they become complete. Nothing happens before the first piece is asked for, and
   * all errors come there or later. Leaving the loop, `return()` and aborting free the place at once, in the queue too.
   * A caller that does not ask for the next piece keeps its place: give a signal with a time limit to what may stall.
   *
   * @param prompt text, or ids of the model's tokenizer; may be empty. Of one longer than the context, the last half
   *   context counts
   * @throws the reason of `signal`, when it fires; SweetspotError SWEETSPOT_USAGE for an option that is unknown, of the wrong
   *   type or out of range; SWEETSPOT_BUSY when the queue is full; SWEETSPOT_CLOSED when the engine was or is closed;
   *   SWEETSPOT_INPUT when the model gives no finite logits; SWEETSPOT_PROGRAM when the device fails
   */
  generate(prompt: string | Uint32Array, options: GenerateOptions = {}): AsyncGenerator<string, void, undefined> {
    let request: EngineRequest | undefined;
    const begin = (signal: AbortSignal | undefined) => {
      request = this.#begin(signal);
      return request;
    };
    return new PieceIterator(this.#generate(prompt, options, begin), () => request?.stop());
  }

  /**
   * All of what `generate` gives, in one string.
   *
   * @throws like `generate`
   */
  async generateText(prompt: string | Uint32Array, options: GenerateOptions = {}): Promise<string> {
    let text = '';
    for await (const piece of this.generate(prompt, options)) text += piece;
    return text;
  }

  /**
   * How well the model predicts `text`, one document: what `evaluate` says of a file that holds it, to rounding. Takes a
   * place among the texts that are decoded.
   *
   * @throws like `generate`; SweetspotError SWEETSPOT_INPUT when there is nothing to predict
   */
  async perplexity(text: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Evaluation> {
    known('perplexity', options, ['signal']);
    if (typeof text !== 'string') throw usage('perplexity: text', 'a string', typeof text);
    const { config, parameters, tokenizer } = this.#model;
    const request = this.#begin(options.signal);
    try {
      using loan = await request.borrow(this.#decoders);
      return await loan.run(() =>
        this.#track(async () => {
          const { signal } = request;
          const corpus = await textCorpus(text, tokenizer, signal);
          return evaluateCorpus(this.#backend, config, parameters, corpus, { batchTokens: BATCH_TOKENS, signal });
        }),
      );
    } catch (error) {
      throw await this.#cause(request, error);
    } finally {
      this.#end(request);
    }
  }

  /**
   * Refuses new requests, ends those there are with SWEETSPOT_CLOSED, waits for what runs on the device, and frees everything
   * that the engine made. A backend or model that was given to it stays as it was. Safe to call twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async *#generate(
    prompt: string | Uint32Array,
    options: GenerateOptions,
    begin: (signal: AbortSignal | undefined) => EngineRequest,
  ): AsyncGenerator<string, void, undefined> {
    known('generation', options, ['maxTokens', 'temperature', 'topK', 'topP', 'seed', 'stop', 'signal']);
    const settings = generateSettings(options);
    const { tokenizer } = this.#model;
    if (typeof prompt !== 'string' && !(prompt instanceof Uint32Array))
      throw usage('generation: prompt', 'a string or a Uint32Array', typeof prompt);
    // Ids are checked before the request waits; a text has none that are wrong.
    let ids = typeof prompt === 'string' ? undefined : markedPrompt(tokenizer, prompt);
    const request = begin(options.signal);
    try {
      using loan = await request.borrow(this.#decoders);
      ids ??= markedPrompt(
        tokenizer,
        await loan.run(() => encodePolitely(prompt as string, tokenizer, new Pace(request.signal))),
      );
      const read = (next: readonly number[]) =>
        loan.run((decoder) => this.#track(() => decoder.read(next, request.check)));
      yield* continueText(read, tokenizer, ids, settings, request.check);
    } catch (error) {
      if (!request.left) throw await this.#cause(request, error);
    } finally {
      this.#end(request);
    }
  }

  #begin(signal: AbortSignal | undefined): EngineRequest {
    if (signal !== undefined && !(signal instanceof AbortSignal))
      throw usage('signal', 'an AbortSignal', typeof signal);
    if (this.#closing !== undefined) throw closedError();
    const request = new EngineRequest(signal);
    this.#requests.add(request);
    // Its caller may never ask for anything again.
    request.signal.addEventListener('abort', () => this.#end(request), { once: true });
    return request;
  }

  #end(request: EngineRequest): void {
    request.end();
    this.#requests.delete(request);
  }

  async #track<R>(work: () => Promise<R>): Promise<R> {
    const running = work();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** What the caller is told: why the request had to end, if it had to. */
  async #cause(request: EngineRequest, error: unknown): Promise<unknown> {
    if (request.signal.aborted) return request.signal.reason;
    // A failed row stops all that follow until the device is told to go on; of a borrowed one that is its owner's decision.
    if (this.#owns.backend && error instanceof SweetspotError && error.code === 'SWEETSPOT_PROGRAM')
      await this.#backend.fence().catch(() => {});
    return error;
  }

  async #close(): Promise<void> {
    for (const request of this.#requests) request.stop(closedError());
    await Promise.allSettled(this.#running);
    for (const decoder of this.#all) decoder.dispose();
    if (this.#owns.model) this.#model.dispose();
    if (this.#owns.backend) await this.#backend.close();
  }
}

/**
 * Loads a model for a service: one engine, any number of requests at a time. It takes its memory here, so that later
 * requests cannot fail for want of it; the event loop stays free meanwhile.
 *
 * @throws SweetspotError SWEETSPOT_USAGE for an option that is unknown, of the wrong type or out of range; like
 *   `openBackend` and `DenseModel.load`; the reason of `signal` when it fires. Nothing is left behind then
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const { model: given, backend: wanted, borrowed, sequences, queue, signal } = checkedEngine(options);
  signal?.throwIfAborted();
  const undo: (() => unknown)[] = [];
  try {
    const backend = borrowed ?? openBackend(wanted);
    if (borrowed === undefined) undo.push(() => backend.close());
    const model = typeof given === 'string' ? await DenseModel.open(backend, given, { signal }) : given;
    if (model !== given) undo.push(() => model.dispose());
    const decoders: Decoder[] = [];
    const pace = new Pace(signal);
    for (let i = 0; i < sequences; i++) {
      const decoder = new Decoder(model);
      decoders.push(decoder);
      undo.push(() => decoder.dispose());
      await pace.breathe();
    }
    return new Engine(model, decoders, queue, { backend: borrowed === undefined, model: model !== given });
  } catch (error) {
    for (const step of undo.reverse()) await step();
    throw signal?.aborted === true ? signal.reason : error;
  }
}

function usage(what: string, expected: string, found: string): SweetspotError {
  return new SweetspotError('SWEETSPOT_USAGE', { what, expected, found });
}

function closedError(): SweetspotError {
  return new SweetspotError('SWEETSPOT_CLOSED', {
    what: 'the engine is closed',
    fix: 'create another one; close an engine only when nobody needs it any more',
  });
}
