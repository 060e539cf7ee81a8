// evaluate(): how well a dense model predicts the texts of domains, and the average over them in which every domain weighs
// the same (PAPER, "What is measured"). The quantities are defined in ts/eval/perplexity.ts.
import type { Backend } from '../backend/index.js';
import { domainCorpus } from '../data/corpus.js';
import { type Evaluation, evaluateCorpus, macroAverage } from '../eval/perplexity.js';
import { DenseModel } from '../models/dense.js';
import type { OnProgress } from '../train/progress.js';

export interface EvaluateOptions {
  readonly backend: Backend;
  /** Model folder: of specialize, or any that `DenseModel.load` reads. */
  readonly model: string;
  /** File or folder of text; several are several domains. */
  readonly text: string | readonly string[];
  /** Tokens of each domain to use at most. Default: all. */
  readonly maxTokens?: number | undefined;
  /** Tokens of one run. Default 4096; more only takes more memory. */
  readonly batchTokens?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface DomainEvaluation extends Evaluation {
  /** The path it was given as. */
  readonly text: string;
}

export interface EvaluateResult {
  readonly model: string;
  readonly domains: readonly DomainEvaluation[];
  /** exp(mean over domains of their nll); for one domain, the same as its own. */
  readonly macro: Pick<Evaluation, 'nll' | 'perplexity' | 'bitsPerByte'>;
}

/**
 * @throws SweetspotError as `DenseModel.load` and `readDocuments`; SWEETSPOT_INPUT when a text has nothing to predict;
 *   SWEETSPOT_USAGE without a text or for options out of range; SWEETSPOT_ABORTED
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluateResult> {
  const { backend, signal, maxTokens, batchTokens } = options;
  const model = DenseModel.load(backend, options.model);
  const domains: DomainEvaluation[] = [];
  try {
    for (const text of [options.text].flat()) {
      const corpus = await domainCorpus(text, model.tokenizer, { maxTokens, signal });
      const onProgress = (done: number, total: number) =>
        options.onProgress?.({ stage: `evaluate ${text}`, done, total, unit: 'tokens' });
      const evaluation = await evaluateCorpus(backend, model.config, model.parameters, corpus, {
        batchTokens,
        signal,
        onProgress,
      });
      domains.push({ text, ...evaluation });
    }
    return { model: options.model, domains, macro: macroAverage(domains) };
  } finally {
    model.dispose();
  }
}
