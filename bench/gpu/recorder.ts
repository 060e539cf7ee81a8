// A backend that remembers the Programs it compiles, in front of a device or of nothing: then it only hands out numbers, and
// the Program of a model of any size can be looked at.
import type { Backend, BufferId, Capabilities, ProgramId, RowList } from '../../ts/backend/index.js';

export class Recorder implements Backend {
  readonly name = 'cuda';
  readonly capabilities: Capabilities;
  /** The last one compiled. */
  program: RowList | undefined;
  readonly #bytes = new Map<BufferId, number>();
  #numbers = 0;

  constructor(readonly device?: Backend) {
    this.capabilities = device?.capabilities ?? { isa: 'none', threads: 1 };
  }

  alloc(bytes: number): BufferId {
    const id = this.device?.alloc(bytes) ?? ++this.#numbers;
    this.#bytes.set(id, bytes);
    return id;
  }
  free(id: BufferId): void {
    this.#bytes.delete(id);
    this.device?.free(id);
  }
  write(id: BufferId, offset: number, bytes: Uint8Array): void {
    this.device?.write(id, offset, bytes);
  }
  async read(id: BufferId, offset: number, length: number): Promise<Uint8Array> {
    return (await this.device?.read(id, offset, length)) ?? new Uint8Array(length);
  }
  compile(program: RowList): ProgramId {
    this.program = program;
    return this.device?.compile(program) ?? ++this.#numbers;
  }
  run(id: ProgramId): void {
    this.device?.run(id);
  }
  release(id: ProgramId): void {
    this.device?.release(id);
  }
  async fence(): Promise<void> {
    await this.device?.fence();
  }
  allocated(): number {
    return [...this.#bytes.values()].reduce((sum, bytes) => sum + bytes, 0);
  }
  async close(): Promise<void> {
    await this.device?.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
