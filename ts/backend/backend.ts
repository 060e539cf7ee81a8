// The contract between the library and a device. A backend owns buffers and executes Programs: lists of rows, each one op
// of bindings/ops.json over places in buffers. Everything that computes goes through these few members; they have
// stopped growing. A new device implements them and passes test/conformance.

/** A buffer by number. Integer handles: nothing per tensor crosses the border. */
export type BufferId = number;
/** A compiled Program by number. */
export type ProgramId = number;

/** What a backend says about itself. */
export interface Capabilities {
  /** Instruction set the kernels were compiled for, e.g. 'avx512'. */
  readonly isa: string;
  /** Compute threads, the stream's own included. */
  readonly threads: number;
}

/** Rows as words (see bindings/ops.json) and, for messages, how to print each of them. */
export interface RowList {
  readonly words: Uint32Array;
  /**
   * Buffer that nothing but this Program reads, apart from the ranges in `kept`: a device may keep numbers there in a form
   * of its own (CUDA: bf16, where they are only multiplied), or not at all.
   */
  readonly arena?: BufferId;
  /** Ranges of bytes of the arena that are read after a run: from, to, from, to and so on. */
  readonly kept?: readonly number[];
  /** Readable form of row `index`, for errors; optional. */
  describe?(index: number): string;
}

/** A device that computes: made by `openBackend`, given to whatever computes, closed at the end. */
export interface Backend {
  /** Which one it is. */
  readonly name: 'cpu' | 'cuda' | 'wasm' | 'oracle';
  /** What it computes with. */
  readonly capabilities: Capabilities;
  /** New zeroed buffer of `bytes`. Throws SWEETSPOT_BACKEND_UNAVAILABLE when there is no memory. */
  alloc(bytes: number): BufferId;
  /** Ordered after the work already submitted. */
  free(id: BufferId): void;
  /** Copies `bytes` before returning; ordered with the rest. */
  write(id: BufferId, offset: number, bytes: Uint8Array): void;
  /** Bytes as they are after the work already submitted. Rejects when a row before it failed. */
  read(id: BufferId, offset: number, length: number): Promise<Uint8Array>;
  /** Checks every row against the op table and the buffers once. Throws SWEETSPOT_PROGRAM. */
  compile(program: RowList): ProgramId;
  /** Queues all rows; returns at once. */
  run(id: ProgramId): void;
  /** Gives the Program back; ordered after the runs already queued. */
  release(id: ProgramId): void;
  /** Resolves when everything submitted is done; rejects with the first error since the last fence, naming op, row and shapes. */
  fence(): Promise<void>;
  /** Bytes in buffers now. */
  allocated(): number;
  /** Stops at the next row, rejects what is pending, frees everything. Safe to call twice. */
  close(): Promise<void>;
  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
