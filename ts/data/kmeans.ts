// k-means on a backend: k-means++ start, then Lloyd rounds, each one replay of a recorded Program (nearest centroid, sums
// and counts of each cluster); only the division by the counts happens here. Same seed, same result, whatever the threads.
// `Workspace` is the scope of buffers and Programs that this file and `lsi.ts` compute in.
// To change the start or the treatment of empty clusters: `start` and `reseed`; the Program stays as it is.
// Sources: Lloyd, "Least squares quantization in PCM", 1982; Arthur and Vassilvitskii, "k-means++", 2007.

import type { Backend, ProgramId } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import { encodeRow, type Place } from '../backend/rows.js';
import { hashSeed, Prng } from '../tensor/prng.js';
import { Pace } from './readers.js';

/** The start looks at so many rows, or at `START_ROWS_PER_CLUSTER` a cluster where that is more. */
const START_ROWS = 20_000;
const START_ROWS_PER_CLUSTER = 16;
/** Squared distances below this share of the squared norms are rounding, not distance. */
const ROUNDING = 2e-6;
/** Rounds allowed past `rounds` while a cluster is still empty. */
const RESEED_ROUNDS = 50;
/** Rows of one `assign` Program, so that memory does not grow with the number of rows. */
const ASSIGN_ROWS = 1 << 16;

/** Buffers and Programs that live until the scope ends: `using work = new Workspace(backend)`. */
export class Workspace {
  readonly #backend: Backend;
  readonly #buffers: number[] = [];
  readonly #programs: ProgramId[] = [];

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** A zeroed buffer of `elements` of four bytes. */
  room(elements: number): Place {
    const buffer = this.#backend.alloc(Math.max(1, elements) * 4);
    this.#buffers.push(buffer);
    return { buffer, offset: 0 };
  }

  /** A buffer that holds `values`. */
  upload(values: Float32Array | Int32Array): Place {
    const place = this.room(values.length);
    this.write(place, values);
    return place;
  }

  write(place: Place, values: Float32Array | Int32Array): void {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    if (bytes.length > 0) this.#backend.write(place.buffer, place.offset, bytes);
  }

  program(...rows: readonly Uint32Array[]): ProgramId {
    const words = new Uint32Array(rows.reduce((sum, row) => sum + row.length, 0));
    let at = 0;
    for (const row of rows) {
      words.set(row, at);
      at += row.length;
    }
    const id = this.#backend.compile({ words });
    this.#programs.push(id);
    return id;
  }

  async f32(place: Place, elements: number): Promise<Float32Array> {
    const bytes = await this.#read(place, elements);
    return new Float32Array(bytes.buffer, bytes.byteOffset, elements);
  }

  async i32(place: Place, elements: number): Promise<Int32Array> {
    const bytes = await this.#read(place, elements);
    return new Int32Array(bytes.buffer, bytes.byteOffset, elements);
  }

  async #read(place: Place, elements: number): Promise<Uint8Array> {
    const bytes = await this.#backend.read(place.buffer, place.offset, elements * 4);
    return bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  }

  [Symbol.dispose](): void {
    for (const id of this.#programs) this.#backend.release(id);
    for (const id of this.#buffers) this.#backend.free(id);
  }
}

export interface KmeansProgress {
  /** `start` counts centroids chosen, `round` counts rounds done. */
  readonly stage: 'start' | 'round';
  readonly done: number;
  readonly total: number;
  /** Sum of squared distances; left out during the start. */
  readonly inertia?: number;
}

export interface KmeansOptions {
  readonly rows: number;
  readonly cols: number;
  /** k. */
  readonly clusters: number;
  /** Most updates of the centroids. Default 20; more are made only while a cluster is empty. */
  readonly rounds?: number | undefined;
  /** Default 0. */
  readonly seed?: number | string | undefined;
  /** Stops when a round lowers the inertia by less than this share. Default 1e-4. */
  readonly tolerance?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: KmeansProgress) => void) | undefined;
}

export interface KmeansResult {
  /** (clusters, cols): the ones that `ids` refer to. */
  readonly centroids: Float32Array;
  /** (rows): the nearest centroid. */
  readonly ids: Int32Array;
  /** (clusters): rows of each, never 0. */
  readonly counts: Float64Array;
  /** Sum over the rows of the squared distance to their centroid. */
  readonly inertia: number;
  /** Updates made. */
  readonly rounds: number;
}

/**
 * Groups the rows of `x` (rows, cols) so that the sum of squared distances to the centroids is small.
 *
 * @throws SweetspotError SWEETSPOT_USAGE for sizes that make no sense; SWEETSPOT_INPUT when `x` holds a value that is not
 *   finite, or fewer distinct rows than clusters; SWEETSPOT_ABORTED
 */
export async function kmeans(backend: Backend, x: Float32Array, options: KmeansOptions): Promise<KmeansResult> {
  const { rows, cols, clusters, rounds = 20, seed = 0, tolerance = 1e-4, signal, onProgress } = options;
  checkCount('rounds', rounds, 0);
  checkShape(x, rows, cols, clusters);
  if (!(tolerance >= 0)) throw usage('tolerance', '0 or more', tolerance);
  const pace = new Pace(signal);
  for (let i = 0; i < rows; i++) {
    for (let j = i * cols; j < (i + 1) * cols; j++) {
      if (!Number.isFinite(x[j]!)) {
        throw new SweetspotError('SWEETSPOT_INPUT', {
          what: `cannot cluster: row ${i} holds a value that is not finite`,
          found: String(x[j]),
        });
      }
    }
    if (i % 256 === 0) await pace.breathe();
  }

  using work = new Workspace(backend);
  const data = work.upload(x);
  let centroids = await start(backend, x, data, options, new Prng(hashSeed(seed, 'kmeans')), pace);
  const table = work.room(clusters * cols);
  const ids = work.room(rows);
  const distance = work.room(rows);
  const sums = work.room(clusters * cols);
  const counts = work.room(clusters);
  const step = work.program(
    encodeRow('kmeans_assign', { x: data, centroids: table, ids, distance }, { rows, cols, clusters }, {}),
    encodeRow('embedding_backward', { dy: data, ids, dtable: sums }, { rows, cols, vocab: clusters }, {}),
    encodeRow('bincount', { ids, y: counts }, { n: rows, vocab: clusters }, {}),
  );

  let previous = 0;
  for (let round = 0; ; round++) {
    await pace.breathe();
    work.write(table, centroids);
    backend.run(step);
    const distances = await work.f32(distance, rows);
    const size = Float64Array.from(await work.f32(counts, clusters));
    const inertia = sum(distances);
    onProgress?.({ stage: 'round', done: round, total: rounds, inertia });
    const empty = [...size.keys()].filter((c) => size[c] === 0);
    const settled = round > 0 && previous - inertia <= tolerance * previous;
    if (empty.length === 0 && (settled || round >= rounds)) {
      return { centroids, ids: await work.i32(ids, rows), counts: size, inertia, rounds: round };
    }
    if (round === rounds + RESEED_ROUNDS) throw tooFew(clusters, rows, `${clusters - empty.length} groups`);
    previous = inertia;
    const total = await work.f32(sums, clusters * cols);
    centroids = total.map((value, i) => value / Math.max(1, size[Math.floor(i / cols)]!));
    reseed(centroids, empty, x, cols, distances);
  }
}

/**
 * The nearest of `centroids` (clusters, cols) for each row of `x` (rows, cols), the first of equals, and the squared
 * distances to them.
 * @throws SweetspotError SWEETSPOT_USAGE when the arrays do not have these sizes; SWEETSPOT_ABORTED
 */
export async function assign(
  backend: Backend,
  x: Float32Array,
  rows: number,
  cols: number,
  centroids: Float32Array,
  clusters: number,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<{ ids: Int32Array; distances: Float32Array }> {
  checkShape(x, rows, cols, clusters, 0);
  if (centroids.length !== clusters * cols) {
    throw usage('centroids', `${clusters} rows of ${cols}`, `${centroids.length} values`);
  }
  const result = { ids: new Int32Array(rows), distances: new Float32Array(rows) };
  const pace = new Pace(options.signal);
  using work = new Workspace(backend);
  const table = work.upload(centroids);
  for (let begin = 0; begin < rows; begin += ASSIGN_ROWS) {
    await pace.breathe();
    const n = Math.min(ASSIGN_ROWS, rows - begin);
    using part = new Workspace(backend);
    const data = part.upload(x.subarray(begin * cols, (begin + n) * cols));
    const [ids, distance] = [part.room(n), part.room(n)];
    const operands = { x: data, centroids: table, ids, distance };
    backend.run(part.program(encodeRow('kmeans_assign', operands, { rows: n, cols, clusters }, {})));
    result.ids.set(await part.i32(ids, n), begin);
    result.distances.set(await part.f32(distance, n), begin);
  }
  return result;
}

/** k-means++ on a sample: each next centroid is a row drawn with probability proportional to its squared distance. */
async function start(
  backend: Backend,
  x: Float32Array,
  data: Place,
  { rows, cols, clusters, onProgress }: KmeansOptions,
  prng: Prng,
  pace: Pace,
): Promise<Float32Array> {
  const n = Math.min(rows, Math.max(START_ROWS, START_ROWS_PER_CLUSTER * clusters));
  using work = new Workspace(backend);
  const sample = n === rows ? x : takeRows(x, rows, cols, n, prng);
  const place = n === rows ? data : work.upload(sample);
  const [centroid, ids, distance] = [work.room(cols), work.room(n), work.room(n)];
  const operands = { x: place, centroids: centroid, ids, distance };
  const program = work.program(encodeRow('kmeans_assign', operands, { rows: n, cols, clusters: 1 }, {}));

  const norms = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    for (let j = i * cols; j < (i + 1) * cols; j++) norms[i]! += sample[j]! * sample[j]!;
    if (i % 256 === 0) await pace.breathe();
  }
  const nearest = new Float64Array(n).fill(Number.POSITIVE_INFINITY);
  const centroids = new Float32Array(clusters * cols);
  let chosen = prng.int(n);
  for (let c = 0; ; c++) {
    centroids.set(sample.subarray(chosen * cols, (chosen + 1) * cols), c * cols);
    onProgress?.({ stage: 'start', done: c + 1, total: clusters });
    if (c + 1 === clusters) return centroids;
    await pace.breathe();
    work.write(centroid, centroids.subarray(c * cols, (c + 1) * cols));
    backend.run(program);
    const distances = await work.f32(distance, n);
    for (let i = 0; i < n; i++) {
      const d = distances[i]! <= ROUNDING * (norms[i]! + norms[chosen]!) ? 0 : distances[i]!;
      if (d < nearest[i]!) nearest[i] = d;
    }
    const mass = sum(nearest);
    if (mass === 0) {
      fillWithDistinctRows(centroids, c + 1, x, rows, cols, clusters);
      return centroids;
    }
    chosen = draw(nearest, mass * prng.next());
  }
}

/** First index at which the running sum of `weights` passes `target`; never one of weight 0. */
function draw(weights: Float64Array, target: number): number {
  let last = 0;
  let running = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    last = i;
    running += weights[i]!;
    if (running > target) break;
  }
  return last;
}

/** When all that is left of the sample coincides with a centroid, any rows not chosen yet must do, if there are any. */
function fillWithDistinctRows(
  centroids: Float32Array,
  filled: number,
  x: Float32Array,
  rows: number,
  cols: number,
  clusters: number,
): void {
  const seen = new Set<string>();
  for (let c = 0; c < filled; c++) seen.add(rowKey(centroids, c, cols));
  for (let i = 0; i < rows && seen.size < clusters; i++) {
    const before = seen.size;
    seen.add(rowKey(x, i, cols));
    if (seen.size > before) centroids.set(x.subarray(i * cols, (i + 1) * cols), before * cols);
  }
  if (seen.size < clusters) throw tooFew(clusters, rows, `${seen.size} distinct rows`);
}

/** Moves the centroids of empty clusters to the rows farthest from their own centroid, no two to equal rows. */
function reseed(
  centroids: Float32Array,
  empty: number[],
  x: Float32Array,
  cols: number,
  distances: Float32Array,
): void {
  if (empty.length === 0) return;
  const farthest = Uint32Array.from(distances.keys()).sort((a, b) => distances[b]! - distances[a]! || a - b);
  const seen = new Set<string>();
  let next = 0;
  for (const i of farthest) {
    if (next === empty.length) return;
    const key = rowKey(x, i, cols);
    if (seen.has(key)) continue;
    seen.add(key);
    centroids.set(x.subarray(i * cols, (i + 1) * cols), empty[next++]! * cols);
  }
}

function rowKey(x: Float32Array, row: number, cols: number): string {
  return Buffer.from(x.buffer, x.byteOffset + row * cols * 4, cols * 4).toString('latin1');
}

/** `n` of the rows, drawn without replacement, in their order. */
function takeRows(x: Float32Array, rows: number, cols: number, n: number, prng: Prng): Float32Array {
  const order = sampleIndices(rows, n, prng);
  const sample = new Float32Array(n * cols);
  for (const [at, row] of order.entries()) sample.set(x.subarray(row * cols, (row + 1) * cols), at * cols);
  return sample;
}

/** `n` different integers of [0, total), every set equally likely, ascending. All of them when `n >= total`. */
export function sampleIndices(total: number, n: number, prng: Prng): Uint32Array {
  const all = Uint32Array.from({ length: total }, (_, i) => i);
  if (n >= total) return all;
  for (let i = 0; i < n; i++) {
    const j = i + prng.int(total - i);
    const held = all[i]!;
    all[i] = all[j]!;
    all[j] = held;
  }
  return all.slice(0, n).sort();
}

function sum(values: Float32Array | Float64Array): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total;
}

function checkShape(x: Float32Array, rows: number, cols: number, clusters: number, fewestRows = 1): void {
  checkCount('rows', rows, fewestRows);
  checkCount('cols', cols, 1);
  checkCount('clusters', clusters, 1);
  if (x.length !== rows * cols) throw usage('x', `${rows} rows of ${cols}`, `${x.length} values`);
  if (fewestRows > 0 && clusters > rows) throw tooFew(clusters, rows, `${rows} rows`);
}

function checkCount(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least) throw usage(name, `a whole number of ${least} or more`, value);
}

function usage(name: string, expected: string, found: unknown): SweetspotError {
  return new SweetspotError('SWEETSPOT_USAGE', { what: `k-means: ${name}`, expected, found: String(found) });
}

function tooFew(clusters: number, rows: number, found: string): SweetspotError {
  return new SweetspotError('SWEETSPOT_INPUT', {
    what: `cannot make ${clusters} clusters of ${rows} rows`,
    expected: `at least ${clusters} distinct rows`,
    found,
    fix: 'ask for fewer clusters, or give more text',
  });
}
