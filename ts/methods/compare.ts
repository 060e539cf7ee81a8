// compare(): every method at equal pretraining tokens on one corpus, for several domains and sizes of in-domain text; one row
// a method and size that says what it bought (perplexity before and after fine-tuning, per domain and macro average) and what
// it cost (parameters, tokens, FLOPs, seconds). Each cell is written when it is done, so that a killed call goes on.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Backend } from '../backend/index.js';
import { domainCorpus } from '../data/corpus.js';
import { type Evaluation, macroAverage } from '../eval/perplexity.js';
import { writeFileAtomic } from '../io/atomic.js';
import { denseParameterCount, trainingFlops } from '../models/cost.js';
import { finetune } from '../train/finetune.js';
import type { OnProgress } from '../train/progress.js';
import { type Chosen, chooseExpert, type ExpertChoice, evaluateValues, untrained } from './choose.js';
import { type PretrainOptions, pretrain } from './pretrain.js';
import { type FinishedRun, type Method, openRun } from './run.js';
import { splitHeldout } from './specialize.js';

/** 'domain-only' is the small model that never sees generic text (SLM-nopt in the paper). */
export type ComparedMethod = Method | 'domain-only';

export interface ComparedDomain {
  readonly name: string;
  /** Text to specialize on. */
  readonly train: string;
  /** Held-out text that the table is about; never trained on. */
  readonly test: string;
}

export interface CompareOptions {
  readonly backend: Backend;
  readonly corpus: string;
  /** Folder for runs and cells. */
  readonly out: string;
  readonly methods: readonly ComparedMethod[];
  readonly domains: readonly ComparedDomain[];
  /** Tokens of each domain's training text to use, one row a size. */
  readonly domainTokens: readonly number[];
  /** Passed on to every pretraining. */
  readonly pretrain: Pick<
    PretrainOptions,
    'tokens' | 'model' | 'bank' | 'moe' | 'balance' | 'batchTokens' | 'learningRate' | 'trunkShare' | 'shrink' | 'seed'
  >;
  /** Clusters of mixture and projected network, and of importance sampling. */
  readonly clusters: number;
  readonly importanceClusters?: number | undefined;
  /** Tokens of the domain that importance sampling looks at; default: the smallest of domainTokens. */
  readonly importanceTokens?: number | undefined;
  readonly expert?: ExpertChoice | undefined;
  /** Fine-tuning: passes over the in-domain text at most, tokens a step, tokens in all at most. */
  readonly epochs: number;
  readonly finetuneBatchTokens: number;
  readonly finetuneTokens: number;
  /** Test tokens a domain at most. */
  readonly testTokens?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ComparedCell {
  readonly domain: string;
  readonly cluster: number | null;
  readonly entropy: number;
  readonly coverage: number | null;
  readonly perplexityBefore: number;
  readonly perplexityAfter: number;
  readonly bitsPerByteBefore: number;
  readonly bitsPerByteAfter: number;
  readonly finetuneSteps: number;
  readonly bestStep: number;
  readonly specializationFlops: number;
  readonly specializationSeconds: number;
}

export interface ComparedRow {
  readonly method: ComparedMethod;
  readonly domainTokens: number;
  readonly pretrainParameters: number;
  readonly inferenceParameters: number;
  /** Pretraining tokens; importance sampling pretrains once a domain, and this is one of them. */
  readonly tokens: number;
  /** Pretraining FLOPs, all domains together. */
  readonly flops: number;
  /** Pretraining and specialization seconds, all domains together. */
  readonly seconds: number;
  readonly facts: Readonly<Record<string, number>>;
  readonly domains: readonly ComparedCell[];
  readonly macro: { readonly perplexityBefore: number; readonly perplexityAfter: number };
}

/** Runs what is missing and returns the whole table. */
export async function compare(options: CompareOptions): Promise<ComparedRow[]> {
  const { backend, out } = options;
  mkdirSync(path.join(out, 'cells'), { recursive: true });
  const runs = new Map<string, FinishedRun>();
  /** The run a method uses for a domain: its own for importance sampling, a common one otherwise. */
  const runOf = async (method: Method, domain: ComparedDomain): Promise<FinishedRun> => {
    const name = method === 'importance' ? `importance-${domain.name}` : method;
    let run = runs.get(name);
    if (run !== undefined) return run;
    const folder = path.join(out, 'runs', name);
    if (!existsSync(path.join(folder, 'result.json'))) {
      await pretrain({
        backend,
        method,
        corpus: options.corpus,
        out: folder,
        clusters: method === 'importance' ? (options.importanceClusters ?? options.clusters) : options.clusters,
        ...(method === 'importance'
          ? { domain: domain.train, domainTokens: options.importanceTokens ?? Math.min(...options.domainTokens) }
          : {}),
        ...options.pretrain,
        onProgress: named(options.onProgress, name),
        signal: options.signal,
      });
    }
    run = openRun(folder);
    runs.set(name, run);
    return run;
  };

  const rows: ComparedRow[] = [];
  for (const method of options.methods) {
    for (const domainTokens of options.domainTokens) {
      const cells: (ComparedCell & { before: Evaluation; after: Evaluation })[] = [];
      const used = new Set<FinishedRun>();
      for (const domain of options.domains) {
        const run = await runOf(method === 'domain-only' ? 'slm' : method, domain);
        if (method !== 'domain-only') used.add(run);
        const file = path.join(out, 'cells', `${method}-${domain.name}-${domainTokens}.json`);
        if (!existsSync(file)) {
          const cell = await compareCell(options, run, method, domain, domainTokens);
          writeFileAtomic(file, `${JSON.stringify(cell, null, 2)}\n`);
        }
        cells.push(JSON.parse(readFileSync(file, 'utf8')));
      }
      const results = [...used].map((run) => run.result);
      const { model } = (await runOf(method === 'domain-only' ? 'slm' : method, options.domains[0]!)).config;
      rows.push({
        method,
        domainTokens,
        pretrainParameters: results[0]?.pretrainParameters ?? 0,
        inferenceParameters: denseParameterCount(model),
        tokens: results[0]?.tokens ?? 0,
        flops: results.reduce((sum, result) => sum + result.flops, 0),
        seconds:
          results.reduce((sum, result) => sum + result.seconds, 0) +
          cells.reduce((sum, cell) => sum + cell.specializationSeconds, 0),
        facts: Object.assign({}, ...results.map((result) => result.facts)),
        domains: cells.map(({ before: _before, after: _after, ...cell }) => cell),
        macro: {
          perplexityBefore: macroAverage(cells.map((cell) => cell.before)).perplexity,
          perplexityAfter: macroAverage(cells.map((cell) => cell.after)).perplexity,
        },
      });
    }
  }
  return rows;
}

const named = (onProgress: OnProgress | undefined, name: string): OnProgress | undefined =>
  onProgress === undefined
    ? undefined
    : (progress) => onProgress({ ...progress, stage: progress.stage === 'main' ? name : `${name} ${progress.stage}` });

async function compareCell(
  options: CompareOptions,
  run: FinishedRun,
  method: ComparedMethod,
  domain: ComparedDomain,
  domainTokens: number,
) {
  const { backend } = options;
  const { model, schedule, adamw, muon, balance, seed } = run.config;
  const begin = performance.now();
  const text = await domainCorpus(domain.train, run.tokenizer, { maxTokens: domainTokens });
  const test = await domainCorpus(domain.test, run.tokenizer, { maxTokens: options.testTokens });
  const { train, heldout } = splitHeldout(text, 0.1, model.contextLength);
  const chosen: Chosen =
    method === 'domain-only'
      ? await untrained(backend, run, seed)
      : await chooseExpert(backend, run, train, options.expert ?? 'histogram');
  const batch = Math.max(1, Math.round(options.finetuneBatchTokens / model.contextLength));
  const stepTokens = batch * model.contextLength;
  const perEpoch = Math.max(1, Math.ceil(train.tokens / stepTokens));
  const steps = Math.max(
    1,
    Math.min(Math.ceil(options.epochs * perEpoch), Math.ceil(options.finetuneTokens / stepTokens)),
  );
  const { peak } = schedule;
  const result = await finetune(
    backend,
    model,
    chosen.values,
    train,
    heldout,
    {
      steps,
      learningRate: method === 'domain-only' ? peak : peak / 3,
      batch,
      evaluateEvery: Math.max(5, Math.ceil(steps / 12)),
      patience: 6,
      adamw,
      muon,
      balance,
      seed,
    },
    { onProgress: named(options.onProgress, `${method} ${domain.name}`), signal: options.signal },
  );
  const before = await evaluateValues(backend, run, chosen.values, test);
  const after = await evaluateValues(backend, run, result.values, test);
  return {
    domain: domain.name,
    cluster: chosen.cluster,
    entropy: chosen.entropy,
    coverage: chosen.coverage,
    perplexityBefore: before.perplexity,
    perplexityAfter: after.perplexity,
    bitsPerByteBefore: before.bitsPerByte,
    bitsPerByteAfter: after.bitsPerByte,
    finetuneSteps: result.steps,
    bestStep: result.bestStep,
    specializationFlops: trainingFlops(model, result.tokens),
    specializationSeconds: (performance.now() - begin) / 1000,
    before,
    after,
  };
}
