// A device of bindings (the addon's, or WebAssembly) behind the contract: turns its errors into typed ones.
import type { Device } from '../../bindings/device.js';
import type { Backend, BufferId, Capabilities, ProgramId, RowList } from './backend.js';
import { SweetspotError } from './errors.js';
import { decodeRows, printRow } from './rows.js';

export class DeviceBackend implements Backend {
  readonly #device: Device;
  readonly #programs = new Map<ProgramId, RowList>();

  constructor(
    readonly name: 'cpu' | 'cuda' | 'wasm',
    readonly capabilities: Capabilities,
    device: Device,
  ) {
    this.#device = device;
  }

  alloc(bytes: number): BufferId {
    try {
      return this.#device.alloc(bytes);
    } catch (cause) {
      throw new SweetspotError('SWEETSPOT_BACKEND_UNAVAILABLE', {
        what: `no buffer of ${bytes} bytes`,
        found: (cause as Error).message,
        fix: 'use a smaller model, batch or context, or close other backends',
        cause,
      });
    }
  }

  free(id: BufferId): void {
    this.#device.free(id);
  }

  write(id: BufferId, offset: number, bytes: Uint8Array): void {
    this.#device.write(id, offset, bytes);
  }

  async read(id: BufferId, offset: number, length: number): Promise<Uint8Array> {
    try {
      return await this.#device.read(id, offset, length);
    } catch (cause) {
      throw this.#late(cause);
    }
  }

  compile(program: RowList): ProgramId {
    try {
      const id = this.#device.compile(program.words, program.arena, program.kept);
      this.#programs.set(id, program);
      return id;
    } catch (cause) {
      throw new SweetspotError('SWEETSPOT_PROGRAM', {
        what: `a Program was refused: ${(cause as Error).message}`,
        cause,
      });
    }
  }

  run(id: ProgramId): void {
    this.#device.run(id);
  }

  release(id: ProgramId): void {
    this.#programs.delete(id);
    this.#device.release(id);
  }

  async fence(): Promise<void> {
    try {
      await this.#device.fence();
    } catch (cause) {
      throw this.#late(cause);
    }
  }

  allocated(): number {
    return this.#device.allocated();
  }

  async close(): Promise<void> {
    this.#device.close();
    this.#programs.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** "program TAB row TAB reason", as the stream latches it. */
  #late(cause: unknown): SweetspotError {
    const message = (cause as Error).message;
    const [program, row, reason] = message.split('\t');
    if (reason === undefined) return new SweetspotError('SWEETSPOT_PROGRAM', { what: message, cause });
    const rows = this.#programs.get(Number(program));
    let where = `row ${row}`;
    if (rows !== undefined) {
      const index = Number(row);
      where += `: ${rows.describe?.(index) ?? describe(rows.words, index)}`;
    }
    return new SweetspotError('SWEETSPOT_PROGRAM', { what: `${reason}`, found: where, cause });
  }
}

function describe(words: Uint32Array, index: number): string {
  let i = 0;
  for (const row of decodeRows(words)) if (i++ === index) return printRow(row);
  return 'unknown';
}
