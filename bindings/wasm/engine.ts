// The side of the WebAssembly backend that lives in a thread of its own: memory, linked rows, and the module that runs them. The
// same in Node and in a browser.
import { instantiateSync } from '@assemblyscript/loader';
import { Heap } from './heap.js';
import { ARGUMENTS, FAILED, MESSAGE, newMemory, THREADS } from './layout.js';
import type { Command, Reply, Start } from './protocol.js';

interface Exports extends Record<string, unknown> {
  /** Runs rows; returns their count, or the number of the row that failed. */
  run(rows: number, count: number): number;
  /** The life of a pool thread. */
  work(): void;
  heapBase(): number;
}

interface Linked {
  /** The block: rows, and behind them the address of each. */
  readonly at: number;
  readonly table: number;
  readonly count: number;
}

/** The exports of the module, and AssemblyScript's view of a text in its memory. */
function instance(module: WebAssembly.Module, memory: WebAssembly.Memory, scratch: (bytes: number) => number) {
  const env: Record<string, unknown> = { memory, scratch, now: () => performance.now() };
  return instantiateSync<Exports>(module, { env }).exports;
}

/** The life of a pool thread: returns when the backend is closed. */
export function help(start: Start): void {
  instance(start.module, start.memory!, () => 0).work();
}

export class Engine {
  readonly #memory: WebAssembly.Memory;
  readonly #exports: ReturnType<typeof instance>;
  readonly #heap: Heap;
  readonly #bases = new Map<number, number>();
  readonly #programs = new Map<number, Linked>();
  #scratch = { at: 0, bytes: 0 };
  /** The first error since the last fence. */
  #latch: string | undefined;
  #trapped = false;

  constructor(start: Start) {
    this.#memory = start.memory ?? newMemory(false);
    this.#exports = instance(start.module, this.#memory, (bytes) => this.#takeScratch(bytes >>> 0));
    this.#heap = new Heap(this.#memory, this.#exports.heapBase() >>> 0);
    this.#words()[THREADS / 4] = start.threads;
  }

  /** Does one command. Never throws: what goes wrong is latched and told by the next read or fence. */
  do(command: Command): Reply | undefined {
    try {
      return this.#do(command);
    } catch (error) {
      this.#latch ??= `${command.do} failed: ${(error as Error).message}`;
      return 'ticket' in command ? this.#reply(command.ticket) : undefined;
    }
  }

  #do(command: Command): Reply | undefined {
    switch (command.do) {
      case 'alloc': {
        const at = this.#heap.alloc(command.bytes);
        if (at === 0) throw new Error(`no WebAssembly memory for a buffer of ${command.bytes} bytes`);
        this.#bytes(at, command.bytes).fill(0);
        this.#bases.set(command.id, at);
        return undefined;
      }
      case 'free':
        this.#heap.free(this.#bases.get(command.id) ?? 0);
        this.#bases.delete(command.id);
        return undefined;
      case 'write':
        this.#bytes(this.#base(command.id) + command.offset, command.bytes.length).set(command.bytes);
        return undefined;
      case 'read':
        if (this.#latch !== undefined) return this.#reply(command.ticket);
        return {
          ticket: command.ticket,
          bytes: this.#bytes(this.#base(command.id) + command.offset, command.length).slice(),
        };
      case 'compile':
        this.#link(command);
        return undefined;
      case 'run':
        if (this.#latch === undefined) this.#run(command.program);
        return undefined;
      case 'release': {
        const linked = this.#programs.get(command.program);
        this.#programs.delete(command.program);
        if (linked !== undefined) this.#heap.free(linked.at);
        return undefined;
      }
      case 'fence': {
        const reply = this.#reply(command.ticket);
        if (!this.#trapped) this.#latch = undefined;
        return reply;
      }
    }
  }

  /** Copies the words into memory, with addresses in place of buffers and offsets: a buffer stays where it is. */
  #link({ program, words, rows, operands }: Extract<Command, { do: 'compile' }>): void {
    for (const at of operands) {
      words[at] = words[at] === 0xffffffff ? 0 : this.#base(words[at]!) + words[at + 1]! * 64;
      words[at + 1] = 0;
    }
    const at = this.#heap.alloc(words.byteLength + rows.byteLength);
    if (at === 0) throw new Error(`no WebAssembly memory for a Program of ${words.byteLength} bytes`);
    const table = at + words.byteLength;
    this.#words().set(words, at / 4);
    this.#words().set(
      rows.map((row) => at + row * 4),
      table / 4,
    );
    this.#programs.set(program, { at, table, count: rows.length });
  }

  #run(id: number): void {
    const linked = this.#programs.get(id);
    if (linked === undefined) throw new Error(`program ${id} is not compiled`);
    let row = 0;
    try {
      row = this.#exports.run(linked.table, linked.count) >>> 0;
    } catch (error) {
      // A trap left the pool in the middle of a job: nothing that follows could be trusted.
      this.#trapped = true;
      this.#latch = `program ${id} trapped: ${(error as Error).message}; the backend must be opened anew`;
      return;
    }
    if (row < linked.count && this.#words()[FAILED / 4] !== 0) this.#latch = `${id}\t${row}\t${this.#message()}`;
    this.#words()[FAILED / 4] = 0;
  }

  /** What a kernel said, with its numbers in place of {}. */
  #message(): string {
    const text = this.#exports.__getString(this.#words()[MESSAGE / 4]!);
    const numbers = new Float64Array(this.#memory.buffer, ARGUMENTS, 4);
    let next = 0;
    return text.replace(/\{\}/g, () => String(numbers[next++]));
  }

  #takeScratch(bytes: number): number {
    if (bytes > this.#scratch.bytes || this.#scratch.at === 0) {
      this.#heap.free(this.#scratch.at);
      this.#scratch = { at: this.#heap.alloc(bytes), bytes };
    }
    return this.#scratch.at;
  }

  #base(id: number): number {
    const at = this.#bases.get(id);
    if (at === undefined) throw new Error(`there is no memory behind buffer ${id}`);
    return at;
  }

  #reply(ticket: number): Reply {
    return this.#latch === undefined ? { ticket } : { ticket, error: this.#latch };
  }

  // Views end when memory grows, so they are made when they are used.
  #bytes(at: number, length: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, at, length);
  }

  #words(): Uint32Array {
    return new Uint32Array(this.#memory.buffer);
  }
}
