// The training step that gpu_bench times and roofline.ts looks at: the 126M model of the paper, plain or with a bank.
import type { Backend } from '../../ts/backend/index.js';
import { encodeRow, type Place } from '../../ts/backend/rows.js';
import { bankParameters } from '../../ts/models/bank.js';
import { type BankConfig, bankConfig, type TransformerConfig, transformerConfig } from '../../ts/models/config.js';
import { initialStd, transformerParameters } from '../../ts/models/transformer.js';
import { ParameterSet } from '../../ts/nn/parameters.js';
import { ADAMW } from '../../ts/optim/adamw.js';
import { Prng } from '../../ts/tensor/prng.js';
import { sizeOf } from '../../ts/tensor/tensor.js';
import { TrainStep } from '../../ts/train/step.js';
import type { Device, Shapes } from './device.js';

export class PaperStep {
  readonly config: TransformerConfig;
  readonly bank: BankConfig | undefined;
  readonly parameters: ParameterSet;
  readonly step: TrainStep;
  readonly #batch: Parameters<TrainStep['run']>[0];
  #steps = 0;

  /** `clusters` in the batch; 0: the plain model. */
  constructor(backend: Backend, { model, bank }: Shapes, sequences: number, clusters: number) {
    const { vocabulary, width, inner, layers, heads, time } = model;
    this.config = transformerConfig({
      vocabSize: vocabulary,
      hiddenSize: width,
      intermediateSize: inner,
      layers,
      heads,
      contextLength: time,
    });
    const { experts, slices } = bank;
    this.bank = clusters === 0 ? undefined : bankConfig(this.config, { experts, slices, sliceType: 'bf16' });
    const specs = this.bank === undefined ? transformerParameters(this.config) : bankParameters(this.config, this.bank);
    this.parameters = new ParameterSet(backend, specs, { trainable: true });
    const shape = { batch: sequences, time, precision: 'bf16', ...(clusters > 0 && { groups: clusters }) } as const;
    this.step = new TrainStep(
      backend,
      { config: this.config, bank: this.bank, parameters: this.parameters },
      shape,
      ADAMW,
    );
    const random = new Prng('batch');
    const ids = () => Int32Array.from({ length: sequences * time }, () => random.int(vocabulary));
    const groups = Int32Array.from({ length: sequences }, (_, i) => Math.floor((i * clusters) / sequences));
    this.#batch = { tokens: ids(), targets: ids(), clusters: groups, groups, count: sequences * time };
  }

  /**
   * Values at the usual scale, made on the device from its pool: 1.5 billion numbers drawn one by one on the host would take
   * longer than all that is timed. Moments are zero, as new buffers are.
   */
  initialize(device: Device): void {
    const std = initialStd(this.config).inner;
    const { specs } = this.parameters;
    const largest = Math.max(...specs.map(({ shape }) => sizeOf(shape)));
    const period = device.block.length;
    const pool = device.pool(largest + period);
    const scaled = device.place(4 * largest);
    for (const [i, { name, kind, shape, init }] of specs.entries()) {
      const { storage, dtype } = this.parameters.tensor(name);
      if (storage.kind !== 'buffer') continue;
      const [y, n] = [storage.place, sizeOf(shape)];
      if (kind === 'vector') {
        device.once([encodeRow('fill', { y }, { n }, { value: 1 })]);
        continue;
      }
      // Each from another place of the block. Slices begin at zero, and are timed on something.
      const x: Place = { buffer: pool, offset: 64 * ((i * 4093) % (period / 16)) };
      const alpha = init.kind === 'normal' ? init.std : kind === 'slices' ? 0.1 * std : std;
      const floats = dtype === 'bf16' ? scaled : y;
      const rows = [encodeRow('add', { a: x, b: x, y: floats }, { n }, { alpha, beta: 0 })];
      if (dtype === 'bf16') rows.push(encodeRow('cast', { x: scaled, y }, { n, from: 0, to: 1 }, {}));
      device.once(rows);
    }
    device.free();
  }

  /** Queues `count` steps and waits for the last; the loss. */
  async run(count: number): Promise<number> {
    const results = Array.from({ length: count }, () => this.step.run(this.#batch, 1e-4, ++this.#steps));
    return (await Promise.all(results)).at(-1)!.loss;
  }

  dispose(): void {
    this.step.dispose();
    this.parameters.dispose();
  }
}
