// Latent semantic indexing: a text becomes its tf-idf weights times the leading right singular vectors of the tf-idf
// matrix of a corpus. In this file, in order: the embedder, fitting it, terms and their weights, the truncated SVD.
// Sparse times dense and dense products run on the backend; what is left here is small (dimensions squared).
// To change what counts as a term: `TERM` and its length bounds (files written before then mean something else: raise
// the version in `headSchema`). To change weights: `sparseRow`.
// Sources: Deerwester et al., "Indexing by latent semantic analysis", 1990; Halko, Martinsson and Tropp, "Finding structure
// with randomness", 2011 (subspace iteration, algorithm 4.4).

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Backend } from '../backend/backend.js';
import { ioError, SweetspotError } from '../backend/errors.js';
import { encodeRow, type Place } from '../backend/rows.js';
import { writeFileAtomic } from '../io/atomic.js';
import { readSafetensors, writeSafetensors } from '../io/safetensors.js';
import { hashSeed, Prng } from '../tensor/prng.js';
import * as z from '../vendor/zod.js';
import type { Embedder } from './embedder.js';
import { Workspace } from './kmeans.js';
import { Pace } from './readers.js';

/** A run of letters with their marks, after lower-casing. Scripts without spaces give runs too long to count. */
const TERM = /[\p{L}\p{M}]+/gu;
const SHORTEST = 2;
const LONGEST = 30;
/** Texts embedded by one Program. */
const BATCH = 2048;
/** Directions computed beyond those asked for, and passes over the matrix: both sharpen the last directions. */
const OVERSAMPLING = 10;
const ITERATIONS = 3;
/** A direction whose squared length outside the others is below this share is rounding. */
const DEPENDENT = 1e-5;
/** So is a singular vector whose squared singular value is below this share of the largest. */
const RANK = 1e-6;

const headSchema = z.object({
  format: z.literal('sweetspot-embedder'),
  version: z.literal(1),
  kind: z.literal('lsi'),
  dimensions: z.int().positive(),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  terms: z.array(z.string()).min(1),
});

export interface LsiParts {
  /** By id, each once. */
  readonly terms: readonly string[];
  /** (terms): log((1 + texts) / (1 + texts with the term)). */
  readonly idf: Float32Array;
  /** (terms, dimensions): right singular vectors as columns, zero past the rank of the matrix. */
  readonly projection: Float32Array;
  readonly dimensions: number;
}

export class LsiEmbedder implements Embedder {
  readonly kind = 'lsi';
  readonly dimensions: number;
  readonly hash: string;
  readonly terms: readonly string[];
  readonly #backend: Backend;
  readonly #idf: Float32Array;
  readonly #projection: Float32Array;
  readonly #counter: TermCounter;

  /** For `fitLsi` and `load`, which are what to call: the parts are trusted. */
  constructor(backend: Backend, parts: LsiParts) {
    this.#backend = backend;
    this.terms = parts.terms;
    this.dimensions = parts.dimensions;
    this.#idf = parts.idf;
    this.#projection = parts.projection;
    this.#counter = new TermCounter(new Map(parts.terms.map((term, id) => [term, id])), false);
    const hash = createHash('sha256').update(JSON.stringify(['lsi', 1, parts.dimensions, parts.terms]));
    for (const values of [parts.idf, parts.projection]) hash.update(bytesOf(values));
    this.hash = hash.digest('hex');
  }

  /** The tf-idf row of a text: ids of its known terms, once each, and weights of unit length together. */
  tfidf(text: string): SparseRow {
    const distinct = this.#counter.count(text);
    return sparseRow(this.#counter.ids.subarray(0, distinct), this.#counter.counts, this.#idf);
  }

  /** (texts, dimensions), rows of unit length, or zero for a text without known terms; no text depends on another. */
  async embed(texts: readonly string[]): Promise<Float32Array> {
    const d = this.dimensions;
    const out = new Float32Array(texts.length * d);
    const pace = new Pace();
    using work = new Workspace(this.#backend);
    const b = work.upload(this.#projection);
    for (let begin = 0; begin < texts.length; begin += BATCH) {
      const matrix = new CsrBuilder(this.terms.length);
      for (const text of texts.slice(begin, begin + BATCH)) {
        matrix.add(this.tfidf(text));
        await pace.breathe();
      }
      const { rows, nnz } = matrix;
      if (nnz === 0) continue;
      using batch = new Workspace(this.#backend);
      const y = batch.room(rows * d);
      const operands = { ...upload(batch, matrix.finish()), b, y };
      this.#backend.run(
        batch.program(encodeRow('csr_gemm', operands, { rows, cols: this.terms.length, nnz, n: d }, {})),
      );
      out.set(await batch.f32(y, rows * d), begin * d);
    }
    return normalizeRows(out, d);
  }

  /** Writes `embedder.safetensors` (projection, idf) and then `embedder.json` (terms, hash of it all). */
  save(folder: string): void {
    writeSafetensors(join(folder, 'embedder.safetensors'), {
      idf: { dtype: 'F32', shape: [this.terms.length], data: bytesOf(this.#idf) },
      projection: { dtype: 'F32', shape: [this.terms.length, this.dimensions], data: bytesOf(this.#projection) },
    });
    const head: z.output<typeof headSchema> = {
      format: 'sweetspot-embedder',
      version: 1,
      kind: 'lsi',
      dimensions: this.dimensions,
      hash: this.hash,
      terms: [...this.terms],
    };
    writeFileAtomic(join(folder, 'embedder.json'), `${JSON.stringify(head)}\n`);
  }

  /** @throws SweetspotError SWEETSPOT_INPUT when there is none in `folder`; SWEETSPOT_CORRUPT when it is damaged */
  static load(folder: string, backend: Backend): LsiEmbedder {
    const path = join(folder, 'embedder.json');
    const head = readHead(path);
    const { tensors } = readSafetensors(join(folder, 'embedder.safetensors'));
    const take = (name: string, ...shape: number[]): Float32Array => {
      const tensor = tensors.get(name);
      if (tensor?.dtype !== 'F32' || JSON.stringify(tensor.shape) !== JSON.stringify(shape)) {
        throw corrupt(path, `${name} F32[${shape}] in embedder.safetensors`, `${tensor?.dtype}[${tensor?.shape}]`);
      }
      return new Float32Array(tensor.data.buffer);
    };
    const { terms, dimensions } = head;
    const idf = take('idf', terms.length);
    const projection = take('projection', terms.length, dimensions);
    const embedder = new LsiEmbedder(backend, { terms, idf, projection, dimensions });
    if (embedder.hash !== head.hash) throw corrupt(path, `hash ${head.hash}`, embedder.hash);
    return embedder;
  }
}

export interface LsiProgress {
  /** `count` counts texts read, `svd` counts passes over the matrix. */
  readonly stage: 'count' | 'svd';
  readonly done: number;
  /** Left out when it cannot be known beforehand. */
  readonly total?: number;
}

export interface LsiOptions {
  /** Default 64. Past the rank of the corpus the embeddings are zero. */
  readonly dimensions?: number | undefined;
  /** Most terms: those that the most texts hold. Default 20,000. */
  readonly terms?: number | undefined;
  /** Texts that must hold a term for it to count. Default 2. */
  readonly minTexts?: number | undefined;
  /** A term held by more than this share of the texts says nothing. Default 0.5. */
  readonly maxShare?: number | undefined;
  /** Fits on a sample of this many texts where there are more. Default 100,000. */
  readonly maxTexts?: number | undefined;
  /** Default 0. */
  readonly seed?: number | string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LsiProgress) => void) | undefined;
}

/**
 * Fits an embedder to texts: the windows of a corpus, or whole documents. Equal texts, options and kind of backend give
 * an equal embedder.
 *
 * @throws SweetspotError SWEETSPOT_USAGE for options out of range; SWEETSPOT_INPUT when no term is left, as with fewer
 *   than four texts; SWEETSPOT_ABORTED
 */
export async function fitLsi(
  backend: Backend,
  texts: Iterable<string> | AsyncIterable<string>,
  options: LsiOptions = {},
): Promise<LsiEmbedder> {
  const { dimensions = 64, terms: mostTerms = 20_000, minTexts = 2, maxShare = 0.5, maxTexts = 100_000 } = options;
  const { seed = 0, signal, onProgress } = options;
  for (const [name, value] of Object.entries({ dimensions, terms: mostTerms, minTexts, maxTexts })) {
    if (!Number.isInteger(value) || value < 1) throw usage(name, 'a whole number above 0', value);
  }
  if (!(maxShare > 0 && maxShare <= 1)) throw usage('maxShare', 'above 0 and at most 1', maxShare);

  const pace = new Pace(signal);
  const sample = await reservoir(texts, maxTexts, new Prng(hashSeed(seed, 'lsi texts')), pace);
  const counter = new TermCounter(new Map(), true);
  const counted: { ids: Int32Array; counts: Int32Array }[] = [];
  const held: number[] = [];
  for (const text of sample) {
    const distinct = counter.count(text);
    const ids = counter.ids.slice(0, distinct);
    counted.push({ ids, counts: counter.counts.slice(0, distinct) });
    for (let i = 0; i < distinct; i++) held[ids[i]!] = (held[ids[i]!] ?? 0) + 1;
    const turn = pace.breathe();
    if (turn === undefined) continue;
    onProgress?.({ stage: 'count', done: counted.length, total: sample.length });
    await turn;
  }

  const names = [...counter.idOf.keys()];
  const kept = [...names.keys()]
    .filter((id) => held[id]! >= minTexts && held[id]! <= maxShare * sample.length)
    .sort((a, b) => held[b]! - held[a]! || (names[a]! < names[b]! ? -1 : 1))
    .slice(0, mostTerms);
  if (kept.length === 0) {
    throw new SweetspotError('SWEETSPOT_INPUT', {
      what: 'the texts have no terms in common to tell them apart by',
      expected: `a word of ${SHORTEST} to ${LONGEST} letters in at least ${minTexts} and at most ${maxShare * 100}% of the texts`,
      found: `none among ${names.length} words of ${sample.length} texts`,
      fix: 'give more text, or use an embedder of your own',
    });
  }
  const idf = Float32Array.from(kept, (id) => Math.log((1 + sample.length) / (1 + held[id]!)));
  const newId = new Int32Array(names.length).fill(-1);
  for (const [id, old] of kept.entries()) newId[old] = id;

  const matrix = new CsrBuilder(kept.length);
  for (const { ids, counts } of counted) {
    let n = 0;
    for (let i = 0; i < ids.length; i++) {
      const id = newId[ids[i]!]!;
      if (id < 0) continue;
      ids[n] = id;
      counts[n++] = counts[i]!;
    }
    matrix.add(sparseRow(ids.subarray(0, n), counts, idf));
    await pace.breathe();
  }
  const { vectors } = await truncatedSvd(backend, matrix.finish(), {
    dimensions,
    seed: hashSeed(seed, 'lsi svd'),
    signal,
    onProgress: (done, total) => onProgress?.({ stage: 'svd', done, total }),
  });
  return new LsiEmbedder(backend, { terms: kept.map((id) => names[id]!), idf, projection: vectors, dimensions });
}

/** Each text with the same chance (Vitter's algorithm R), whatever their number; all of them when they are few. */
async function reservoir(
  texts: Iterable<string> | AsyncIterable<string>,
  most: number,
  prng: Prng,
  pace: Pace,
): Promise<string[]> {
  const sample: string[] = [];
  let seen = 0;
  for await (const text of texts) {
    seen++;
    if (sample.length < most) sample.push(text);
    else {
      const slot = prng.int(seen);
      if (slot < most) sample[slot] = text;
    }
    await pace.breathe();
  }
  return sample;
}

/** Counts the terms of one text at a time; `ids` and `counts` hold the last result. */
class TermCounter {
  ids = new Int32Array(256);
  counts = new Int32Array(256);
  /** Where each term stands in `ids`, valid when it stands there. */
  readonly #slot: number[] = [];

  constructor(
    readonly idOf: Map<string, number>,
    /** Whether a new term gets an id, or is passed over. */
    readonly learn: boolean,
  ) {}

  /** Returns the number of distinct terms, in the order of their first appearance. */
  count(text: string): number {
    let distinct = 0;
    for (const [term] of text.toLowerCase().matchAll(TERM)) {
      if (term.length < SHORTEST || term.length > LONGEST) continue;
      let id = this.idOf.get(term);
      if (id === undefined) {
        if (!this.learn) continue;
        id = this.idOf.size;
        this.idOf.set(term, id);
      }
      const slot = this.#slot[id] ?? 0;
      if (slot < distinct && this.ids[slot] === id) {
        this.counts[slot]!++;
        continue;
      }
      if (distinct === this.ids.length) {
        this.ids = grown(this.ids, distinct + 1);
        this.counts = grown(this.counts, distinct + 1);
      }
      this.#slot[id] = distinct;
      this.ids[distinct] = id;
      this.counts[distinct++] = 1;
    }
    return distinct;
  }
}

export interface SparseRow {
  readonly ids: Int32Array;
  readonly weights: Float64Array;
}

/** (1 + log tf) idf, brought to unit length. */
function sparseRow(ids: Int32Array, counts: Int32Array, idf: Float32Array): SparseRow {
  const weights = new Float64Array(ids.length);
  let squares = 0;
  for (let i = 0; i < ids.length; i++) {
    const weight = (1 + Math.log(counts[i]!)) * idf[ids[i]!]!;
    weights[i] = weight;
    squares += weight * weight;
  }
  const scale = squares > 0 ? 1 / Math.sqrt(squares) : 0;
  for (let i = 0; i < ids.length; i++) weights[i]! *= scale;
  return { ids, weights };
}

/** A sparse matrix (rows, cols) in compressed rows. */
export interface CsrMatrix {
  readonly rows: number;
  readonly cols: number;
  /** (rows + 1) */
  readonly indptr: Int32Array;
  /** (nnz) */
  readonly indices: Int32Array;
  /** (nnz) */
  readonly values: Float32Array;
}

class CsrBuilder {
  rows = 0;
  nnz = 0;
  #indptr = new Int32Array(1024);
  #indices = new Int32Array(4096);
  #values = new Float32Array(4096);

  constructor(readonly cols: number) {}

  add({ ids, weights }: SparseRow): void {
    const end = this.nnz + ids.length;
    this.#indptr = grown(this.#indptr, this.rows + 2);
    this.#indices = grown(this.#indices, end);
    this.#values = grown(this.#values, end);
    this.#indices.set(ids, this.nnz);
    this.#values.set(weights, this.nnz);
    this.nnz = end;
    this.#indptr[++this.rows] = end;
  }

  /** Views of what was added; the builder is spent. */
  finish(): CsrMatrix {
    return {
      rows: this.rows,
      cols: this.cols,
      indptr: this.#indptr.subarray(0, this.rows + 1),
      indices: this.#indices.subarray(0, this.nnz),
      values: this.#values.subarray(0, this.nnz),
    };
  }
}

function grown<A extends Int32Array | Float32Array>(array: A, length: number): A {
  if (length <= array.length) return array;
  const larger = new (array.constructor as new (length: number) => A)(Math.max(length, 2 * array.length));
  larger.set(array);
  return larger;
}

async function transpose({ rows, cols, indptr, indices, values }: CsrMatrix, pace: Pace): Promise<CsrMatrix> {
  const result = {
    rows: cols,
    cols: rows,
    indptr: new Int32Array(cols + 1),
    indices: new Int32Array(indices.length),
    values: new Float32Array(indices.length),
  };
  for (let i = 0; i < indices.length; i++) result.indptr[indices[i]! + 1]!++;
  for (let j = 0; j < cols; j++) result.indptr[j + 1]! += result.indptr[j]!;
  const next = result.indptr.slice();
  for (let row = 0; row < rows; row++) {
    for (let i = indptr[row]!; i < indptr[row + 1]!; i++) {
      const at = next[indices[i]!]!++;
      result.indices[at] = row;
      result.values[at] = values[i]!;
    }
    if (row % 64 === 0) await pace.breathe();
  }
  return result;
}

function upload(work: Workspace, { indptr, indices, values }: CsrMatrix) {
  return { indptr: work.upload(indptr), indices: work.upload(indices), values: work.upload(values) };
}

export interface SvdOptions {
  /** k. */
  readonly dimensions: number;
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Leading right singular vectors of a sparse matrix A (n, m) as the columns of `vectors` (m, k), by falling singular value,
 * each with its largest entry positive; columns past the rank are zero. `singularValues` (k).
 *
 * Subspace iteration on A'A from a random start, then the exact singular vectors within the subspace (Rayleigh-Ritz).
 * @throws SweetspotError SWEETSPOT_ABORTED
 */
export async function truncatedSvd(
  backend: Backend,
  a: CsrMatrix,
  { dimensions: k, seed, signal, onProgress }: SvdOptions,
): Promise<{ vectors: Float32Array; singularValues: Float64Array }> {
  const { rows: n, cols: m } = a;
  const l = Math.min(k + OVERSAMPLING, n, m);
  const pace = new Pace(signal);
  using work = new Workspace(backend);
  const forward = upload(work, a);
  const backward = upload(work, await transpose(a, pace));
  const [z, p, spare] = [work.room(n * l), work.room(m * l), work.room(m * l)];
  const [gram, factor] = [work.room(l * l), work.room(l * l)];

  const sparse = { rows: n, cols: m, nnz: a.indices.length, n: l };
  const applyA = work.program(encodeRow('csr_gemm', { ...forward, b: p, y: z }, sparse, {}));
  const applyAt = work.program(encodeRow('csr_gemm', { ...backward, b: z, y: p }, { ...sparse, rows: m, cols: n }, {}));
  const gramOf = (x: Place, rows: number) => work.program(gemmRow(x, x, gram, { m: l, n: l, k: rows, transA: 1 }));
  const times = (x: Place, y: Place) => work.program(gemmRow(x, factor, y, { m, n: l, k: l, transA: 0 }));
  // Twice, because rounding in the first pass leaves columns only nearly orthogonal when they were nearly dependent.
  const passes = [
    { gram: gramOf(p, m), product: times(p, spare) },
    { gram: gramOf(spare, m), product: times(spare, p) },
  ];
  const orthonormalize = async () => {
    for (const pass of passes) {
      backend.run(pass.gram);
      work.write(factor, orthonormalizer(await work.f32(gram, l * l), l));
      backend.run(pass.product);
      await pace.breathe();
    }
  };

  work.write(z, await randomSigns(n * l, seed, pace));
  for (let pass = 0; pass <= ITERATIONS; pass++) {
    if (pass > 0) backend.run(applyA);
    backend.run(applyAt);
    await orthonormalize();
    onProgress?.(pass + 1, ITERATIONS + 2);
  }
  backend.run(applyA);
  backend.run(gramOf(z, n));
  const { values, vectors: rotation } = await symmetricEigen(Float64Array.from(await work.f32(gram, l * l)), l, pace);
  work.write(factor, Float32Array.from(rotation));
  backend.run(passes[0]!.product);
  const rotated = await work.f32(spare, m * l);
  onProgress?.(ITERATIONS + 2, ITERATIONS + 2);

  const vectors = new Float32Array(m * k);
  const singularValues = new Float64Array(k);
  for (let j = 0; j < Math.min(k, l); j++) {
    if (values[j]! <= RANK * values[0]!) break;
    singularValues[j] = Math.sqrt(values[j]!);
    let largest = 0;
    for (let i = 0; i < m; i++) if (Math.abs(rotated[i * l + j]!) > Math.abs(largest)) largest = rotated[i * l + j]!;
    for (let i = 0; i < m; i++) vectors[i * k + j] = Math.sign(largest) * rotated[i * l + j]!;
  }
  return { vectors, singularValues };
}

function gemmRow(
  a: Place,
  b: Place,
  c: Place,
  { m, n, k, transA }: { m: number; n: number; k: number; transA: 0 | 1 },
): Uint32Array {
  const strides = { strideA: 0, strideB: 0, strideC: 0 };
  const dims = { batch: 1, m, n, k, transA, transB: 0, lda: transA ? m : k, ldb: n, ldc: n, ...strides, precision: 0 };
  return encodeRow('gemm', { a, b, c }, dims, { alpha: 1 });
}

/** `length` times 1 or -1: as good a start as normal numbers, and far cheaper. */
async function randomSigns(length: number, seed: number, pace: Pace): Promise<Float32Array> {
  const prng = new Prng(seed);
  const signs = new Float32Array(length);
  for (let i = 0; i < length; i += 32) {
    let bits = prng.bits();
    for (let j = i; j < Math.min(i + 32, length); j++, bits >>>= 1) signs[j] = bits & 1 ? 1 : -1;
    if (i % 4096 === 0) await pace.breathe();
  }
  return signs;
}

/**
 * W (l, l), upper triangular, such that the columns of X W are orthonormal when `gram` is X'X (Cholesky, then its inverse).
 * A column of X that depends on those before it becomes zero.
 */
function orthonormalizer(gram: Float32Array, l: number): Float32Array {
  const lower = new Float64Array(l * l);
  const inverse = new Float64Array(l * l);
  for (let j = 0; j < l; j++) {
    for (let i = 0; i < j; i++) {
      let dot = gram[j * l + i]!;
      for (let q = 0; q < i; q++) dot -= lower[j * l + q]! * lower[i * l + q]!;
      lower[j * l + i] = lower[i * l + i] === 0 ? 0 : dot / lower[i * l + i]!;
    }
    let pivot = gram[j * l + j]!;
    for (let q = 0; q < j; q++) pivot -= lower[j * l + q]! ** 2;
    if (!(pivot > DEPENDENT * gram[j * l + j]!)) continue;
    const diagonal = Math.sqrt(pivot);
    lower[j * l + j] = diagonal;
    // Row j of the inverse of the lower triangle, which is column j of W.
    inverse[j * l + j] = 1 / diagonal;
    for (let i = 0; i < j; i++) {
      let dot = 0;
      for (let q = i; q < j; q++) dot += lower[j * l + q]! * inverse[q * l + i]!;
      inverse[j * l + i] = -dot / diagonal;
    }
  }
  const w = new Float32Array(l * l);
  for (let i = 0; i < l; i++) for (let j = i; j < l; j++) w[i * l + j] = inverse[j * l + i]!;
  return w;
}

/** Eigenvalues of a symmetric matrix (l, l), falling, and eigenvectors as columns, by Jacobi rotations. `a` is used up. */
async function symmetricEigen(
  a: Float64Array,
  l: number,
  pace: Pace,
): Promise<{ values: Float64Array; vectors: Float64Array }> {
  const v = new Float64Array(l * l);
  for (let i = 0; i < l; i++) v[i * l + i] = 1;
  const rotate = (x: Float64Array, at: number, other: number, cos: number, sin: number) => {
    const [first, second] = [x[at]!, x[other]!];
    x[at] = cos * first - sin * second;
    x[other] = sin * first + cos * second;
  };
  let trace = 0;
  for (let i = 0; i < l; i++) trace += Math.abs(a[i * l + i]!);
  // Convergence is quadratic: a handful of sweeps suffices.
  for (let sweep = 0; sweep < 30; sweep++) {
    let rotations = 0;
    for (let p = 0; p < l; p++) {
      for (let q = p + 1; q < l; q++) {
        const off = a[p * l + q]!;
        if (Math.abs(off) <= 1e-13 * trace) continue;
        rotations++;
        const theta = (a[q * l + q]! - a[p * l + p]!) / (2 * off);
        const tan = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const cos = 1 / Math.sqrt(tan * tan + 1);
        const sin = tan * cos;
        for (let i = 0; i < l; i++) rotate(a, i * l + p, i * l + q, cos, sin);
        for (let i = 0; i < l; i++) rotate(a, p * l + i, q * l + i, cos, sin);
        for (let i = 0; i < l; i++) rotate(v, i * l + p, i * l + q, cos, sin);
      }
      await pace.breathe();
    }
    if (rotations === 0) break;
  }
  const order = Array.from({ length: l }, (_, i) => i).sort((i, j) => a[j * l + j]! - a[i * l + i]!);
  const vectors = new Float64Array(l * l);
  for (const [to, from] of order.entries()) for (let i = 0; i < l; i++) vectors[i * l + to] = v[i * l + from]!;
  return { values: Float64Array.from(order, (i) => a[i * l + i]!), vectors };
}

/** Brings each row of `x` (any, cols) to unit length in place; zero rows stay. Returns `x`. */
export function normalizeRows(x: Float32Array, cols: number): Float32Array {
  for (let begin = 0; begin < x.length; begin += cols) {
    let squares = 0;
    for (let j = begin; j < begin + cols; j++) squares += x[j]! * x[j]!;
    if (squares === 0) continue;
    const scale = 1 / Math.sqrt(squares);
    for (let j = begin; j < begin + cols; j++) x[j]! *= scale;
  }
  return x;
}

function readHead(path: string): z.output<typeof headSchema> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw ioError(`cannot read the embedder ${path}`, cause);
  }
  try {
    return headSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw corrupt(path, 'an LSI embedder of version 1', (cause as Error).message.slice(0, 200), cause);
  }
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function corrupt(path: string, expected: string, found: string, cause?: unknown): SweetspotError {
  const fix = 'delete embedder.json and embedder.safetensors and cluster again, or restore them';
  return new SweetspotError('SWEETSPOT_CORRUPT', { what: `${path} is damaged`, expected, found, fix, cause });
}

function usage(name: string, expected: string, found: unknown): SweetspotError {
  return new SweetspotError('SWEETSPOT_USAGE', {
    what: `cannot fit an embedder: ${name}`,
    expected,
    found: String(found),
  });
}
