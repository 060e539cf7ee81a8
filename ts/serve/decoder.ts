// Reading tokens and predicting the next. A Decoder holds the keys and values of what the model has read, one cache a
// layer, and two Programs: one that reads a chunk of tokens, one that reads a single token; both give the logits after
// the last token.
//
// When the context is full, the last half of it is read again from position 0 and generation goes on: positions past the
// trained context length are never used, and the cost of reading again is spread over T/2 tokens.
import type { Backend, BufferId } from '../backend/backend.js';
import type { DenseModel } from '../models/dense.js';
import { headShape, outputMatrix, transformer } from '../models/transformer.js';
import { attentionDecode } from '../ops/attention.js';
import { embedding } from '../ops/embedding.js';
import { linear } from '../ops/matmul.js';
import { softCap } from '../ops/soft_cap.js';
import { Program } from '../program/program.js';
import { bufferTensor, reshape } from '../tensor/tensor.js';

/** Tokens a prefill run reads. More is faster on long prompts, and wastes more on short ones. */
const CHUNK = 32;

/** Where the inputs lie in their buffer, in bytes. The position of the first row is the first of POSITIONS. */
const TOKENS = 0;
const POSITIONS = CHUNK * 4;
const LAST = 2 * CHUNK * 4;
const INPUT_BYTES = LAST + 64;

/** Chunks queued at once: the device never waits for the next, and others who share it wait for no more than these. */
const IN_FLIGHT = 2;

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
   * @param check called before every chunk; what it throws ends the reading
   * @throws SweetspotError SWEETSPOT_PROGRAM when the device fails
   */
  async read(ids: readonly number[], check: () => void = () => {}): Promise<Float32Array> {
    const T = this.#model.config.contextLength;
    let rest = ids;
    if (this.#context.length + ids.length > T) {
      rest = [...this.#context, ...ids].slice(-Math.max(1, Math.floor(T / 2)));
      this.#context = [];
    }
    const queued: Promise<unknown>[] = [];
    try {
      let program = this.#step;
      for (let at = 0; at < rest.length; ) {
        check();
        program = rest.length - at === 1 ? this.#step : this.#chunk;
        const part = rest.slice(at, at + (program === this.#step ? 1 : CHUNK));
        this.#run(program, part);
        this.#context.push(...part);
        at += part.length;
        // Any bytes will do: they arrive when the chunk has been read.
        if (at < rest.length && queued.push(this.#backend.read(this.#inputs, 0, 4)) === IN_FLIGHT) await queued.shift();
      }
      return await program.read('logits');
    } finally {
      await Promise.allSettled(queued);
    }
  }

  /** Forgets what was read; the caches stay, for the next text. */
  reset(): void {
    this.#context = [];
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
