// The library: everything the command line does, for programs. Open a backend, call a verb with it, close it:
//
//   const backend = openBackend();
//   await buildCorpus({ input: 'generic.jsonl.gz', out: 'corpus' });
//   await clusterCorpus(backend, 'corpus', { clusters: 16 });
//   await pretrain({ backend, method: 'projected', corpus: 'corpus', tokens: 10e6, out: 'runs/pn' });
//   await specialize({ backend, run: 'runs/pn', domain: 'my-docs', out: 'models/mine' });
//   await evaluate({ backend, model: 'models/mine', text: 'heldout.jsonl' });
//   const model = DenseModel.load(backend, 'models/mine');
//   for await (const piece of generate(model, 'The court')) process.stdout.write(piece);
//   model.dispose();
//   await backend.close();
//
// Inside a service, for many callers at once (docs/embedding.md):
//
//   await using engine = await createEngine({ model: 'models/mine' });
//   for await (const piece of engine.generate('The court', { signal })) response.write(piece);
//
// Or the whole comparison, from a file that names it (docs/experiments.md):
//
//   await runExperiment({ experiment: await readExperiment('grid.yaml'), out: 'runs/grid' });
//   await writeReport('runs/grid', 'report');
//
// What is exported here is what semantic versioning covers; other modules may change at any time.
export {
  type Backend,
  type BackendOptions,
  type Capabilities,
  type ErrorCode,
  listIsas,
  openBackend,
  SweetspotError,
} from './backend/index.js';
export {
  type Clustering,
  type ClusterOptions,
  type ClusterProgress,
  type ClusterSummary,
  clusterCorpus,
  coverage,
  entropy,
  histogram,
} from './data/clusters.js';
export { type BuildCorpusOptions, buildCorpus, Corpus, type CorpusSummary, domainCorpus } from './data/corpus.js';
export { type Embedder, externalEmbedder } from './data/embedder.js';
export { type Document, readDocuments } from './data/readers.js';
export { type DataProgress, Tokenizer, type TrainTokenizerOptions, trainTokenizer } from './data/tokenizer.js';
export { type Evaluation, type EvaluationOptions, evaluateCorpus, macroAverage } from './eval/perplexity.js';
export type { Experiment } from './experiment/experiment.js';
export type { ExperimentProgress, OnExperimentProgress } from './experiment/progress.js';
export { type MachineFile, type ResultRow, type Results, readResults } from './experiment/results.js';
export type { ExperimentOptions, ExperimentOutcome, ExperimentPlan } from './experiment/run.js';
export type { ExpertChoice } from './methods/choices.js';
export type { Placement } from './methods/choose.js';
export type { EnsembleOptions, EnsembleResult } from './methods/ensemble.js';
export type { DomainEvaluation, EvaluateOptions, EvaluateResult } from './methods/evaluate.js';
export { PRESETS, type Preset, type PresetName } from './methods/presets.js';
export type { PretrainOptions } from './methods/pretrain.js';
export { METHODS, type Method, type RunResult } from './methods/run.js';
export type { SpecializeOptions, SpecializeResult } from './methods/specialize.js';
export type { BankConfig, MoeConfig, TransformerConfig } from './models/config.js';
export { DenseModel } from './models/dense.js';
export type { SliceType } from './nn/parameters.js';
export type { AdamWSettings } from './optim/adamw.js';
export type { ReportResult } from './report/report.js';
export { createEngine, type Engine, type EngineInfo } from './serve/engine.js';
export type { EngineOptions } from './serve/engine_options.js';
export { type GenerateOptions, generate, generateText } from './serve/generate.js';
export type { BalanceSettings } from './train/balance.js';
export type { Precision } from './train/precision.js';
export type { OnProgress, Progress } from './train/progress.js';
export {
  checkedExperiment,
  describeExperiment,
  evaluate,
  evaluateEnsemble,
  pretrain,
  readExperiment,
  runExperiment,
  specialize,
  writeReport,
} from './verbs.js';
