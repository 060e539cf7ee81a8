// The WebAssembly backend behind the interface of the addon's Device: ids, sizes and pending answers live here, on the caller's
// thread; memory and rows in a thread of its own (engine.ts). What is checked here throws at once; what goes wrong there is
// latched and told by the next read or fence, as on the other backends.
import type { Device } from '../device.js';
import { GENERATION, MAX_PAGES, newMemory, PAGE, STOP } from './layout.js';
import type { Command, Reply, Spawn, Thread } from './protocol.js';

/** Where the parts of a checked row list lie: see Command 'compile'. */
export interface CheckedRows {
  readonly rows: Uint32Array;
  readonly operands: Uint32Array;
  /** Buffers that the rows use. */
  readonly buffers: ReadonlySet<number>;
}

/** Checks rows against the op table; `check` throws when bytes lie outside a buffer. */
export type CheckRows = (
  words: Uint32Array,
  check: (buffer: number, offset: number, bytes: number, what: string) => void,
) => CheckedRows;

export interface WasmDeviceOptions {
  readonly module: WebAssembly.Module;
  /** Threads that compute. More than one needs a module with threads. */
  readonly threads: number;
  /** Whether the module was compiled for shared memory. */
  readonly shared: boolean;
  readonly spawn: Spawn;
  readonly check: CheckRows;
}

interface Waiting {
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/** Bytes kept for the module's own data, Programs and scratch when a buffer is weighed against what is left. */
const RESERVED = 64 << 20;
const LIMIT = MAX_PAGES * PAGE - RESERVED;
const MAX_BUFFERS = 65536;

export class WasmDevice implements Device {
  /** Undefined when the stream's thread has its own. */
  readonly #memory: WebAssembly.Memory | undefined;
  readonly #check: CheckRows;
  readonly #stream: Thread;
  readonly #pool: readonly Thread[];
  /** By id; serial 0 is free. */
  readonly #buffers: { bytes: number; serial: number }[] = [];
  readonly #freeIds: number[] = [];
  readonly #programs = new Map<number, ReadonlyMap<number, number>>();
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #allocated = 0;
  #broken: string | undefined;

  constructor({ module, threads, shared, spawn, check }: WasmDeviceOptions) {
    this.#memory = shared ? newMemory(true) : undefined;
    this.#check = check;
    const start = (role: 'stream' | 'pool') =>
      spawn(
        { role, module, memory: this.#memory, threads },
        (reply) => this.#settle(reply),
        (reason) => this.#break(`a thread of the WebAssembly backend ended: ${reason}`),
      );
    this.#stream = start('stream');
    this.#pool = Array.from({ length: threads - 1 }, () => start('pool'));
  }

  alloc(bytes: number): number {
    this.#open();
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError('expected a size in bytes');
    if (bytes > LIMIT - this.#allocated)
      throw new Error(`out of memory: ${bytes} bytes, of 4 GiB of WebAssembly ${this.#allocated} are in use`);
    const id = this.#freeIds.pop() ?? this.#buffers.length;
    if (id === MAX_BUFFERS) throw new Error('no more than 65536 buffers can be in use');
    this.#buffers[id] = { bytes, serial: this.#next++ };
    this.#allocated += bytes;
    this.#post({ do: 'alloc', id, bytes });
    return id;
  }

  free(id: number): void {
    this.#inside(id, 0, 0, 'free');
    this.#allocated -= this.#buffers[id]!.bytes;
    this.#buffers[id]!.serial = 0;
    this.#freeIds.push(id);
    this.#post({ do: 'free', id });
  }

  write(id: number, offset: number, bytes: Uint8Array): void {
    this.#inside(id, offset, bytes.byteLength, 'write');
    const copy = new Uint8Array(bytes.byteLength);
    copy.set(bytes);
    this.#post({ do: 'write', id, offset, bytes: copy }, [copy.buffer]);
  }

  read(id: number, offset: number, length: number): Promise<Uint8Array> {
    this.#inside(id, offset, length, 'read');
    return this.#ask((ticket) => ({ do: 'read', ticket, id, offset, length }));
  }

  compile(words: Uint32Array): number {
    this.#open();
    const { rows, operands, buffers } = this.#check(words, (id, offset, bytes, what) =>
      this.#inside(id, offset, bytes, what),
    );
    const program = this.#next++;
    this.#programs.set(program, new Map([...buffers].map((id) => [id, this.#buffers[id]!.serial])));
    const copy = words.slice();
    this.#post({ do: 'compile', program, words: copy, rows, operands }, [copy.buffer]);
    return program;
  }

  run(program: number): void {
    for (const [buffer, serial] of this.#program(program))
      if (this.#buffers[buffer]!.serial !== serial)
        throw new Error(`program ${program} uses buffer ${buffer}, which was freed`);
    this.#post({ do: 'run', program });
  }

  release(program: number): void {
    this.#program(program);
    this.#programs.delete(program);
    this.#post({ do: 'release', program });
  }

  async fence(): Promise<void> {
    await this.#ask((ticket) => ({ do: 'fence', ticket }));
  }

  allocated(): number {
    return this.#allocated;
  }

  close(): void {
    this.#break('the backend is closed');
  }

  #break(reason: string): void {
    if (this.#broken !== undefined) return;
    this.#broken = reason;
    if (this.#memory !== undefined) {
      const words = new Int32Array(this.#memory.buffer);
      Atomics.store(words, STOP / 4, 1);
      Atomics.add(words, GENERATION / 4, 2);
      Atomics.notify(words, GENERATION / 4);
    }
    for (const thread of [this.#stream, ...(this.#pool ?? [])]) thread?.terminate();
    for (const { reject } of this.#waiting.values()) reject(new Error(this.#broken));
    this.#waiting.clear();
    this.#buffers.length = 0;
    this.#programs.clear();
    this.#allocated = 0;
  }

  #open(): void {
    if (this.#broken !== undefined) throw new Error(this.#broken);
  }

  #inside(id: number, offset: number, length: number, what: string): void {
    this.#open();
    const buffer = this.#buffers[id];
    if (buffer === undefined || buffer.serial === 0) throw new Error(`${what}: buffer ${id} is not allocated`);
    if (!(offset >= 0 && length >= 0 && offset + length <= buffer.bytes))
      throw new Error(`${what}: bytes ${offset} to ${offset + length} of a buffer of ${buffer.bytes}`);
  }

  #program(id: number): ReadonlyMap<number, number> {
    this.#open();
    const found = this.#programs.get(id);
    if (found === undefined) throw new Error(`program ${id} is not compiled`);
    return found;
  }

  #post(command: Command, transfer: readonly ArrayBuffer[] = []): void {
    this.#stream.post(command, transfer);
  }

  #ask(command: (ticket: number) => Command): Promise<Uint8Array> {
    this.#open();
    return new Promise((resolve, reject) => {
      const ticket = this.#next++;
      if (this.#waiting.size === 0) this.#stream.hold(true);
      this.#waiting.set(ticket, { resolve, reject });
      this.#post(command(ticket));
    });
  }

  #settle({ ticket, bytes, error }: Reply): void {
    const waiting = this.#waiting.get(ticket);
    if (waiting === undefined) return;
    this.#waiting.delete(ticket);
    if (this.#waiting.size === 0) this.#stream.hold(false);
    if (error === undefined) waiting.resolve(bytes ?? new Uint8Array(0));
    else waiting.reject(new Error(error));
  }
}
