// Types of the way from text to a model and its figures.
import {
  type Backend,
  buildCorpus,
  type ClusterSummary,
  type CorpusSummary,
  clusterCorpus,
  type EvaluateResult,
  type Evaluation,
  type ExperimentOutcome,
  type ExpertChoice,
  evaluate,
  type externalEmbedder,
  type METHODS,
  type Method,
  type macroAverage,
  type OnProgress,
  type PRESETS,
  type Precision,
  type PresetName,
  type PretrainOptions,
  pretrain,
  type RunResult,
  readDocuments,
  readExperiment,
  runExperiment,
  type SpecializeOptions,
  type SpecializeResult,
  specialize,
} from '../../ts/index.js';
import { any, type Equal, expect } from './expect.js';

const backend = any<Backend>();

export async function text(): Promise<void> {
  expect<Equal<ReturnType<typeof buildCorpus>, Promise<CorpusSummary>>>();
  await buildCorpus({ input: ['a', 'b'], out: 'corpus', vocabSize: 300 });
  // @ts-expect-error out is needed
  await buildCorpus({ input: 'a' });
  // @ts-expect-error no such option
  await buildCorpus({ input: 'a', out: 'b', vocab: 300 });
  expect<Equal<ReturnType<typeof clusterCorpus>, Promise<ClusterSummary>>>();
  // @ts-expect-error how many is needed
  await clusterCorpus(backend, 'corpus', {});
  for await (const document of readDocuments('a')) expect<Equal<typeof document.text, string>>();
  expect<Equal<ReturnType<typeof externalEmbedder>['kind'], string>>();
}

export async function training(): Promise<void> {
  expect<Equal<Method, 'slm' | 'importance' | 'mixture' | 'projected' | 'soup' | 'hypernetwork' | 'routed'>>();
  expect<Equal<typeof METHODS, readonly Method[]>>();
  expect<Equal<PresetName, 'paper' | 'modern' | 'exportable'>>();
  expect<Equal<keyof typeof PRESETS, PresetName>>();
  expect<Equal<Precision, 'fp32' | 'bf16'>>();
  expect<Equal<PretrainOptions['precision'], Precision | undefined>>();
  const needed = { backend, corpus: 'c', out: 'o', tokens: 1e6 };
  expect<Equal<ReturnType<typeof pretrain>, Promise<RunResult>>>();
  await pretrain({ ...needed, method: 'slm', model: { layers: 2 }, onProgress: any<OnProgress>() });
  // @ts-expect-error no such method
  await pretrain({ ...needed, method: 'moe' });
  // @ts-expect-error the vocabulary comes from the corpus
  await pretrain({ ...needed, method: 'slm', model: { vocabSize: 300 } });
  // @ts-expect-error no such option
  await pretrain({ ...needed, method: 'slm', learning_rate: 3 });
  // @ts-expect-error a method is needed
  await pretrain(needed);
}

export async function specializing(): Promise<void> {
  expect<Equal<ExpertChoice, 'frequent' | 'lowest-loss' | 'histogram' | 'distance' | 'fitted'>>();
  expect<Equal<SpecializeOptions['expert'], ExpertChoice | undefined>>();
  expect<Equal<ReturnType<typeof specialize>, Promise<SpecializeResult>>>();
  await specialize({ backend, run: 'r', domain: ['a'], out: 'm', lora: { rank: 4 } });
  // @ts-expect-error the domain is needed
  await specialize({ backend, run: 'r', out: 'm' });
  // @ts-expect-error no such choice
  await specialize({ backend, run: 'r', domain: 'a', out: 'm', expert: 'best' });
}

export async function measuring(): Promise<void> {
  expect<Equal<ReturnType<typeof evaluate>, Promise<EvaluateResult>>>();
  const { macro, domains } = await evaluate({ backend, model: 'm', text: 'a' });
  expect<Equal<typeof macro, Pick<Evaluation, 'nll' | 'perplexity' | 'bitsPerByte'>>>();
  expect<Equal<ReturnType<typeof macroAverage>, typeof macro>>();
  // @ts-expect-error read only
  domains[0]!.perplexity = 3;
  // @ts-expect-error a path, not a model
  await evaluate({ backend, model: 3, text: 'a' });
}

export async function experiments(): Promise<void> {
  const experiment = await readExperiment('grid.yaml');
  expect<Equal<ReturnType<typeof runExperiment>, Promise<ExperimentOutcome>>>();
  // @ts-expect-error a file has to be read first
  await runExperiment({ experiment: 'grid.yaml', out: 'o' });
  await runExperiment({ experiment, out: 'o', processes: 2 });
}
