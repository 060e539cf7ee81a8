// Blocks of a WebAssembly memory: first fit over free ranges in order of address, joined when they touch. A backend has a few dozen
// buffers, most of them for its whole life, so nothing cleverer pays.
import { ALIGNMENT, MAX_PAGES, PAGE } from './layout.js';

/** Memory grows by at least this, so that small buffers do not each grow it. */
const STEP = 4 << 20;

const up = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

export class Heap {
  readonly #memory: WebAssembly.Memory;
  /** Free ranges [at, end), ascending, apart. */
  readonly #free: { at: number; end: number }[] = [];
  readonly #sizes = new Map<number, number>();
  #end: number;

  /** `start`: the first byte that is nobody's. */
  constructor(memory: WebAssembly.Memory, start: number) {
    this.#memory = memory;
    this.#end = memory.buffer.byteLength;
    this.#release(up(start, ALIGNMENT), this.#end);
  }

  /** Address of `bytes`, at least one, contents undefined; 0 when there is no such memory. */
  alloc(bytes: number): number {
    const size = up(Math.max(bytes, 1), ALIGNMENT);
    let found = this.#free.findIndex((range) => range.end - range.at >= size);
    if (found < 0) {
      if (!this.#grow(size)) return 0;
      found = this.#free.length - 1;
    }
    const range = this.#free[found]!;
    const at = range.at;
    range.at += size;
    if (range.at === range.end) this.#free.splice(found, 1);
    this.#sizes.set(at, size);
    return at;
  }

  free(at: number): void {
    const size = this.#sizes.get(at);
    if (size === undefined) return;
    this.#sizes.delete(at);
    this.#release(at, at + size);
  }

  #grow(size: number): boolean {
    const last = this.#free.at(-1);
    const have = last?.end === this.#end ? last.end - last.at : 0;
    const pages = (bytes: number): number => Math.ceil(bytes / PAGE);
    const left = MAX_PAGES - this.#end / PAGE;
    // In steps where there is room for them, else just what is missing.
    for (const wanted of [Math.min(pages(Math.max(size - have, STEP)), left), pages(size - have)]) {
      if (wanted * PAGE < size - have) continue;
      try {
        this.#memory.grow(wanted);
      } catch {
        continue;
      }
      const end = this.#end + wanted * PAGE;
      this.#release(this.#end, end);
      this.#end = end;
      return true;
    }
    return false;
  }

  #release(at: number, end: number): void {
    let i = this.#free.findIndex((range) => range.at > at);
    if (i < 0) i = this.#free.length;
    const before = this.#free[i - 1];
    const after = this.#free[i];
    const joinsBefore = before?.end === at;
    const joinsAfter = after?.at === end;
    if (joinsBefore && joinsAfter) {
      before!.end = after!.end;
      this.#free.splice(i, 1);
    } else if (joinsBefore) before!.end = end;
    else if (joinsAfter) after!.at = at;
    else this.#free.splice(i, 0, { at, end });
  }
}
