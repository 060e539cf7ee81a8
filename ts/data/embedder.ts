// What turns text into vectors for clustering. The library's own is LSI (`lsi.ts`); sentence embeddings of any other kind
// (a model run elsewhere, an HTTP service) come in through `externalEmbedder`, and everything that clusters takes either.
// To add a kind that can be saved: implement `Embedder`, write `embedder.json` with its `kind`, and load it below.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Backend } from '../backend/backend.js';
import { ioError, SweetspotError } from '../backend/errors.js';
import { LsiEmbedder, normalizeRows } from './lsi.js';

/** Texts to vectors, for clustering. */
export interface Embedder {
  /** 'lsi', or 'external' for one of the caller's own. */
  readonly kind: string;
  /** D: length of an embedding. */
  readonly dimensions: number;
  /** Equal hashes mean equal embeddings: clusters remember the hash of the embedder they were made with. */
  readonly hash: string;
  /** (texts, dimensions), rows of unit length; a text that says nothing to the embedder is the zero vector. */
  embed(texts: readonly string[]): Promise<Float32Array>;
  /** Writes the embedder into a folder that exists. @throws SweetspotError SWEETSPOT_USAGE when it cannot be saved */
  save(folder: string): void;
}

export interface ExternalEmbedderOptions {
  /** Names the model and its version; the hash is made from it, so another model needs another name. */
  readonly name: string;
  readonly dimensions: number;
  /** (texts, dimensions) row by row, of any length: rows are brought to unit length here. */
  readonly embed: (texts: readonly string[]) => Promise<Float32Array>;
}

/**
 * Makes an `Embedder` of a function. It cannot be saved: pass it again wherever a saved clustering is loaded.
 * `embed` of the result throws SWEETSPOT_INPUT when the function returns the wrong number of values or one not finite.
 * @throws SweetspotError SWEETSPOT_USAGE when `dimensions` is not a whole number above 0
 */
export function externalEmbedder({ name, dimensions, embed }: ExternalEmbedderOptions): Embedder {
  if (!Number.isInteger(dimensions) || dimensions < 1) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `the dimensions of the embedder '${name}'`,
      expected: 'a whole number above 0',
      found: String(dimensions),
    });
  }
  return {
    kind: 'external',
    dimensions,
    hash: createHash('sha256')
      .update(JSON.stringify(['external', name, dimensions]))
      .digest('hex'),
    async embed(texts) {
      const vectors = await embed(texts);
      const wrong = vectors.findIndex((value) => !Number.isFinite(value));
      if (vectors.length !== texts.length * dimensions || wrong >= 0) {
        throw new SweetspotError('SWEETSPOT_INPUT', {
          what: `the embedder '${name}' returned something else than embeddings`,
          expected: `${texts.length} x ${dimensions} finite values`,
          found: wrong >= 0 ? `${vectors[wrong]} at ${wrong}` : `${vectors.length} values`,
        });
      }
      return normalizeRows(Float32Array.from(vectors), dimensions);
    },
    save() {
      throw new SweetspotError('SWEETSPOT_USAGE', {
        what: `the embedder '${name}' is the caller's own and cannot be saved`,
        fix: 'pass it again where the clustering is loaded',
      });
    },
  };
}

/**
 * Loads the embedder that `save` wrote into `folder`.
 * @throws SweetspotError SWEETSPOT_INPUT when there is none; SWEETSPOT_CORRUPT when it is damaged; SWEETSPOT_IO
 */
export function loadEmbedder(folder: string, backend: Backend): Embedder {
  const path = join(folder, 'embedder.json');
  const { kind } = readHead(path);
  if (kind === 'lsi') return LsiEmbedder.load(folder, backend);
  throw new SweetspotError('SWEETSPOT_CORRUPT', {
    what: `${path} holds an embedder of an unknown kind`,
    expected: 'lsi',
    found: String(kind),
    fix: 'was it written by a newer version?',
  });
}

/** Hash of the embedder saved in `folder`, without loading it; undefined when there is none. Throws as `loadEmbedder`. */
export function savedEmbedderHash(folder: string): string | undefined {
  try {
    return String(readHead(join(folder, 'embedder.json')).hash);
  } catch (error) {
    if ((error as SweetspotError).code === 'SWEETSPOT_INPUT') return undefined;
    throw error;
  }
}

function readHead(path: string): { kind?: unknown; hash?: unknown } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw ioError(`cannot read the embedder ${path}`, cause);
  }
  try {
    // Destructuring refuses null, which is JSON too.
    const { kind, hash } = JSON.parse(text);
    return { kind, hash };
  } catch (cause) {
    throw new SweetspotError('SWEETSPOT_CORRUPT', {
      what: `${path} is not JSON`,
      fix: 'get or make the file again',
      cause,
    });
  }
}
