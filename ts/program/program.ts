// A recorded, planned, checked Program. Life: record() writes the tape, plans the arena, encodes the rows and hands them
// to the backend; run() replays them; read() fetches outputs; release() gives everything back. `print()` lists it.
import { onTape, Tape } from '../autograd/tape.js';
import type { Backend, ProgramId } from '../backend/backend.js';
import { OPS } from '../backend/ops.gen.js';
import { decodeRows, encodeRow, type Place, printRow } from '../backend/rows.js';
import { bytesOf, sizeOf, type Tensor } from '../tensor/tensor.js';
import { type Plan, planMemory } from './plan.js';

export class Program {
  readonly #arena: number;
  readonly #id: ProgramId;
  readonly #names = new Map<string, string>();
  readonly #outputs: ReadonlyMap<string, Tensor>;
  #released = false;

  private constructor(
    readonly name: string,
    readonly backend: Backend,
    readonly plan: Plan,
    readonly words: Uint32Array,
    readonly rowCount: number,
    arena: number,
    id: ProgramId,
    names: Map<string, string>,
    outputs: ReadonlyMap<string, Tensor>,
  ) {
    this.#arena = arena;
    this.#id = id;
    this.#names = names;
    this.#outputs = outputs;
  }

  /** Records `body` (synchronous, straight-line) and compiles it. */
  static record(backend: Backend, name: string, body: (tape: Tape) => void): Program {
    const tape = new Tape(backend.name);
    onTape(tape, () => body(tape));
    const plan = planMemory(tape.rows, tape.outputs.values());
    const arena = backend.alloc(plan.arenaBytes);
    const names = new Map<string, string>();
    const place = (tensor: Tensor): Place => {
      const base =
        tensor.storage.kind === 'buffer'
          ? tensor.storage.place
          : { buffer: arena, offset: plan.offsets.get(tensor.storage)! };
      return { buffer: base.buffer, offset: base.offset + tensor.offset };
    };
    const rows = tape.rows.map((row, i) => {
      const operands: Record<string, Place> = {};
      row.operands.forEach((tensor, j) => {
        if (tensor === undefined) return;
        names.set(`${i}.${j}`, tensor.name);
        operands[OPS[row.op].operands[j]!.name] = place(tensor);
      });
      return encodeRow(row.op, operands as never, row.dims as never, row.scalars as never);
    });
    const words = new Uint32Array(rows.reduce((sum, row) => sum + row.length, 0));
    let at = 0;
    for (const row of rows) {
      words.set(row, at);
      at += row.length;
    }
    const describe = (index: number) => describeRow(words, names, index);
    try {
      const kept = [...tape.outputs.values()].flatMap((tensor) => {
        if (tensor.storage.kind === 'buffer') return [];
        const from = plan.offsets.get(tensor.storage)! + tensor.offset;
        return [from, from + sizeOf(tensor.shape) * bytesOf(tensor.dtype)];
      });
      const id = backend.compile({ words, arena, kept, describe });
      return new Program(name, backend, plan, words, rows.length, arena, id, names, new Map(tape.outputs));
    } catch (error) {
      backend.free(arena);
      throw error;
    }
  }

  /** Queues one replay; returns at once. */
  run(): void {
    this.backend.run(this.#id);
  }

  /** The values of an output after the runs queued so far. f32 or i32 by its dtype. */
  async read(name: string): Promise<Float32Array> {
    const tensor = this.#outputs.get(name);
    if (tensor === undefined) throw new RangeError(`Program ${this.name} has no output ${name}`);
    const base =
      tensor.storage.kind === 'buffer'
        ? tensor.storage.place
        : { buffer: this.#arena, offset: this.plan.offsets.get(tensor.storage)! };
    const bytes = await this.backend.read(
      base.buffer,
      base.offset + tensor.offset,
      sizeOf(tensor.shape) * bytesOf(tensor.dtype),
    );
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  }

  /** A readable list: memory first, then one line a row. */
  print(): string {
    const { arenaBytes, sumBytes } = this.plan;
    const share = sumBytes === 0 ? 100 : Math.round((100 * arenaBytes) / sumBytes);
    const lines = [`program ${this.name}: ${this.rowCount} rows, arena ${arenaBytes} bytes of ${sumBytes} (${share}%)`];
    for (let i = 0; i < this.rowCount; i++)
      lines.push(`${String(i).padStart(4)}  ${describeRow(this.words, this.#names, i)}`);
    return lines.join('\n');
  }

  /** Gives the rows and the arena back; ordered after the runs already queued. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.backend.release(this.#id);
    this.backend.free(this.#arena);
  }
}

function describeRow(words: Uint32Array, names: ReadonlyMap<string, string>, index: number): string {
  let i = 0;
  for (const row of decodeRows(words)) {
    if (i === index) {
      let operand = -1;
      const order = row.operands.flatMap((place, j) => (place === undefined ? [] : [{ place, j }]));
      return printRow(row, () => names.get(`${index}.${order[++operand]!.j}`));
    }
    i++;
  }
  return `row ${index}`;
}
