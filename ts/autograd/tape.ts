// The tape: calling model code once writes down rows; nothing is computed. Ops (ts/ops) add their forward rows and, when
// an input needs a gradient, a closure that will add the backward rows. Values are written once (SSA); memory is shared
// later by the planner (ts/program/plan.ts), which knows when each value is used for the last time.
//
// Gradients accumulate inside the kernels: `grad(x)` says where the next contribution goes and what it must be added to.
import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import type { OpRows } from '../backend/ops.gen.js';
import { OPS, type OpName } from '../backend/ops.gen.js';
import type { RowDims, RowScalars } from '../backend/rows.js';
import { bytesOf, lastOf, sizeOf, type Tensor, type TensorDtype } from '../tensor/tensor.js';

export type TensorOperands<K extends OpName> = { readonly [P in OpRows[K]['required']]: Tensor } & {
  readonly [P in OpRows[K]['optional']]?: Tensor | undefined;
};

export interface TapeRow {
  readonly op: OpName;
  /** In the order of the op table. */
  readonly operands: readonly (Tensor | undefined)[];
  readonly dims: Readonly<Record<string, number>>;
  readonly scalars: Readonly<Record<string, number>>;
}

/** Where a contribution to a gradient is written, and what it is added to (absent the first time). */
export interface GradSlot {
  readonly out: Tensor;
  readonly add: Tensor | undefined;
}

/** A bank matrix whose slice gradient is the low-rank product of these, kept for the optimizer. */
export interface BankGradient {
  readonly slices: Tensor;
  /** (G, size) gradient of the generated weights. */
  readonly dw: Tensor;
  /** (G, R) coefficients they were generated with. */
  readonly coefficients: Tensor;
  /** i32 (1): how many of the G groups there are in a run, all without one. */
  readonly count: Tensor | undefined;
}

/** How matrix products treat their factors: as they are, or rounded to bf16. Sums are f32 in both. */
export type Precision = 'fp32' | 'bf16';

export class Tape {
  readonly rows: TapeRow[] = [];
  /** Of the matrix products recorded from here on. */
  precision: Precision = 'fp32';
  /** Temporaries that must survive until the Program ends, so that they can be read. */
  readonly outputs = new Map<string, Tensor>();
  readonly bankGradients: BankGradient[] = [];
  readonly #backward: { readonly outputs: readonly Tensor[]; readonly run: () => void }[] = [];
  readonly #gradients = new Map<object, Tensor>();
  readonly #written = new Set<Tensor>();
  #temporaries = 0;

  /** `device`: what the rows are for. Ops may cut their work up to suit it; what they compute stays the same. */
  constructor(readonly device: Backend['name'] = 'cpu') {}

  /** A new temporary. */
  temporary(
    shape: readonly number[],
    options: { dtype?: TensorDtype; name?: string; requiresGrad?: boolean } = {},
  ): Tensor {
    const dtype = options.dtype ?? 'f32';
    const name = `%${this.#temporaries++}${options.name === undefined ? '' : `.${options.name}`}`;
    const storage = { kind: 'temporary', bytes: sizeOf(shape) * bytesOf(dtype) } as const;
    return { name, shape, dtype, storage, offset: 0, requiresGrad: options.requiresGrad ?? false };
  }

  /** Writes one row down. Operands are checked against the op table's extents. */
  emit<K extends OpName>(op: K, operands: TensorOperands<K>, dims: RowDims<K>, scalars: RowScalars<K>): void {
    const spec = OPS[op];
    const values = dims as Readonly<Record<string, number>>;
    const extents = spec.extents(spec.dims.map((dim) => values[dim]!));
    const given = operands as Readonly<Record<string, Tensor | undefined>>;
    const list = spec.operands.map((operand, i) => {
      const tensor = given[operand.name];
      if (tensor === undefined) {
        if (!operand.optional)
          throw new SweetspotError('SWEETSPOT_PROGRAM', { what: `${op}: operand ${operand.name} is missing` });
        return undefined;
      }
      const unit = operand.dtype === 'raw' ? 1 : 4;
      const available = tensor.storage.bytes - tensor.offset;
      const dtypeFits = operand.dtype === 'raw' || operand.dtype === tensor.dtype;
      if (!dtypeFits || extents[i]! * unit > available) {
        throw new SweetspotError('SWEETSPOT_PROGRAM', {
          what: `${op}: operand ${operand.name} does not fit`,
          expected: `${operand.dtype}[${spec.shapes(spec.dims.map((dim) => values[dim]!))[i]}]`,
          found: `${tensor.name}: ${tensor.dtype}[${tensor.shape}]`,
        });
      }
      return tensor;
    });
    this.rows.push({ op, operands: list, dims: values, scalars: scalars as Readonly<Record<string, number>> });
  }

  /** Registers the gradient of `outputs`; `run` is called in reverse order of registration if any of them has one. */
  node(outputs: readonly Tensor[], run: () => void): void {
    if (outputs.some((output) => output.requiresGrad)) this.#backward.push({ outputs, run });
  }

  /** Keeps `x` until the end of the Program, to be read under `name`. */
  output(name: string, x: Tensor): void {
    this.outputs.set(name, x);
  }

  /** The gradient of a value so far. */
  gradientOf(x: Tensor): Tensor | undefined {
    return this.#gradients.get(key(x));
  }

  /** The gradient of an op's only output, inside its backward closure. */
  incoming(y: Tensor): Tensor {
    const dy = this.gradientOf(y);
    if (dy === undefined) throw new SweetspotError('SWEETSPOT_PROGRAM', { what: `no gradient reached ${y.name}` });
    return dy;
  }

  /** Where to write a contribution to the gradient of x. Ask only when x.requiresGrad. */
  grad(x: Tensor): GradSlot {
    if (x.grad !== undefined) {
      const add = this.#written.has(x.grad) ? x.grad : undefined;
      this.#written.add(x.grad);
      return { out: x.grad, add };
    }
    const add = this.#gradients.get(key(x));
    const out = this.temporary(x.shape, { name: `d${x.name.replace(/^%\d+\.?/, '')}` });
    this.#gradients.set(key(x), out);
    return { out, add };
  }

  /** For kernels that cannot add: `write` fills a tensor, which becomes or is added to the gradient of x. */
  gradVia(x: Tensor, write: (out: Tensor) => void): void {
    if (!x.requiresGrad) return;
    const { out, add } = this.grad(x);
    if (add === undefined) {
      write(out);
      return;
    }
    const part = this.temporary(x.shape);
    write(part);
    const n = sizeOf(x.shape);
    this.emit('add', { a: add, b: part, y: out }, { n }, { alpha: 1, beta: 1 });
  }

  /** dy is a contribution to the gradient of x as it stands: shared, not copied, if it is the first. */
  pass(x: Tensor, dy: Tensor): void {
    if (!x.requiresGrad) return;
    if (x.grad === undefined && this.gradientOf(x) === undefined) {
      this.#gradients.set(key(x), dy);
      return;
    }
    const { out, add } = this.grad(x);
    if (add === undefined) this.emit('cast', { x: dy, y: out }, { n: sizeOf(x.shape), from: 0, to: 0 }, {});
    else this.emit('add', { a: add, b: dy, y: out }, { n: sizeOf(x.shape) }, { alpha: 1, beta: 1 });
  }

  /** Starts from a gradient given for `y` and writes down every backward row. */
  backward(seeds: readonly { readonly of: Tensor; readonly gradient: Tensor }[]): void {
    for (const seed of seeds) this.pass(seed.of, seed.gradient);
    for (const node of this.#backward.reverse()) {
      if (node.outputs.some((output) => this.gradientOf(output) !== undefined)) node.run();
    }
    this.#backward.length = 0;
  }

  /** Whether a parameter has received a gradient. */
  received(parameter: Tensor): boolean {
    return parameter.grad !== undefined && this.#written.has(parameter.grad);
  }
}

/** Gradients belong to storage, so that reshaped views share them. Parameters carry theirs. */
const key = (x: Tensor): object => x.storage;

let current: Tape | undefined;

/** The tape that is being written. Ops call it; it throws outside `onTape`. */
export function tape(): Tape {
  if (current === undefined)
    throw new SweetspotError('SWEETSPOT_PROGRAM', { what: 'an op was called outside record()' });
  return current;
}

/** Runs `body` with `t` as the current tape. Recording is synchronous, so one variable is enough. */
export function onTape<R>(t: Tape, body: () => R): R {
  const outer = current;
  current = t;
  try {
    return body();
  } finally {
    current = outer;
  }
}

/** Throws SWEETSPOT_PROGRAM unless the last axis of x is `width`. */
export function expectWidth(op: string, x: Tensor, width: number): void {
  if (lastOf(x) !== width) {
    throw new SweetspotError('SWEETSPOT_PROGRAM', {
      what: `${op}: ${x.name} has rows of the wrong length`,
      expected: String(width),
      found: `[${x.shape}]`,
    });
  }
}
