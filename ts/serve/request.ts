// One request of an engine: a signal of its own, which fires when the caller's does, when the caller leaves and when the
// engine closes, and a decoder on loan, which goes back the moment it is not needed: at the end, or when the signal fires
// while nothing runs (a caller that aborts and never asks for the next piece).
import type { Decoder } from './decoder.js';
import type { Lending } from './lending.js';

/** Why a request ends whose caller has left the loop. */
const LEFT = Symbol('left');

export class EngineRequest {
  readonly #controller = new AbortController();
  readonly #given: AbortSignal | undefined;
  readonly #forward = () => this.#controller.abort(this.#given!.reason);

  /** @param given the caller's */
  constructor(given: AbortSignal | undefined) {
    this.#given = given;
    if (given?.aborted === true) this.#forward();
    else given?.addEventListener('abort', this.#forward, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether it ended because the caller left. */
  get left(): boolean {
    return this.signal.reason === LEFT;
  }

  stop(reason: unknown = LEFT): void {
    this.#controller.abort(reason);
  }

  /** Throws why the request has to end, if it has to. */
  readonly check = (): void => this.signal.throwIfAborted();

  /** Waits for a decoder. Throws like `Lending.take`. */
  async borrow(decoders: Lending<Decoder>): Promise<Loan> {
    return new Loan(await decoders.take(this.signal), decoders, this.signal);
  }

  /** Lets go of the caller's signal, which may live longer than the request. */
  end(): void {
    this.#given?.removeEventListener('abort', this.#forward);
  }
}

export class Loan {
  readonly #decoder: Decoder;
  readonly #decoders: Lending<Decoder>;
  readonly #signal: AbortSignal;
  readonly #onAbort = () => this.#giveBack();
  #running = false;
  #lent = true;

  constructor(decoder: Decoder, decoders: Lending<Decoder>, signal: AbortSignal) {
    this.#decoder = decoder;
    this.#decoders = decoders;
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Does one piece of work at a time, unless the signal has fired. */
  async run<R>(work: (decoder: Decoder) => Promise<R>): Promise<R> {
    this.#signal.throwIfAborted();
    this.#running = true;
    try {
      return await work(this.#decoder);
    } finally {
      this.#running = false;
      if (this.#signal.aborted) this.#giveBack();
    }
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#giveBack();
  }

  #giveBack(): void {
    if (this.#running || !this.#lent) return;
    this.#lent = false;
    this.#decoder.reset();
    this.#decoders.give(this.#decoder);
  }
}

/**
 * The pieces of a request as its caller iterates over them. Unlike a generator's own, `return` does not wait for a `next`
 * that is under way: it ends the request, and that `next` says done.
 */
export class PieceIterator implements AsyncGenerator<string, void, undefined> {
  readonly #pieces: AsyncGenerator<string, void, undefined>;
  readonly #leave: () => void;

  constructor(pieces: AsyncGenerator<string, void, undefined>, leave: () => void) {
    this.#pieces = pieces;
    this.#leave = leave;
  }

  next(): Promise<IteratorResult<string, void>> {
    return this.#pieces.next();
  }

  return(): Promise<IteratorResult<string, void>> {
    this.#leave();
    return this.#pieces.return();
  }

  async throw(error: unknown): Promise<IteratorResult<string, void>> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}
