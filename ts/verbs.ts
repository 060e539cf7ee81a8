// Verbs of the library that stand for a lot of code: it is loaded at the first call of each, so that `import 'sweetspot'` costs
// little to a program that only generates.
import type { Experiment } from './experiment/experiment.js';
import type { ExperimentOptions, ExperimentOutcome, ExperimentPlan } from './experiment/run.js';
import type { EnsembleOptions, EnsembleResult } from './methods/ensemble.js';
import type { EvaluateOptions, EvaluateResult } from './methods/evaluate.js';
import type { PretrainOptions } from './methods/pretrain.js';
import type { RunResult } from './methods/run.js';
import type { SpecializeOptions, SpecializeResult } from './methods/specialize.js';
import type { ReportResult } from './report/report.js';

/**
 * Trains by one method into a run folder; an interrupted run goes on where it stopped.
 *
 * @throws SweetspotError SWEETSPOT_USAGE, _INPUT, _MISMATCH, _EXISTS, _LOCKED before anything is changed; SWEETSPOT_ABORTED when
 *   `signal` fires, with everything saved
 */
export async function pretrain(options: PretrainOptions): Promise<RunResult> {
  return await (await import('./methods/pretrain.js')).pretrain(options);
}

/**
 * Makes a model folder for a domain out of a run: chooses the expert, fine-tunes it.
 *
 * @throws SweetspotError SWEETSPOT_USAGE, _INPUT (no text, less than one window), _EXISTS (out exists), _LOCKED, _MISMATCH before
 *   anything is changed; SWEETSPOT_ABORTED when `signal` fires: the work so far is in `<out>.part` and the same call goes on with it
 */
export async function specialize(options: SpecializeOptions): Promise<SpecializeResult> {
  return await (await import('./methods/specialize.js')).specialize(options);
}

/**
 * Perplexity and bits per byte of a model folder on held-out text.
 *
 * @throws SweetspotError as `DenseModel.load` and `readDocuments`; SWEETSPOT_INPUT when a text has nothing to predict;
 *   SWEETSPOT_USAGE without a text or for options out of range; SWEETSPOT_ABORTED
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluateResult> {
  return await (await import('./methods/evaluate.js')).evaluate(options);
}

/**
 * How well the experts of a run together predict text of a domain, without fine-tuning.
 *
 * @throws SweetspotError SWEETSPOT_USAGE for a run without experts; SWEETSPOT_INPUT when a text or the run is missing or too
 *   short; SWEETSPOT_ABORTED
 */
export async function evaluateEnsemble(options: EnsembleOptions): Promise<EnsembleResult> {
  return await (await import('./methods/ensemble.js')).evaluateEnsemble(options);
}

/**
 * Reads the file of an experiment; paths in it are relative to the file.
 *
 * @throws SweetspotError SWEETSPOT_USAGE or, when only the text it names is at fault, SWEETSPOT_INPUT, listing every problem
 */
export async function readExperiment(file: string): Promise<Experiment> {
  return await (await import('./experiment/read.js')).readExperiment(file);
}

/**
 * The same for a value that a program made.
 *
 * @param from.file its name in messages
 * @param from.folder what its paths are relative to; default: the working folder
 * @throws SweetspotError as `readExperiment`
 */
export async function checkedExperiment(
  raw: unknown,
  from: { readonly file?: string; readonly folder?: string } = {},
): Promise<Experiment> {
  return await (await import('./experiment/read.js')).checkedExperiment(raw, from);
}

/**
 * What a call of `runExperiment` would do, without doing anything.
 *
 * @throws SweetspotError SWEETSPOT_INPUT, SWEETSPOT_IO
 */
export async function describeExperiment(experiment: Experiment, out: string): Promise<ExperimentPlan> {
  return (await import('./experiment/run.js')).describeExperiment(experiment, out);
}

/**
 * Does what of an experiment is not done yet, and writes its results.
 *
 * @throws SweetspotError SWEETSPOT_INPUT listing text that turns out too short, before any training; SWEETSPOT_ABORTED when
 *   `signal` fires, with everything saved; SWEETSPOT_USAGE for a number of processes that makes no sense; what cells throw
 */
export async function runExperiment(options: ExperimentOptions): Promise<ExperimentOutcome> {
  return await (await import('./experiment/run.js')).runExperiment(options);
}

/**
 * Draws the results of an experiment: one page, the same as markdown, and a file a figure.
 *
 * @param folder of `runExperiment`, finished or not
 * @param out folder to write; files of an earlier report are replaced
 * @throws SweetspotError SWEETSPOT_INPUT when there are no results, SWEETSPOT_CORRUPT, SWEETSPOT_IO; SWEETSPOT_USAGE when
 *   echarts is not installed
 */
export async function writeReport(folder: string, out: string): Promise<ReportResult> {
  return await (await import('./report/report.js')).writeReport(folder, out);
}
