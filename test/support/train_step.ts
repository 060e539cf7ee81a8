// A training step for tests, recorded apart from ts/train: a transformer (dense, or with a bank) and its mean loss on one
// batch, backward, and AdamW if wanted. Everything a test compares can be read: loss, gradients, gradients of slices.
import type { Precision } from '../../ts/autograd/tape.js';
import type { Backend } from '../../ts/backend/backend.js';
import { bankFeedForward, bankParameters, expertVectors, mixedCoefficients } from '../../ts/models/bank.js';
import type { BankConfig, TransformerConfig } from '../../ts/models/config.js';
import { outputMatrix, transformer, transformerParameters } from '../../ts/models/transformer.js';
import { ParameterSet } from '../../ts/nn/parameters.js';
import { linearCrossEntropy } from '../../ts/ops/cross_entropy.js';
import { type AdamWSettings, adamw, hyperValues } from '../../ts/optim/adamw.js';
import { Program } from '../../ts/program/program.js';
import { bufferTensor, sizeOf, type Tensor } from '../../ts/tensor/tensor.js';

export interface TestBatch {
  readonly batch: number;
  readonly time: number;
  /** (B T) */
  readonly tokens: Int32Array;
  /** (B T); -1 is not counted. */
  readonly targets: Int32Array;
  /** For a bank: cluster of each group (G), and the row where each begins, and the end (G + 1). */
  readonly clusters?: Int32Array;
  readonly offsets?: Int32Array;
  /** How many of the groups there are (1); all when absent. */
  readonly count?: Int32Array;
}

export interface TestStepOptions {
  readonly bank?: BankConfig;
  /** Record the optimizer too, which uses up the gradients of slices. Default: gradients only. */
  readonly optimizer?: AdamWSettings;
  /** Of the matrix products. Default fp32. */
  readonly precision?: Precision;
}

export class TestStep {
  readonly parameters: ParameterSet;
  readonly program: Program;
  /** (1): the mean loss, in a buffer of its own. */
  readonly loss: Tensor;
  readonly #inputs: Tensor[] = [];
  readonly #hyper: Tensor;
  #slices: { readonly name: string; readonly groups: number; readonly present: number }[] = [];
  #step = 0;

  constructor(
    readonly backend: Backend,
    readonly config: TransformerConfig,
    batch: TestBatch,
    readonly options: TestStepOptions = {},
  ) {
    const { bank, optimizer } = options;
    const specs = bank === undefined ? transformerParameters(config) : bankParameters(config, bank);
    this.parameters = new ParameterSet(backend, specs, { trainable: true });
    const rows = batch.batch * batch.time;
    const counted = batch.targets.filter((target) => target >= 0).length;
    const tokens = this.#input('tokens', batch.tokens, [batch.batch, batch.time]);
    const targets = this.#input('targets', batch.targets, [rows]);
    const positions = this.#input(
      'positions',
      Int32Array.from({ length: rows }, (_, i) => i % batch.time),
      [rows],
    );
    const scale = this.#input('scale', Float32Array.of(1 / counted), [1]);
    this.#hyper = this.#input('hyper', new Float32Array(8), [8]);
    this.loss = this.#input('loss', new Float32Array(1), [1]);
    const norm = this.#input('norm', new Float32Array(1), [1]);
    const clusters =
      bank === undefined ? undefined : this.#input('clusters', batch.clusters!, [batch.clusters!.length]);
    const offsets = bank === undefined ? undefined : this.#input('offsets', batch.offsets!, [batch.offsets!.length]);
    const count = batch.count === undefined ? undefined : this.#input('count', batch.count, [1]);

    this.program = Program.record(backend, 'test step', (tape) => {
      const { parameters } = this;
      tape.precision = options.precision ?? 'fp32';
      const parts =
        bank === undefined
          ? {}
          : {
              feedForward: bankFeedForward(
                bank,
                parameters,
                mixedCoefficients(parameters, expertVectors(parameters, clusters!)),
                {
                  offsets: offsets!,
                  count,
                },
              ),
            };
      const hidden = transformer(config, parameters, tokens, positions, parts);
      const losses = linearCrossEntropy(hidden, outputMatrix(config, parameters), targets, scale, {
        cap: config.logitCap,
      });
      tape.emit('reduce_sum', { x: losses, y: this.loss }, { outer: 1, n: rows, inner: 1 }, { alpha: 1 / counted });
      tape.backward([]);
      if (optimizer !== undefined) {
        adamw(parameters, optimizer, this.#hyper, norm);
      } else {
        for (const { slices, dw, coefficients } of tape.bankGradients) {
          tape.output(`dw ${slices.name}`, dw);
          tape.output(`c ${slices.name}`, coefficients);
          const groups = coefficients.shape[0]!;
          this.#slices.push({ name: slices.name, groups, present: batch.count?.[0] ?? groups });
        }
      }
    });
  }

  /** Runs once; with an optimizer, at this learning rate. */
  run(lr = 0): void {
    const { optimizer } = this.options;
    if (optimizer !== undefined) this.write(this.#hyper, hyperValues(optimizer, lr, ++this.#step));
    this.program.run();
  }

  async readLoss(): Promise<number> {
    return (await this.#read(this.loss))[0]!;
  }

  /** Gradient of every parameter by name; of slices (R, size) as the product that the tape leaves to the optimizer. */
  async gradients(): Promise<Map<string, Float64Array>> {
    const all = new Map<string, Float64Array>();
    for (const { name, kind } of this.parameters.specs) {
      if (kind === 'slices' || kind === 'state') continue;
      all.set(name, Float64Array.from(await this.#read(this.parameters.tensor(name).grad!)));
    }
    for (const { name, groups, present } of this.#slices) {
      const dw = await this.program.read(`dw ${name}`);
      const c = await this.program.read(`c ${name}`);
      const [size, slices] = [dw.length / groups, c.length / groups];
      const gradient = new Float64Array(slices * size);
      for (let g = 0; g < present; g++)
        for (let r = 0; r < slices; r++)
          for (let i = 0; i < size; i++) gradient[r * size + i]! += c[g * slices + r]! * dw[g * size + i]!;
      all.set(name, gradient);
    }
    return all;
  }

  write(tensor: Tensor, values: Int32Array | Float32Array): void {
    if (tensor.storage.kind !== 'buffer') throw new RangeError(`${tensor.name} is not an input`);
    const { buffer, offset } = tensor.storage.place;
    this.backend.write(buffer, offset, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }

  dispose(): void {
    this.program.release();
    this.parameters.dispose();
    for (const { storage } of this.#inputs) if (storage.kind === 'buffer') this.backend.free(storage.place.buffer);
  }

  #input(name: string, values: Int32Array | Float32Array, shape: readonly number[]): Tensor {
    const buffer = this.backend.alloc(values.byteLength);
    const tensor = bufferTensor(name, shape, values instanceof Int32Array ? 'i32' : 'f32', { buffer, offset: 0 });
    this.#inputs.push(tensor);
    this.write(tensor, values);
    return tensor;
  }

  async #read(tensor: Tensor): Promise<Float32Array> {
    if (tensor.storage.kind !== 'buffer') throw new RangeError(`${tensor.name} is not in a buffer`);
    const { buffer, offset } = tensor.storage.place;
    const bytes = await this.backend.read(buffer, offset, sizeOf(tensor.shape) * 4);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  }
}

/** |a - b| / |b| */
export function relativeDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let [difference, length] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    length += b[i]! ** 2;
  }
  return Math.sqrt(difference) / Math.max(Math.sqrt(length), 1e-30);
}
