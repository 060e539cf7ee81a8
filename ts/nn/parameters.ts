// The parameters of one model: named tensors in a few flat buffers, so that the optimizer and the gradient norm are one row
// for many tensors. Order in the flat buffers: matrices at the ends of the model (weight decay), hidden matrices (the same, or
// Muon), vectors (none), coefficients of a bank (their own learning rate), factors of its
// low-rank slices (that rate, and weight decay), each a contiguous range. State follows: values that
// belong to the model and are not learnt by gradient (the bias of a router); it has no moments. Slices of a bank live apart:
// they have no gradient buffer (see ts/ops/bank.ts) and are stored tile by tile, slices[tile][r][256], so that one pass over
// memory makes the weights. They may be kept in bf16 (half the memory to read); their moments, and values on their way in and
// out, are float32 all the same.
import type { Backend, BufferId } from '../backend/backend.js';
import { bf16ToF32, f32ToBf16 } from '../tensor/float16.js';
import { Prng } from '../tensor/prng.js';
import { bufferTensor, bytesOf, sizeOf, type Tensor } from '../tensor/tensor.js';

export type ParameterKind = 'matrix' | 'hidden' | 'vector' | 'coefficients' | 'factors' | 'slices' | 'state';

/** How the slices of a bank are kept. */
export type SliceType = 'f32' | 'bf16';
export const SLICE_TYPES: readonly SliceType[] = ['f32', 'bf16'];

export type Initializer =
  | { readonly kind: 'normal'; readonly std: number }
  | { readonly kind: 'constant'; readonly value: number }
  /** Values in row-major order, from a generator of this parameter's own. */
  | { readonly kind: 'custom'; readonly values: (random: Prng) => Float32Array };

export interface ParameterSpec {
  readonly name: string;
  /** Slices: (R, ...matrix); hidden: a matrix, or as many alike as the axes before it say. */
  readonly shape: readonly number[];
  readonly kind: ParameterKind;
  /** Of slices, one for all slices of a set. Default f32; everything else is f32. */
  readonly sliceType?: SliceType | undefined;
  readonly init: Initializer;
  /** Hidden: rows of each of the matrices that are stored as one. Default: it is one. */
  readonly parts?: readonly number[];
}

/** A contiguous range of the flat buffers: what one optimizer row works on. */
export interface ParameterRange {
  readonly kind: Exclude<ParameterKind, 'slices' | 'state'>;
  readonly value: Tensor;
  readonly grad: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
}

export interface SliceParameter {
  readonly value: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
}

export type Moment = 'value' | 'm' | 'v';

/** Values a tile of a slice holds. */
export const TILE = 256;

const align = (floats: number): number => Math.ceil(floats / 16) * 16;
const FLAT: readonly ParameterRange['kind'][] = ['matrix', 'hidden', 'vector', 'coefficients', 'factors'];

export class ParameterSet {
  readonly specs: readonly ParameterSpec[];
  readonly trainable: boolean;
  readonly ranges: readonly ParameterRange[];
  readonly slices: readonly SliceParameter[];
  readonly sliceType: SliceType;
  /** The whole gradient buffer, for its norm; undefined when not trainable. */
  readonly gradients: Tensor | undefined;
  readonly #tensors = new Map<string, Tensor>();
  readonly #buffers: Record<Moment | 'grad' | 'slices' | 'slices_m' | 'slices_v', BufferId | undefined>;
  readonly #offsets = new Map<string, number>();
  readonly #begins = new Map<ParameterKind, number>();

  /** Allocates zeros. `trainable` adds gradients and the two moments of Adam. */
  constructor(
    readonly backend: Backend,
    specs: readonly ParameterSpec[],
    options: { trainable: boolean },
  ) {
    this.specs = specs;
    this.trainable = options.trainable;
    const flat = FLAT.map((kind) => specs.filter((spec) => spec.kind === kind));
    const bank = specs.filter((spec) => spec.kind === 'slices');
    this.sliceType = bank[0]?.sliceType ?? 'f32';
    const sliceBytes = bytesOf(this.sliceType);
    const state = specs.filter((spec) => spec.kind === 'state');
    const place = (list: readonly ParameterSpec[], from: number): number => {
      let at = from;
      for (const spec of list) {
        this.#offsets.set(spec.name, at);
        at += align(sizeOf(spec.shape));
      }
      return at;
    };
    const bounds = [0];
    for (const list of flat) bounds.push(place(list, bounds.at(-1)!));
    FLAT.forEach((kind, i) => {
      this.#begins.set(kind, bounds[i]!);
    });
    const total = bounds.at(-1)!;
    const all = place(state, total);
    const bankTotal = place(bank, 0);
    const make = (values: number, wanted: boolean, bytes = 4) =>
      wanted && values > 0 ? backend.alloc(values * bytes) : undefined;
    this.#buffers = {
      value: make(all, true),
      grad: make(total, this.trainable),
      m: make(total, this.trainable),
      v: make(total, this.trainable),
      slices: make(bankTotal, true, sliceBytes),
      slices_m: make(bankTotal, this.trainable),
      slices_v: make(bankTotal, this.trainable),
    };
    const tensor = (
      name: string,
      shape: readonly number[],
      buffer: BufferId | undefined,
      at: number,
      requiresGrad = false,
    ) => bufferTensor(name, shape, 'f32', { buffer: buffer!, offset: at * 4 }, requiresGrad);
    for (const list of flat) {
      for (const spec of list) {
        const at = this.#offsets.get(spec.name)!;
        const value = tensor(spec.name, spec.shape, this.#buffers.value, at, this.trainable);
        const grad = tensor(`d${spec.name}`, spec.shape, this.#buffers.grad, at);
        this.#tensors.set(spec.name, this.trainable ? { ...value, grad } : value);
      }
    }
    for (const spec of state)
      this.#tensors.set(spec.name, tensor(spec.name, spec.shape, this.#buffers.value, this.#offsets.get(spec.name)!));
    for (const spec of bank) {
      const place = { buffer: this.#buffers.slices!, offset: this.#offsets.get(spec.name)! * sliceBytes };
      const value = bufferTensor(spec.name, spec.shape, this.sliceType, place, this.trainable);
      this.#tensors.set(spec.name, value);
    }
    this.gradients = this.trainable && total > 0 ? tensor('gradients', [total], this.#buffers.grad, 0) : undefined;
    this.ranges = !this.trainable
      ? []
      : FLAT.flatMap((kind, i) => {
          const [from, to] = [bounds[i]!, bounds[i + 1]!];
          if (to === from) return [];
          const part = (of: 'value' | 'grad' | 'm' | 'v') =>
            tensor(`${kind}.${of}`, [to - from], this.#buffers[of], from);
          return [{ kind, value: part('value'), grad: part('grad'), m: part('m'), v: part('v') }];
        });
    this.slices = !this.trainable
      ? []
      : bank.map((spec) => {
          const at = this.#offsets.get(spec.name)!;
          const value = this.tensor(spec.name);
          return {
            value,
            m: tensor(`${spec.name}.m`, spec.shape, this.#buffers.slices_m, at),
            v: tensor(`${spec.name}.v`, spec.shape, this.#buffers.slices_v, at),
          };
        });
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  tensor(name: string): Tensor {
    const found = this.#tensors.get(name);
    if (found === undefined) throw new RangeError(`no parameter ${name}`);
    return found;
  }

  /** Values between the start of a parameter's range and its own. */
  offsetInRange(name: string): number {
    return this.#offsets.get(name)! - (this.#begins.get(this.#spec(name).kind) ?? 0);
  }

  /** Number of values, padding not counted. */
  get count(): number {
    return this.specs.reduce((sum, spec) => sum + sizeOf(spec.shape), 0);
  }

  /** Draws every parameter from a stream of its own, so that adding one does not change the others. */
  initialize(seed: number | string): void {
    for (const _ of this.initializing(seed));
  }

  /** The same, piece by piece: large models have millions of values. */
  *initializing(seed: number | string): Generator<void, void, void> {
    for (const spec of this.specs) {
      const random = new Prng(`${seed}/init/${spec.name}`);
      const n = sizeOf(spec.shape);
      let values: Float32Array;
      if (spec.init.kind === 'custom') values = spec.init.values(random);
      else if (spec.init.kind === 'constant') values = new Float32Array(n).fill(spec.init.value);
      else {
        values = new Float32Array(n);
        for (let i = 0; i < n; i++) {
          values[i] = spec.init.std * random.normal();
          if (i % 65536 === 65535) yield;
        }
      }
      this.write(spec.name, values);
      yield;
    }
  }

  /** Sets one parameter, or one of its moments, from row-major values; slices in bf16 get the nearest ones. */
  write(name: string, values: Float32Array, moment: Moment = 'value'): void {
    const spec = this.#spec(name);
    if (values.length !== sizeOf(spec.shape))
      throw new RangeError(`${name} has ${sizeOf(spec.shape)} values, not ${values.length}`);
    const floats = spec.kind === 'slices' ? toTiles(values, spec.shape[0]!) : values;
    const type = this.#typeOf(spec, moment);
    const data = type === 'bf16' ? f32ToBf16(floats) : floats;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.backend.write(this.#bufferOf(spec, moment), this.#offsets.get(name)! * bytesOf(type), bytes);
  }

  /** Row-major values of one parameter, or of one of its moments. */
  async read(name: string, moment: Moment = 'value'): Promise<Float32Array> {
    const spec = this.#spec(name);
    const type = this.#typeOf(spec, moment);
    const [size, width] = [sizeOf(spec.shape), bytesOf(type)];
    const bytes = await this.backend.read(this.#bufferOf(spec, moment), this.#offsets.get(name)! * width, size * width);
    const values =
      type === 'bf16'
        ? bf16ToF32(new Uint16Array(bytes.buffer, bytes.byteOffset, size))
        : new Float32Array(bytes.buffer, bytes.byteOffset, size);
    return spec.kind === 'slices' ? fromTiles(values, spec.shape[0]!) : values;
  }

  /** The parameters that have this moment. */
  specsWith(moment: Moment): readonly ParameterSpec[] {
    return moment === 'value' ? this.specs : this.specs.filter(({ kind }) => kind !== 'state');
  }

  /** Every parameter by name. */
  async readAll(moment: Moment = 'value'): Promise<Map<string, Float32Array>> {
    const names = this.specsWith(moment).map((spec) => spec.name);
    const values = await Promise.all(names.map((name) => this.read(name, moment)));
    return new Map(names.map((name, i) => [name, values[i]!]));
  }

  /** Frees every buffer, after the work already submitted. */
  dispose(): void {
    for (const id of Object.values(this.#buffers)) if (id !== undefined) this.backend.free(id);
  }

  #spec(name: string): ParameterSpec {
    const spec = this.specs.find((one) => one.name === name);
    if (spec === undefined) throw new RangeError(`no parameter ${name}`);
    return spec;
  }

  #typeOf(spec: ParameterSpec, moment: Moment): SliceType {
    return spec.kind === 'slices' && moment === 'value' ? this.sliceType : 'f32';
  }

  #bufferOf(spec: ParameterSpec, moment: Moment): BufferId {
    const key = spec.kind !== 'slices' ? moment : moment === 'value' ? 'slices' : (`slices_${moment}` as const);
    return this.#buffers[key]!;
  }
}

/** (R, size) -> [size / 256][R][256]. */
export function toTiles(values: Float32Array, slices: number): Float32Array {
  const size = values.length / slices;
  const out = new Float32Array(values.length);
  for (let r = 0; r < slices; r++) {
    for (let tile = 0; tile < size / TILE; tile++) {
      const from = r * size + tile * TILE;
      out.set(values.subarray(from, from + TILE), (tile * slices + r) * TILE);
    }
  }
  return out;
}

/** [size / 256][R][256] -> (R, size). */
export function fromTiles(values: Float32Array, slices: number): Float32Array {
  const size = values.length / slices;
  const out = new Float32Array(values.length);
  for (let r = 0; r < slices; r++) {
    for (let tile = 0; tile < size / TILE; tile++) {
      const from = (tile * slices + r) * TILE;
      out.set(values.subarray(from, from + TILE), r * size + tile * TILE);
    }
  }
  return out;
}
