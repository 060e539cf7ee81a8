// evaluate(): how well a dense model predicts the texts of domains, and the average over them in which every domain weighs
// the same (PAPER, "What is measured"). The quantities are defined in ts/eval/perplexity.ts.
import type { Backend } from '../backend/index.js';
import { type Corpus, domainCorpus } from '../data/corpus.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { type Evaluation, type EvaluationOptions, evaluateCorpus, macroAverage } from '../eval/perplexity.js';
import { DenseModel } from '../models/dense.js';
import type { OnProgress } from '../train/progress.js';

/** What to measure, on what text. */
export interface EvaluateOptions {
  /** Where to compute. */
  readonly backend: Backend;
  /** Model folder: of specialize, or any that `DenseModel.load` reads. */
  readonly model: string;
  /** File or folder of text; several are several domains. */
  readonly text: string | readonly string[];
  /** Tokens of each domain to use at most. Default: all. */
  readonly maxTokens?: number | undefined;
  /** Tokens of one run. Default 4096; more only takes more memory. */
  readonly batchTokens?: number | undefined;
  /** Called after every batch. */
  readonly onProgress?: OnProgress | undefined;
  /** Ends the work with SWEETSPOT_ABORTED. */
  readonly signal?: AbortSignal | undefined;
}

/** The evaluation of one text. */
export interface DomainEvaluation extends Evaluation {
  /** The path it was given as. */
  readonly text: string;
}

/** What a model makes of the texts of domains. */
export interface EvaluateResult {
  /** The model folder as it was given. */
  readonly model: string;
  /** In the order given. */
  readonly domains: readonly DomainEvaluation[];
  /** exp(mean over domains of their nll); for one domain, the same as its own. */
  readonly macro: Pick<Evaluation, 'nll' | 'perplexity' | 'bitsPerByte'>;
}

/**
 * How well a model folder predicts texts.
 *
 * @throws SweetspotError as `DenseModel.load` and `readDocuments`; SWEETSPOT_INPUT when a text has nothing to predict;
 *   SWEETSPOT_USAGE without a text or for options out of range; SWEETSPOT_ABORTED
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluateResult> {
  const { backend } = options;
  const model = DenseModel.load(backend, options.model);
  try {
    const measured = await evaluateTexts(options, model.tokenizer, (corpus, more) =>
      evaluateCorpus(backend, model.config, model.parameters, corpus, more),
    );
    return { model: options.model, ...measured };
  } finally {
    model.dispose();
  }
}

/** Measures each text by `evaluateOne`, and averages. */
export async function evaluateTexts(
  { text: texts, maxTokens, batchTokens, onProgress: report, signal }: Omit<EvaluateOptions, 'backend' | 'model'>,
  tokenizer: Tokenizer,
  evaluateOne: (corpus: Corpus, options: EvaluationOptions) => Promise<Evaluation>,
): Promise<Omit<EvaluateResult, 'model'>> {
  const domains: DomainEvaluation[] = [];
  for (const text of [texts].flat()) {
    const corpus = await domainCorpus(text, tokenizer, { maxTokens, signal });
    const onProgress = (done: number, total: number) =>
      report?.({ stage: `evaluate ${text}`, done, total, unit: 'tokens' });
    domains.push({ text, ...(await evaluateOne(corpus, { batchTokens, signal, onProgress })) });
  }
  return { domains, macro: macroAverage(domains) };
}
