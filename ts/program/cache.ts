// Programs by key, the least recently used released first. Shapes vary little (a batch size, a context length), so the
// cap is small; it bounds memory, because every Program owns an arena.
import type { Program } from './program.js';

export class ProgramCache {
  readonly #programs = new Map<string, Program>();

  constructor(readonly capacity = 8) {}

  /** The Program under `key`, recorded by `make` if it is not there. */
  get(key: string, make: () => Program): Program {
    let program = this.#programs.get(key);
    if (program === undefined) program = make();
    else this.#programs.delete(key);
    this.#programs.set(key, program);
    if (this.#programs.size > this.capacity) {
      const [oldest, evicted] = this.#programs.entries().next().value!;
      this.#programs.delete(oldest);
      evicted.release();
    }
    return program;
  }

  get size(): number {
    return this.#programs.size;
  }

  /** Releases every Program. */
  clear(): void {
    for (const program of this.#programs.values()) program.release();
    this.#programs.clear();
  }
}
