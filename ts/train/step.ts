// One training step as a Program: forward, backward, clipping and optimizer, recorded once for a batch shape. What changes
// from step to step is written into one input buffer: tokens, targets, learning rate, and for a bank which clusters are
// present and where their rows begin. Loss, gradient norm and loads of experts come back as a few small reads.
import type { Precision } from '../autograd/tape.js';
import type { Backend, BufferId } from '../backend/backend.js';
import type { Batch } from '../data/sampler.js';
import { bankFeedForward, conditionVectors, expertVectors, mixedCoefficients } from '../models/bank.js';
import type { BankConfig, TransformerConfig } from '../models/config.js';
import { type ForwardParts, outputMatrix, transformer, type Weights } from '../models/transformer.js';
import type { ParameterSet } from '../nn/parameters.js';
import { linearCrossEntropy } from '../ops/cross_entropy.js';
import { type AdamWSettings, adamw, hyperValues } from '../optim/adamw.js';
import type { MuonSettings } from '../optim/muon.js';
import { Program } from '../program/program.js';
import { bufferTensor, sizeOf, type Tensor } from '../tensor/tensor.js';
import { type BalanceSettings, recordBalance } from './balance.js';
import type { Lessons, TeacherSettings } from './teacher.js';

export interface TrainableModel {
  readonly config: TransformerConfig;
  /** Present when feed-forward weights are generated from a bank. */
  readonly bank?: BankConfig | undefined;
  /** What is trained. */
  readonly parameters: ParameterSet;
  /** Where the forward pass looks parameters up, when part of the model is frozen. Default: `parameters`. */
  readonly weights?: Weights | undefined;
  /** How the load of routed experts is kept even. Default: not at all. */
  readonly balance?: BalanceSettings | null | undefined;
  /** How the forward pass differs from the dense one. Default: as `bank` says. */
  readonly parts?: ForwardParts | undefined;
  /** Distillation: what a teacher says about the text, and how it is weighed. Batches must have `sources`. */
  readonly lessons?: (Lessons & Pick<TeacherSettings, 'weight' | 'temperature'>) | undefined;
  /** Embedding that a cluster is conditioned on (D), for a bank with that conditioning. */
  readonly embedding?: ((cluster: number) => Float32Array) | undefined;
}

export interface BatchShape {
  /** Windows B. */
  readonly batch: number;
  /** Tokens a window T. */
  readonly time: number;
  /** Of the matrix products. Default fp32. */
  readonly precision?: Precision | undefined;
  /** Of the rounding of a bank's slices, when they are bf16. Default 0. */
  readonly seed?: number | undefined;
  /** Groups of rows with generated weights of their own, at most. Default: one a cluster, or a window where there are fewer. */
  readonly groups?: number | undefined;
}

export interface StepResult {
  /** Mean negative log-likelihood over the targets of the batch, nats. */
  readonly loss: number;
  /** Global gradient norm before clipping. */
  readonly gradientNorm: number;
  /** What the routers did (train/loads.ts reads it); undefined without routed layers. */
  readonly routing: Float32Array | undefined;
}

/** Named places in one buffer, each at a multiple of 64 bytes. */
class InputBuffer {
  readonly id: BufferId;
  readonly bytes: Uint8Array;
  readonly #offsets = new Map<string, number>();

  constructor(
    readonly backend: Backend,
    fields: Readonly<Record<string, number>>,
  ) {
    let at = 0;
    for (const [name, words] of Object.entries(fields)) {
      this.#offsets.set(name, at);
      at += Math.ceil(words / 16) * 64;
    }
    this.bytes = new Uint8Array(at);
    this.id = backend.alloc(at);
  }

  tensor(name: string, shape: readonly number[], dtype: 'i32' | 'f32'): Tensor {
    return bufferTensor(name, shape, dtype, { buffer: this.id, offset: this.#offsets.get(name)! });
  }

  ints(name: string, length: number): Int32Array {
    return new Int32Array(this.bytes.buffer, this.#offsets.get(name)!, length);
  }

  floats(name: string, length: number): Float32Array {
    return new Float32Array(this.bytes.buffer, this.#offsets.get(name)!, length);
  }

  submit(): void {
    this.backend.write(this.id, 0, this.bytes);
  }

  dispose(): void {
    this.backend.free(this.id);
  }
}

/** Slots for clusters in a step: all of them, or one a window when there are fewer windows. */
export const groupSlots = (bank: BankConfig, batch: number): number => Math.min(bank.experts, batch);

/**
 * Fills the slots: number (a cluster, as a rule) of each present group, row offsets of all (absent slots are empty, at the
 * end). Returns how many are present.
 */
export function fillGroups(groups: Int32Array, time: number, slots: Int32Array, offsets: Int32Array): number {
  slots.fill(0);
  let group = -1;
  for (let b = 0; b < groups.length; b++) {
    if (b === 0 || groups[b] !== groups[b - 1]) {
      group++;
      slots[group] = groups[b]!;
      offsets[group] = b * time;
    }
  }
  offsets.fill(groups.length * time, group + 1);
  return group + 1;
}

export class TrainStep {
  readonly program: Program;
  readonly #inputs: InputBuffer;
  readonly #settings: AdamWSettings;
  readonly #groups: number;
  readonly #model: TrainableModel;

  constructor(
    readonly backend: Backend,
    model: TrainableModel,
    readonly shape: BatchShape,
    settings: AdamWSettings,
    muon: MuonSettings | null = null,
  ) {
    const { config, bank, parameters } = model;
    const { batch: B, time: T } = shape;
    const N = B * T;
    this.#settings = settings;
    this.#model = model;
    this.#groups = bank === undefined ? 0 : (shape.groups ?? groupSlots(bank, B));
    const G = this.#groups;
    const D = bank?.conditionSize ?? 0;
    const k = model.lessons?.k ?? 0;
    this.#inputs = new InputBuffer(backend, {
      tokens: N,
      targets: N,
      positions: N,
      scale: 1,
      hyper: 8,
      clusters: G,
      offsets: G + 1,
      count: 1,
      conditions: G * D,
      teacherIds: N * k,
      teacherP: N * k,
    });
    const inputs = this.#inputs;
    inputs.ints('positions', N).forEach((_, i, positions) => {
      positions[i] = i % T;
    });
    this.program = Program.record(backend, bank === undefined ? 'train step' : 'bank train step', (t) => {
      t.precision = shape.precision ?? 'fp32';
      const weights = model.weights ?? parameters;
      const vectors = () =>
        bank?.conditioning === 'cluster'
          ? expertVectors(weights, inputs.tensor('clusters', [G], 'i32'))
          : conditionVectors(weights, inputs.tensor('conditions', [G, D], 'f32'));
      const groups = {
        offsets: inputs.tensor('offsets', [G + 1], 'i32'),
        count: inputs.tensor('count', [1], 'i32'),
      };
      const parts =
        model.parts ??
        (bank === undefined
          ? {}
          : { feedForward: bankFeedForward(bank, weights, mixedCoefficients(weights, vectors()), groups) });
      const balance = config.moe === null ? undefined : recordBalance(config.moe, weights, model.balance);
      const tokens = inputs.tensor('tokens', [B, T], 'i32');
      const positions = inputs.tensor('positions', [N], 'i32');
      const hidden = transformer(config, weights, tokens, positions, {
        ...parts,
        ...(balance && { watch: balance.watch }),
      });
      const targets = inputs.tensor('targets', [B, T], 'i32');
      const losses = linearCrossEntropy(
        hidden,
        outputMatrix(config, weights),
        targets,
        inputs.tensor('scale', [1], 'f32'),
        {
          cap: config.logitCap,
          taught: model.lessons && {
            ids: inputs.tensor('teacherIds', [N, k], 'i32'),
            p: inputs.tensor('teacherP', [N, k], 'f32'),
            weight: model.lessons.weight,
            temperature: model.lessons.temperature,
          },
        },
      );
      t.backward([]);
      const norm = t.temporary([1], { name: 'norm' });
      adamw(parameters, settings, inputs.tensor('hyper', [8], 'f32'), norm, { seed: shape.seed, muon });
      balance?.steer();
      const sum = t.temporary([1], { name: 'sum' });
      t.emit('reduce_sum', { x: losses, y: sum }, { outer: 1, n: sizeOf(losses.shape), inner: 1 }, { alpha: 1 });
      t.output('loss', sum);
      t.output('norm', norm);
      if (balance !== undefined) t.output('routing', balance.figures);
    });
  }

  /** Submits step t (from 1) and resolves with its result; the next step may be submitted before. */
  async run(batch: Batch, lr: number, t: number): Promise<StepResult> {
    const inputs = this.#inputs;
    inputs.ints('tokens', batch.tokens.length).set(batch.tokens);
    inputs.ints('targets', batch.targets.length).set(batch.targets);
    inputs.floats('scale', 1)[0] = 1 / Math.max(1, batch.count);
    inputs.floats('hyper', 8).set(hyperValues(this.#settings, lr, t));
    if (this.#groups > 0) {
      const slots = inputs.ints('clusters', this.#groups);
      const present = fillGroups(batch.groups, this.shape.time, slots, inputs.ints('offsets', this.#groups + 1));
      inputs.ints('count', 1)[0] = present;
      this.#condition(batch, slots.subarray(0, present));
    }
    if (this.#model.lessons !== undefined) this.#teach(this.#model.lessons, batch.sources!);
    inputs.submit();
    this.program.run();
    const [loss, norm, routing] = await Promise.all([
      this.program.read('loss'),
      this.program.read('norm'),
      this.#model.config.moe === null ? undefined : this.program.read('routing'),
    ]);
    return { loss: loss[0]! / Math.max(1, batch.count), gradientNorm: norm[0]!, routing };
  }

  /** Fills in the teacher's word on every input. */
  #teach({ k, ids, p }: Lessons, sources: Int32Array): void {
    const [toIds, toP] = [
      this.#inputs.ints('teacherIds', sources.length * k),
      this.#inputs.floats('teacherP', sources.length * k),
    ];
    sources.forEach((source, i) => {
      if (source < 0) toIds.fill(-1, i * k, (i + 1) * k);
      else {
        toIds.set(ids.subarray(source * k, (source + 1) * k), i * k);
        toP.set(p.subarray(source * k, (source + 1) * k), i * k);
      }
    });
  }

  /** Fills in what the weights of each present group are generated from. */
  #condition(batch: Batch, slots: Int32Array): void {
    const { bank, embedding } = this.#model;
    if (bank === undefined || bank.conditioning === 'cluster') return;
    const conditions = this.#inputs.floats('conditions', this.#groups * bank.conditionSize);
    slots.forEach((slot, g) => {
      conditions.set(batch.histograms?.[slot] ?? embedding!(slot), g * bank.conditionSize);
    });
  }

  dispose(): void {
    this.program.release();
    this.#inputs.dispose();
  }
}
