// The run folder: what one pretraining was asked to do and how far it got.
//   config.json            everything that determines the result; a second call must ask for the same
//   tokenizer.json         the tokenizer of the corpus
//   clustering.*           what is needed to place new text in clusters (methods that use clusters)
//   checkpoints/           where interrupted stages go on
//   weights/<stage>.safetensors   finished stages, with loss and seconds in <stage>.json
//   metrics.jsonl          one line a step
//   result.json            written last: the run is finished
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { ioError, SweetspotError } from '../backend/errors.js';
import type { MixtureOptions, Packing } from '../data/sampler.js';
import { Tokenizer } from '../data/tokenizer.js';
import { writeFileAtomic } from '../io/atomic.js';
import { FolderLock } from '../io/lock.js';
import type { BankConfig, TransformerConfig } from '../models/config.js';
import type { AdamWSettings } from '../optim/adamw.js';
import type { MuonSettings } from '../optim/muon.js';
import type { Schedule } from '../optim/schedule.js';
import type { BalanceSettings } from '../train/balance.js';
import type { Precision } from '../train/precision.js';

/** A way of pretraining; the README says what each is. */
export type Method = 'slm' | 'importance' | 'mixture' | 'projected' | 'soup' | 'hypernetwork' | 'routed';
/** Every method, in the order of the README. */
export const METHODS: readonly Method[] = [
  'slm',
  'importance',
  'mixture',
  'projected',
  'soup',
  'hypernetwork',
  'routed',
];

export interface RunConfig {
  readonly format: 'sweetspot-run';
  readonly version: 1;
  readonly method: Method;
  readonly tokenizerHash: string;
  readonly model: TransformerConfig;
  readonly bank: BankConfig | null;
  /** Clusters of the corpus used, 0 for none. */
  readonly clusters: number;
  /** Pretraining tokens, all stages together. */
  readonly tokens: number;
  readonly batch: number;
  /** How windows make rows of a batch. */
  readonly packing: Packing;
  readonly adamw: AdamWSettings;
  /** For hidden matrices; null: AdamW for all. */
  readonly muon: MuonSettings | null;
  readonly schedule: Schedule;
  /** Of routed experts; null without them. */
  readonly balance: BalanceSettings | null;
  /** Projections into the residual stream start at zero. */
  readonly zeroOutputs: boolean;
  /** Of the matrix products of training. */
  readonly precision: Precision;
  readonly seed: number;
  /** Mixture and banks: share of the tokens that train the plain model before the experts part or the bank grows. */
  readonly trunkShare: number;
  /** Soup: the law of the histograms that batches are drawn from. */
  readonly mixtures: MixtureOptions | null;
  /** SLM: probability of a row of the domain's text. */
  readonly domainShare: number;
  /** Hash of that text; null without. */
  readonly domain: string | null;
  /** Importance: the histogram of the domain over clusters, as sampled. */
  readonly histogram: readonly number[] | null;
}

/** What a run has bought and cost; result.json. */
export interface RunResult {
  /** How it was trained. */
  readonly method: Method;
  /** Values that were trained. */
  readonly pretrainParameters: number;
  /** Values of the model that is served. */
  readonly inferenceParameters: number;
  /** Tokens trained on, all stages. */
  readonly tokens: number;
  /** Of pretraining, by the formulas of ts/models/cost.ts. */
  readonly flops: number;
  /** Seconds of training on this machine, all stages and calls. */
  readonly seconds: number;
  /** Mean training loss at the end, nats a token. */
  readonly loss: number;
  /** Method-specific facts, e.g. coefficient spread or effective repeats. */
  readonly facts: Readonly<Record<string, number>>;
}

export const readJson = (file: string): unknown => {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw ioError(`cannot read ${file}`, cause);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SweetspotError('SWEETSPOT_CORRUPT', {
      what: `${file} is not JSON`,
      fix: 'restore the folder or start a new run',
      cause,
    });
  }
};

export class RunFolder implements Disposable {
  readonly #lock: FolderLock;

  private constructor(
    readonly path: string,
    readonly config: RunConfig,
    lock: FolderLock,
  ) {
    this.#lock = lock;
  }

  /**
   * Makes the folder, or takes up one that was interrupted. Throws SWEETSPOT_LOCKED when another process works on it,
   * SWEETSPOT_EXISTS when it is finished or is not a run, SWEETSPOT_MISMATCH when it was started with other settings.
   */
  static take(folder: string, config: RunConfig): RunFolder {
    const file = path.join(folder, 'config.json');
    if (existsSync(folder)) {
      if (!statSync(folder).isDirectory()) {
        throw new SweetspotError('SWEETSPOT_EXISTS', {
          what: `${folder} is a file`,
          fix: 'choose another output folder',
        });
      }
      if (!existsSync(file) && readdirSync(folder).some((name) => name !== 'run.lock')) {
        throw new SweetspotError('SWEETSPOT_EXISTS', {
          what: `${folder} exists and is not a run`,
          fix: 'choose another output folder',
        });
      }
    } else {
      try {
        mkdirSync(folder, { recursive: true });
      } catch (cause) {
        throw ioError(`cannot make ${folder}`, cause);
      }
    }
    const lock = FolderLock.acquire(folder);
    try {
      if (existsSync(file)) {
        if (existsSync(path.join(folder, 'result.json'))) {
          throw new SweetspotError('SWEETSPOT_EXISTS', {
            what: `the run ${folder} is finished`,
            fix: 'choose another output folder, or go on with `sweetspot specialize`',
          });
        }
        requireSame(folder, withDefaults(readJson(file)), withDefaults(config));
      } else {
        writeFileAtomic(file, `${JSON.stringify(config, null, 2)}\n`);
      }
      for (const name of ['checkpoints', 'weights']) mkdirSync(path.join(folder, name), { recursive: true });
      return new RunFolder(folder, config, lock);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  weights(stage: string): string {
    return path.join(this.path, 'weights', `${stage}.safetensors`);
  }

  /** Loss and seconds of a finished stage. */
  summary(stage: string): string {
    return path.join(this.path, 'weights', `${stage}.json`);
  }

  finished(stage: string): boolean {
    return existsSync(this.weights(stage));
  }

  complete(result: RunResult): void {
    writeFileAtomic(path.join(this.path, 'result.json'), `${JSON.stringify(result, null, 2)}\n`);
  }

  [Symbol.dispose](): void {
    this.#lock.release();
  }
}

/**
 * What folders from before there was a choice mean: fp32, AdamW, expert vectors by cluster, dense slices in f32, dense layers, logits
 * as they are, windows packed as they come.
 */
export function withDefaults(config: unknown): unknown {
  const given = config as { readonly bank?: object | null; readonly model?: object };
  const bank = given.bank
    ? { conditioning: 'cluster', conditionSize: 0, mlpWidth: 0, sliceType: 'f32', sliceRank: 0, ...given.bank }
    : given.bank;
  const model = given.model && { moe: null, logitCap: 0, ...given.model };
  return {
    precision: 'fp32',
    packing: 'stream',
    muon: null,
    zeroOutputs: false,
    mixtures: null,
    domainShare: 0,
    domain: null,
    balance: null,
    ...given,
    bank,
    model,
  };
}

/** What a run in `folder` was started in, so that the same command goes on with it on any machine; undefined without one. */
export function startedPrecision(folder: string): Precision | undefined {
  const file = path.join(folder, 'config.json');
  return existsSync(file) ? (withDefaults(readJson(file)) as RunConfig).precision : undefined;
}

/** Throws SWEETSPOT_MISMATCH naming the first field in which the two differ. */
export function requireSame(folder: string, there: unknown, asked: unknown): void {
  const fields = (value: unknown, prefix: string): Map<string, string> => {
    const out = new Map<string, string>();
    const visit = (v: unknown, name: string) => {
      if (v !== null && typeof v === 'object' && !Array.isArray(v)) {
        for (const [k, child] of Object.entries(v)) visit(child, name === '' ? k : `${name}.${k}`);
      } else out.set(name, JSON.stringify(v));
    };
    visit(value, prefix);
    return out;
  };
  const [old, now] = [fields(there, ''), fields(asked, '')];
  for (const name of new Set([...old.keys(), ...now.keys()])) {
    if (old.get(name) !== now.get(name)) {
      throw new SweetspotError('SWEETSPOT_MISMATCH', {
        what: `${folder} was started with another ${name}`,
        expected: short(old.get(name)),
        found: short(now.get(name)),
        fix: 'repeat the settings it was started with, or choose another output folder',
      });
    }
  }
}

const short = (text: string | undefined) =>
  text === undefined ? 'nothing' : text.length > 80 ? `${text.slice(0, 77)}...` : text;

export interface FinishedRun {
  readonly path: string;
  readonly config: RunConfig;
  readonly result: RunResult;
  readonly tokenizer: Tokenizer;
}

/** Reads a finished run. Throws SWEETSPOT_INPUT when it is none, SWEETSPOT_MISMATCH when its tokenizer is another one. */
export function openRun(folder: string): FinishedRun {
  if (!existsSync(path.join(folder, 'config.json'))) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `${folder} is not a run folder`,
      expected: 'a folder written by `sweetspot pretrain`',
    });
  }
  const config = withDefaults(readJson(path.join(folder, 'config.json'))) as RunConfig;
  if (config.format !== 'sweetspot-run' || config.version !== 1) {
    throw new SweetspotError('SWEETSPOT_CORRUPT', {
      what: `${folder}/config.json is not a sweetspot run of version 1`,
    });
  }
  if (!existsSync(path.join(folder, 'result.json'))) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: `the run ${folder} is not finished`,
      fix: 'run the `sweetspot pretrain` that started it again; it goes on where it stopped',
    });
  }
  const tokenizer = Tokenizer.load(path.join(folder, 'tokenizer.json'));
  if (tokenizer.hash !== config.tokenizerHash) {
    throw new SweetspotError('SWEETSPOT_MISMATCH', {
      what: `the tokenizer in ${folder} is not the one it was trained with`,
      expected: config.tokenizerHash,
      found: tokenizer.hash,
    });
  }
  return { path: folder, config, result: readJson(path.join(folder, 'result.json')) as RunResult, tokenizer };
}
