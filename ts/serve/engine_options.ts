// What createEngine() takes, checked before anything is opened or allocated.
import { type Backend, type BackendOptions, SweetspotError } from '../backend/index.js';
import { DenseModel } from '../models/dense.js';

/** What an engine serves, on what, and how much of it at once. */
export interface EngineOptions {
  /** A model folder, or a model that is loaded already; that one is borrowed and stays when the engine closes. */
  readonly model: string | DenseModel;
  /**
   * Options to open a backend with, which then belongs to the engine, or an open one, which is borrowed. Default: the best
   * there is; of a loaded model, the one it lies on.
   */
  readonly backend?: Backend | BackendOptions | undefined;
  /** Texts decoded at once, 1 to 256; each has its own memory for keys and values. Default 4. */
  readonly sequences?: number | undefined;
  /** Requests that may wait for their turn; more are refused with SWEETSPOT_BUSY. Default 64. */
  readonly queue?: number | undefined;
  /** Ends the loading. */
  readonly signal?: AbortSignal | undefined;
}

export interface CheckedEngine {
  readonly model: string | DenseModel;
  /** Of the caller. */
  readonly borrowed: Backend | undefined;
  /** For one to open. */
  readonly backend: BackendOptions;
  readonly sequences: number;
  readonly queue: number;
  readonly signal: AbortSignal | undefined;
}

/** Throws SWEETSPOT_USAGE for an option that is unknown, missing, of the wrong type or out of range. */
export function checkedEngine(options: EngineOptions): CheckedEngine {
  known('createEngine', options, ['model', 'backend', 'sequences', 'queue', 'signal']);
  const { model, backend = {}, sequences = 4, queue = 64, signal } = options;
  if (!(model instanceof DenseModel) && (typeof model !== 'string' || model === ''))
    throw usage('model', 'the path of a model folder, or a DenseModel', String(model));
  if (backend === null || typeof backend !== 'object')
    throw usage('backend', 'a Backend, or options of openBackend', String(backend));
  const given = isBackend(backend) ? backend : undefined;
  if (given === undefined) known('createEngine: backend', backend, ['backend', 'isa', 'threads', 'matmul']);
  const lies = model instanceof DenseModel ? model.backend : undefined;
  if (lies !== undefined && options.backend !== undefined && given !== lies)
    throw usage('backend', 'the one that the model lies on, or none', 'another one');
  if (!Number.isInteger(sequences) || sequences < 1 || sequences > 256)
    throw usage('sequences', 'a whole number from 1 to 256', String(sequences));
  if (!Number.isInteger(queue) || queue < 0) throw usage('queue', 'a whole number from 0 up', String(queue));
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw usage('signal', 'an AbortSignal', typeof signal);
  return {
    model,
    borrowed: lies ?? given,
    backend: given === undefined ? (backend as BackendOptions) : {},
    sequences,
    queue,
    signal,
  };
}

/** Throws SWEETSPOT_USAGE when `options` is no object or has a key that is not one of `names`: a slip of the pen, most likely. */
export function known(what: string, options: object, names: readonly string[]): void {
  if (options === null || typeof options !== 'object')
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `${what}: options`,
      expected: 'an object',
      found: String(options),
    });
  const other = Object.keys(options).find((key) => !names.includes(key));
  if (other === undefined) return;
  throw new SweetspotError('SWEETSPOT_USAGE', {
    what: `${what}: there is no option '${other}'`,
    expected: names.join(', '),
  });
}

function isBackend(value: object): value is Backend {
  return typeof (value as Partial<Backend>).alloc === 'function';
}

function usage(what: string, expected: string, found: string): SweetspotError {
  return new SweetspotError('SWEETSPOT_USAGE', { what: `createEngine: ${what}`, expected, found });
}
