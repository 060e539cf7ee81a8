// The training step that benches time: a model of given sizes, and one batch of random tokens.
import type { Backend } from '../ts/backend/index.js';
import { bankParameters } from '../ts/models/bank.js';
import { bankConfig, type TransformerConfig, transformerConfig } from '../ts/models/config.js';
import { transformerParameters } from '../ts/models/transformer.js';
import { ParameterSet } from '../ts/nn/parameters.js';
import { ADAMW } from '../ts/optim/adamw.js';
import { Prng } from '../ts/tensor/prng.js';
import { TrainStep } from '../ts/train/step.js';
import type { StepArguments } from './step_sizes.js';

export interface StepModel {
  readonly config: TransformerConfig;
  readonly parameters: ParameterSet;
  readonly step: TrainStep;
  readonly batch: Parameters<TrainStep['run']>[0];
  dispose(): void;
}

export function stepModel(backend: Backend, given: Omit<StepArguments, 'threads' | 'isa' | 'compile'>): StepModel {
  const { vocab, width, inner, layers, heads, time, batch, slices, experts, groups, sliceType, dtype } = given;
  const config = transformerConfig({
    vocabSize: vocab,
    hiddenSize: width,
    intermediateSize: inner,
    layers,
    heads,
    contextLength: time,
  });
  const bank =
    slices > 0 ? bankConfig(config, { slices, experts, ...(sliceType === undefined ? {} : { sliceType }) }) : undefined;
  const specs = bank === undefined ? transformerParameters(config) : bankParameters(config, bank);
  const parameters = new ParameterSet(backend, specs, { trainable: true });
  parameters.initialize(1);
  const step = new TrainStep(backend, { config, bank, parameters }, { batch, time, precision: dtype }, ADAMW);
  const random = new Prng(1);
  const clusters = Int32Array.from({ length: batch }, (_, i) => Math.floor((i * groups) / batch));
  const ids = () => Int32Array.from({ length: batch * time }, () => random.int(vocab));
  return {
    config,
    parameters,
    step,
    batch: {
      tokens: ids(),
      targets: ids(),
      clusters,
      groups: clusters,
      count: batch * time,
    },
    dispose() {
      step.dispose();
      parameters.dispose();
    },
  };
}
