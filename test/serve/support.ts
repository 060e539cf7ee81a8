// Models, folders and processes that the tests of serving share.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { type Backend, type BackendOptions, openBackend, SweetspotError } from '../../ts/backend/index.js';
import { saveDenseFolder } from '../../ts/io/huggingface.js';
import type { TransformerSizes } from '../../ts/models/config.js';
import { randomValues, smallConfig, smallTokenizer } from '../support/models.js';

/** Every backend that can be opened here; all must serve alike. */
export const BACKENDS: readonly NonNullable<BackendOptions['backend']>[] = ['cpu', 'wasm'].flatMap((name) => {
  const backend = name as NonNullable<BackendOptions['backend']>;
  try {
    openBackend({ backend, threads: 1 }).close();
    return [backend];
  } catch (error) {
    if (error instanceof SweetspotError && error.code === 'SWEETSPOT_BACKEND_UNAVAILABLE') return [];
    throw error;
  }
});

/** A model folder of random weights, which writes no end-of-text marker soon, for as long as the test runs. */
export async function modelFolder(
  t: Pick<ExecutionContext, 'teardown'>,
  given: TransformerSizes = {},
): Promise<string> {
  const tokenizer = await smallTokenizer();
  const root = mkdtempSync(join(tmpdir(), 'sweetspot-serve-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const config = smallConfig(tokenizer.vocabSize, { contextLength: 64, tieEmbeddings: false, ...given });
  const values = randomValues(config, 'serve');
  // The marker is id 0: its row of the output matrix points away from what every token has in common.
  values.get('output')!.fill(0, 0, config.hiddenSize);
  await saveDenseFolder(join(root, 'model'), config, values, tokenizer);
  return join(root, 'model');
}

/** The backend's memory once all that was submitted is done. */
export async function settled(backend: Backend): Promise<number> {
  await backend.fence();
  return backend.allocated();
}

/** The first value of `make` that is truthy, asked for every few milliseconds. */
export async function eventually<T>(make: () => T | Promise<T>, seconds = 10): Promise<T> {
  for (const end = performance.now() + 1000 * seconds; performance.now() < end; ) {
    const value = await make();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`nothing within ${seconds} s`);
}

/** What a promise rejects with; unlike ava's, also a DOMException, which is what an AbortSignal gives by itself. */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('it did not fail');
}
