// The oracle: a slow float64 interpreter of rows behind the Backend contract, for tests only. It runs whole Programs as the
// tape records them, keeps float64 between rows, and is what every kernel is compared with. Ops live in oracle/, one file
// a family.
import type { Backend, BufferId, Capabilities, ProgramId, RowList } from '../../ts/backend/backend.js';
import { SweetspotError } from '../../ts/backend/errors.js';
import { type DecodedRow, decodeRows, printRow } from '../../ts/backend/rows.js';
import { type Kind, OracleBuffer, rawKind, widthOf } from './oracle/memory.js';
import { type Arrays, DataError, type OracleOp } from './oracle/op.js';
import { ORACLE_OPS } from './oracle/ops.js';

interface OracleProgram {
  readonly rows: readonly DecodedRow[];
  readonly describe: (index: number) => string;
}

export class OracleBackend implements Backend {
  readonly name = 'oracle';
  readonly capabilities: Capabilities = { isa: 'float64', threads: 1 };
  readonly #buffers = new Map<BufferId, OracleBuffer>();
  readonly #programs = new Map<ProgramId, OracleProgram>();
  #next = 0;
  #error: SweetspotError | undefined;

  alloc(bytes: number): BufferId {
    this.#buffers.set(this.#next, new OracleBuffer(bytes));
    return this.#next++;
  }

  free(id: BufferId): void {
    this.#buffer(id);
    this.#buffers.delete(id);
  }

  write(id: BufferId, offset: number, bytes: Uint8Array): void {
    this.#buffer(id, offset, bytes.length).storeBytes(offset, bytes);
  }

  /** Values in full precision, unlike bytes of a float32. */
  writeF32(id: BufferId, offset: number, values: ArrayLike<number>): void {
    this.#buffer(id, offset, values.length * 4).store(offset, values, 'f32');
  }

  writeI32(id: BufferId, offset: number, values: ArrayLike<number>): void {
    this.#buffer(id, offset, values.length * 4).store(offset, values, 'i32');
  }

  /** Bytes as a device would have them: float32 rounded to nearest. */
  async read(id: BufferId, offset: number, length: number): Promise<Uint8Array> {
    const buffer = this.#buffer(id, offset, length);
    if (this.#error !== undefined) throw this.#error;
    return buffer.loadBytes(offset, length);
  }

  /** Values in full precision, now; ignores a latched error. */
  readF64(id: BufferId, offset: number, count: number, kind: Kind = 'f32'): Float64Array {
    return this.#buffer(id, offset, count * widthOf(kind)).load(offset, count, kind);
  }

  compile(program: RowList): ProgramId {
    const rows = [...decodeRows(program.words)];
    rows.forEach((row, index) => {
      if (!(row.spec.name in ORACLE_OPS)) {
        throw new SweetspotError('SWEETSPOT_PROGRAM', { what: `row ${index}: the oracle has no op ${row.spec.name}` });
      }
      const extents = row.spec.extents(row.dims);
      row.spec.operands.forEach((operand, i) => {
        const place = row.operands[i];
        if (place !== undefined) {
          this.#buffer(place.buffer, place.offset, extents[i]! * (operand.dtype === 'raw' ? 1 : 4));
        } else if (!operand.optional) {
          throw new SweetspotError('SWEETSPOT_PROGRAM', {
            what: `row ${index}: ${operand.name} is missing`,
            found: printRow(row),
          });
        }
      });
    });
    const describe = (index: number) => program.describe?.(index) ?? printRow(rows[index]!);
    this.#programs.set(this.#next, { rows, describe });
    return this.#next++;
  }

  run(id: ProgramId): void {
    const program = this.#programs.get(id);
    if (program === undefined) {
      throw new SweetspotError('SWEETSPOT_PROGRAM', { what: `program ${id} is not compiled` });
    }
    program.rows.forEach((row, index) => {
      if (this.#error !== undefined) return;
      try {
        this.#execute(row);
      } catch (cause) {
        if (!(cause instanceof DataError)) throw cause;
        const found = `row ${index}: ${program.describe(index)}`;
        this.#error = new SweetspotError('SWEETSPOT_PROGRAM', { what: cause.message, found, cause });
      }
    });
  }

  release(id: ProgramId): void {
    this.#programs.delete(id);
  }

  async fence(): Promise<void> {
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) throw error;
  }

  allocated(): number {
    let bytes = 0;
    for (const buffer of this.#buffers.values()) bytes += buffer.bytes;
    return bytes;
  }

  async close(): Promise<void> {
    this.#buffers.clear();
    this.#programs.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Operands are copied in before the op and out after it, so in-place rows need no care. */
  #execute(row: DecodedRow): void {
    const { spec } = row;
    const extents = spec.extents(row.dims);
    const dims = named(spec.dims, row.dims);
    const kinds = spec.operands.map(
      (operand): Kind => (operand.dtype === 'raw' ? rawKind(operand.name, dims) : operand.dtype),
    );
    const arrays: Record<string, Float64Array> = {};
    spec.operands.forEach((operand, i) => {
      const place = row.operands[i];
      if (place === undefined) return;
      const count = operand.dtype === 'raw' ? extents[i]! / widthOf(kinds[i]!) : extents[i]!;
      arrays[operand.name] = this.#buffer(place.buffer).load(place.offset, count, kinds[i]!);
    });
    const op = ORACLE_OPS[spec.name as 'fill'] as OracleOp<'fill'>;
    op(arrays as unknown as Arrays<'fill'>, dims as never, named(spec.scalars, row.scalars) as never);
    spec.operands.forEach((operand, i) => {
      const place = row.operands[i];
      if (place === undefined || operand.role === 'in') return;
      this.#buffer(place.buffer).store(place.offset, arrays[operand.name]!, kinds[i]!);
    });
  }

  #buffer(id: BufferId, offset = 0, length = 0): OracleBuffer {
    const buffer = this.#buffers.get(id);
    if (buffer === undefined) {
      throw new SweetspotError('SWEETSPOT_PROGRAM', { what: `buffer ${id} is not allocated` });
    }
    if (offset < 0 || offset + length > buffer.bytes) {
      const what = `bytes ${offset} to ${offset + length} of a buffer of ${buffer.bytes}`;
      throw new SweetspotError('SWEETSPOT_PROGRAM', { what });
    }
    return buffer;
  }
}

function named(names: readonly string[], values: readonly number[]): Record<string, number> {
  return Object.fromEntries(names.map((name, i) => [name, values[i]!]));
}
