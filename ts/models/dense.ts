// A dense model ready to compute: sizes, parameters on a backend, tokenizer. What is evaluated and served; training has
// trainable parameters of its own.
import type { Backend } from '../backend/backend.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { loadDenseFolder } from '../io/huggingface.js';
import { ParameterSet } from '../nn/parameters.js';
import type { TransformerConfig } from './config.js';
import { transformerParameters } from './transformer.js';

export class DenseModel {
  private constructor(
    readonly backend: Backend,
    readonly config: TransformerConfig,
    /** Not trainable. */
    readonly parameters: ParameterSet,
    readonly tokenizer: Tokenizer,
  ) {}

  /** Reads a Hugging Face folder onto the backend. Throws like `loadDenseFolder`, and SWEETSPOT_BACKEND_UNAVAILABLE. */
  static load(backend: Backend, folder: string): DenseModel {
    const { config, values, tokenizer } = loadDenseFolder(folder);
    return DenseModel.fromValues(backend, config, values, tokenizer);
  }

  /** @param values every parameter of transformerParameters(config), by name, row-major; copied */
  static fromValues(
    backend: Backend,
    config: TransformerConfig,
    values: ReadonlyMap<string, Float32Array>,
    tokenizer: Tokenizer,
  ): DenseModel {
    const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: false });
    try {
      for (const { name } of parameters.specs) {
        const value = values.get(name);
        if (value === undefined) throw new RangeError(`no values for the parameter ${name}`);
        parameters.write(name, value);
      }
    } catch (error) {
      parameters.dispose();
      throw error;
    }
    return new DenseModel(backend, config, parameters, tokenizer);
  }

  /** Frees the parameters, after the work already submitted. */
  dispose(): void {
    this.parameters.dispose();
  }
}
