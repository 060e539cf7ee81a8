// What goes between a WebAssembly backend and its threads. Commands are done in the order they were sent.

/** What a new thread is told. A 'stream' runs commands, a 'pool' thread helps it compute. */
export interface Start {
  readonly role: 'stream' | 'pool';
  readonly module: WebAssembly.Module;
  /** Shared by all threads; a thread alone makes its own. */
  readonly memory: WebAssembly.Memory | undefined;
  /** Threads that compute, the stream's own included. */
  readonly threads: number;
}

export type Command =
  | { readonly do: 'alloc'; readonly id: number; readonly bytes: number }
  | { readonly do: 'free'; readonly id: number }
  | { readonly do: 'write'; readonly id: number; readonly offset: number; readonly bytes: Uint8Array }
  | {
      readonly do: 'read';
      readonly ticket: number;
      readonly id: number;
      readonly offset: number;
      readonly length: number;
    }
  /** `operands` are the words that begin an operand, `rows` those that begin a row. */
  | {
      readonly do: 'compile';
      readonly program: number;
      readonly words: Uint32Array;
      readonly rows: Uint32Array;
      readonly operands: Uint32Array;
    }
  | { readonly do: 'run'; readonly program: number }
  | { readonly do: 'release'; readonly program: number }
  | { readonly do: 'fence'; readonly ticket: number };

/** The answer to a read or a fence. `error`: "program TAB row TAB reason" when a row failed, any other text otherwise. */
export interface Reply {
  readonly ticket: number;
  readonly bytes?: Uint8Array;
  readonly error?: string;
}

/** A thread, as the page or Node makes them. */
export interface Thread {
  post(message: Command, transfer: readonly ArrayBuffer[]): void;
  /** Whether the process stays alive for it. */
  hold(alive: boolean): void;
  terminate(): void;
}

/** Makes a thread. `failed` is called when it dies or cannot start. */
export type Spawn = (start: Start, reply: (reply: Reply) => void, failed: (reason: string) => void) => Thread;
