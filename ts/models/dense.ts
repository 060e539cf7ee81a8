// A dense model ready to compute: sizes, parameters on a backend, tokenizer. What is evaluated and served; training has
// trainable parameters of its own.
import type { Backend } from '../backend/backend.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { loadDenseFolder, loadingDenseFolder } from '../io/huggingface.js';
import { atOnce, type Pieces, politely } from '../io/pieces.js';
import { ParameterSet } from '../nn/parameters.js';
import type { TransformerConfig } from './config.js';
import { transformerParameters } from './transformer.js';

/** A model on a backend, for `generate` and `evaluateCorpus`. Dispose of it, or take it with `using`. */
export class DenseModel {
  private constructor(
    /** Where its parameters lie. */
    readonly backend: Backend,
    /** Its sizes. */
    readonly config: TransformerConfig,
    /** Not trainable. */
    readonly parameters: ParameterSet,
    /** Of the texts it was trained on. */
    readonly tokenizer: Tokenizer,
  ) {}

  /**
   * Reads a Hugging Face folder of the Llama, Qwen3 or Mixtral layout, or of our own, onto the backend.
   *
   * @throws SweetspotError SWEETSPOT_INPUT when a file is missing or the model is of a kind that is not supported;
   *   SWEETSPOT_CORRUPT when a file is damaged; SWEETSPOT_MISMATCH when the tokenizer has more tokens than the model;
   *   SWEETSPOT_BACKEND_UNAVAILABLE when there is no memory for it
   */
  static load(backend: Backend, folder: string): DenseModel {
    const { config, values, tokenizer } = loadDenseFolder(folder);
    return DenseModel.fromValues(backend, config, values, tokenizer);
  }

  /**
   * The same beside other work of the event loop: a service may load while it serves.
   *
   * @throws SweetspotError like `load`; SWEETSPOT_ABORTED when `signal` fires
   */
  static async open(
    backend: Backend,
    folder: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<DenseModel> {
    const { config, values, tokenizer } = await politely(loadingDenseFolder(folder), options.signal);
    return politely(DenseModel.#upload(backend, config, values, tokenizer), options.signal);
  }

  /**
   * A model of values that the caller has.
   *
   * @param values every parameter of transformerParameters(config), by name, row-major; copied
   * @throws SweetspotError SWEETSPOT_BACKEND_UNAVAILABLE when there is no memory for it
   */
  static fromValues(
    backend: Backend,
    config: TransformerConfig,
    values: ReadonlyMap<string, Float32Array>,
    tokenizer: Tokenizer,
  ): DenseModel {
    return atOnce(DenseModel.#upload(backend, config, values, tokenizer));
  }

  static *#upload(
    backend: Backend,
    config: TransformerConfig,
    values: ReadonlyMap<string, Float32Array>,
    tokenizer: Tokenizer,
  ): Pieces<DenseModel> {
    const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: false });
    let whole = false;
    try {
      for (const { name } of parameters.specs) {
        const value = values.get(name);
        if (value === undefined) throw new RangeError(`no values for the parameter ${name}`);
        parameters.write(name, value);
        yield;
      }
      whole = true;
    } finally {
      if (!whole) parameters.dispose();
    }
    return new DenseModel(backend, config, parameters, tokenizer);
  }

  /** Frees the parameters, after the work already submitted. */
  dispose(): void {
    this.parameters.dispose();
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
