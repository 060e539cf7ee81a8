// Low-rank adapters (Hu et al. 2021, LoRA): every hidden matrix W (out, in) of a frozen model is used as
//   W + (alpha / r) B A      A (r, in), B (out, r)
// and only A and B are trained. Routed experts have none and stay as they are: each would need a pair of its own. B starts at zero, so that training starts from the model itself. A matrix that is stored as
// one (q, k, v; gate, up) has one pair. Merged, the model has its old sizes and costs nothing more to serve.
import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import { loraLinear } from '../ops/lora.js';
import { emitGemm } from '../ops/matmul.js';
import { Program } from '../program/program.js';
import type { Tensor } from '../tensor/tensor.js';
import { ParameterSet, type ParameterSpec } from './parameters.js';

export interface LoraSettings {
  /** r. Default 16; the paper's larger model has 64. */
  readonly rank: number;
  /** Default 2 r. */
  readonly alpha: number;
}

/** Fills defaults and checks. Throws SWEETSPOT_USAGE. */
export function loraSettings(given: Partial<LoraSettings>): LoraSettings {
  const rank = given.rank ?? 16;
  const alpha = given.alpha ?? 2 * rank;
  for (const [what, value, fits] of [
    ['the rank of adapters', rank, Number.isInteger(rank) && rank >= 1 && rank <= 4096],
    ['alpha of adapters', alpha, alpha > 0 && Number.isFinite(alpha)],
  ] as const) {
    if (!fits)
      throw new SweetspotError('SWEETSPOT_USAGE', {
        what,
        expected: what.startsWith('alpha') ? 'above 0' : 'a whole number from 1 to 4096',
        found: String(value),
      });
  }
  return { rank, alpha };
}

const names = (name: string) => ({ a: `${name}.lora_a`, b: `${name}.lora_b` });

/** Hidden matrices that get an adapter: those that every token passes. */
export const adapted = ({ kind, shape }: ParameterSpec): boolean => kind === 'hidden' && shape.length === 2;

/** The adapters of `specs`. */
export function loraParameters(specs: readonly ParameterSpec[], { rank }: LoraSettings): ParameterSpec[] {
  return specs.filter(adapted).flatMap(({ name, shape }): ParameterSpec[] => {
    const [out, width] = [shape[0]!, shape[1]!];
    return [
      { name: names(name).a, shape: [rank, width], kind: 'matrix', init: { kind: 'normal', std: width ** -0.5 } },
      { name: names(name).b, shape: [out, rank], kind: 'matrix', init: { kind: 'constant', value: 0 } },
    ];
  });
}

/** A frozen model, its adapters, and a third set of parameters that holds the model with the adapters merged. */
export class LoraModel {
  readonly adapters: ParameterSet;
  readonly merged: ParameterSet;
  readonly #base: ParameterSet;
  readonly #merge: Program;
  readonly #scale: number;

  constructor(
    backend: Backend,
    specs: readonly ParameterSpec[],
    values: ReadonlyMap<string, Float32Array>,
    settings: LoraSettings,
    seed: number | string,
  ) {
    this.#scale = settings.alpha / settings.rank;
    this.#base = new ParameterSet(backend, specs, { trainable: false });
    this.merged = new ParameterSet(backend, specs, { trainable: false });
    for (const set of [this.#base, this.merged]) {
      values.forEach((v, name) => {
        set.write(name, v);
      });
    }
    this.adapters = new ParameterSet(backend, loraParameters(specs, settings), { trainable: true });
    this.adapters.initialize(seed);
    this.#merge = Program.record(backend, 'merge lora', () => {
      for (const { name, shape } of specs.filter(adapted)) {
        const [a, b] = [this.adapters.tensor(names(name).a), this.adapters.tensor(names(name).b)];
        const operands = { a: b, b: a, add: this.#base.tensor(name), c: this.merged.tensor(name) };
        emitGemm(operands, { m: shape[0]!, n: shape[1]!, k: settings.rank }, this.#scale);
      }
    });
  }

  /** Parameters that have no adapter. */
  tensor(name: string): Tensor {
    return this.#base.tensor(name);
  }

  /** The linear layer `name` with its adapter: x (..., in) (+ residual) -> (..., out). */
  readonly linear = (x: Tensor, name: string, residual?: Tensor): Tensor =>
    loraLinear(
      x,
      this.#base.tensor(name),
      this.adapters.tensor(names(name).a),
      this.adapters.tensor(names(name).b),
      this.#scale,
      residual,
    );

  /** Brings `merged` up to date, after the work already submitted. */
  merge(): void {
    this.#merge.run();
  }

  dispose(): void {
    this.#merge.release();
    for (const set of [this.#base, this.merged, this.adapters]) set.dispose();
  }
}
