// Batches of token windows. A row of a batch holds text of one cluster: the cluster is drawn from the distribution that the
// method asks for (PAPER), or, for a soup of experts, from one of a few histograms drawn anew for every batch; then windows
// of that cluster follow in shuffled order without repetition until all have been seen, packed one after the other until the
// row is full. Where a window that is not the start of a document follows another, its first token is not a target.
// What does not fit into the row any more is cut off. Best-fit packing (Ding et al. 2024, arXiv 2404.10830) cuts less: of the
// next few windows the longest that fits comes first, so that full windows have a row of their own and short ones fill the gaps;
// other rows begin where a document does. The whole state is a few numbers a cluster, so that a checkpoint can hold it.
import { SweetspotError } from '../backend/errors.js';
import { hashSeed, Prng, type PrngState } from '../tensor/prng.js';
import type { Corpus } from './corpus.js';
import type { Windows } from './windows.js';

export interface Batch {
  /** (B, T) */
  readonly tokens: Int32Array;
  /** (B, T); -1 where there is none. */
  readonly targets: Int32Array;
  /** Cluster of each row (B); ascending, unless there are histograms. */
  readonly clusters: Int32Array;
  /** Which rows share generated weights (B), ascending: the cluster, or the number of the histogram. */
  readonly groups: Int32Array;
  /** The histograms, in the order of groups; absent without. */
  readonly histograms?: readonly Float32Array[];
  /** Token of the corpus that each input is (B, T), -1 where its target is not the next one; only when asked for. */
  readonly sources?: Int32Array;
  /** Targets that count. */
  readonly count: number;
}

export interface SamplerState {
  readonly random: PrngState;
  /** Pass and position of every cluster. */
  readonly passes: readonly number[];
  readonly cursors: readonly number[];
  /** Windows that wait, by cluster; best-fit packing only. */
  readonly pending?: readonly (readonly number[])[];
}

/** stream: windows as they come; best-fit: of a few that wait, the longest that fits. */
export type Packing = 'stream' | 'best-fit';
export const PACKINGS: readonly Packing[] = ['stream', 'best-fit'];

/** Windows of a cluster that best-fit packing chooses among. */
const PENDING = 32;

export interface SamplerOptions {
  readonly corpus: Corpus;
  readonly windows: Windows;
  /** Cluster of every window; all 0 when absent. */
  readonly clusters?: Int32Array | undefined;
  /** Probability of each cluster; by its share of tokens when absent. */
  readonly distribution?: Float64Array | undefined;
  /** Default stream. */
  readonly packing?: Packing | undefined;
  /** Whether batches have `sources`. Default false. */
  readonly sources?: boolean | undefined;
  /** Draws every batch from so many random histograms, a share of the rows each. Default: all rows from `distribution`. */
  readonly mixtures?: MixtureOptions | undefined;
  readonly batch: number;
  readonly contextLength: number;
  readonly seed: number | string;
}

/** Random histograms: a size of the support is drawn, then as many clusters, each with a weight from a flat Dirichlet law. */
export interface MixtureOptions {
  /** Histograms of a batch, a divisor of the batch. */
  readonly count: number;
  /** Sizes of the support, equally likely. A cluster drawn twice has both weights, so that the mean histogram is `distribution`. */
  readonly support: readonly number[];
}

export class Sampler {
  readonly #options: SamplerOptions;
  readonly #members: Int32Array[];
  readonly #order: (Int32Array | undefined)[];
  readonly #cumulative: Float64Array;
  readonly #passes: number[];
  readonly #cursors: number[];
  /** Windows that wait, oldest first; empty unless packing is best-fit. */
  readonly #pending: number[][];
  readonly #buffer: Int32Array;
  #random: Prng;

  /** Throws SWEETSPOT_INPUT when a cluster that is wanted holds no window. */
  constructor(options: SamplerOptions) {
    this.#options = options;
    const { windows, clusters, contextLength } = options;
    const count =
      options.distribution?.length ?? (clusters === undefined ? 1 : clusters.reduce((a, b) => Math.max(a, b), 0) + 1);
    const sizes = new Array<number>(count).fill(0);
    const tokens = new Float64Array(count);
    for (let i = 0; i < windows.count; i++) {
      const c = clusters?.[i] ?? 0;
      sizes[c]!++;
      tokens[c]! += windows.length[i]!;
    }
    this.#members = sizes.map((n) => new Int32Array(n));
    const at = new Array<number>(count).fill(0);
    for (let i = 0; i < windows.count; i++) {
      const c = clusters?.[i] ?? 0;
      this.#members[c]![at[c]!++] = i;
    }
    const weights = options.distribution ?? tokens;
    const total = weights.reduce((a, b) => a + b, 0);
    if (windows.count === 0 || !(total > 0)) {
      throw new SweetspotError('SWEETSPOT_INPUT', { what: 'there is no window of text to sample from' });
    }
    weights.forEach((w, c) => {
      if (w > 0 && this.#members[c]!.length === 0) {
        throw new SweetspotError('SWEETSPOT_INPUT', {
          what: `cluster ${c} is asked for but the corpus has no window in it`,
          fix: 'use fewer clusters or a larger corpus',
        });
      }
    });
    let sum = 0;
    this.#cumulative = Float64Array.from(weights, (w) => (sum += w / total));
    this.#order = new Array(count).fill(undefined);
    this.#passes = new Array<number>(count).fill(0);
    this.#cursors = new Array<number>(count).fill(0);
    this.#pending = Array.from({ length: count }, () => []);
    this.#random = new Prng(hashSeed(options.seed, 'sampler'));
    this.#buffer = new Int32Array(contextLength + 1);
  }

  /** Tokens of windows, by cluster. */
  static tokensByCluster(windows: Windows, clusters: Int32Array, count: number): Float64Array {
    const tokens = new Float64Array(count);
    for (let i = 0; i < windows.count; i++) tokens[clusters[i]!]! += windows.length[i]!;
    return tokens;
  }

  next(): Batch {
    const { batch, contextLength: T } = this.#options;
    const { mixtures } = this.#options;
    const histograms =
      mixtures === undefined ? undefined : Array.from({ length: mixtures.count }, () => this.#histogram(mixtures));
    const clusters = Int32Array.from({ length: batch }, (_, b) =>
      histograms === undefined
        ? this.#draw(this.#cumulative)
        : this.#draw(cumulated(histograms[Math.floor((b * histograms.length) / batch)]!)),
    );
    if (histograms === undefined) clusters.sort();
    const groups =
      histograms === undefined ? clusters : clusters.map((_, b) => Math.floor((b * histograms.length) / batch));
    const tokens = new Int32Array(batch * T);
    const targets = new Int32Array(batch * T);
    const sources = this.#options.sources === true ? new Int32Array(batch * T).fill(-1) : undefined;
    let count = 0;
    for (let b = 0; b < batch; b++) {
      const part = (values: Int32Array) => values.subarray(b * T, (b + 1) * T);
      count += this.#fill(clusters[b]!, part(tokens), part(targets), sources && part(sources));
    }
    return {
      tokens,
      targets,
      clusters,
      groups,
      count,
      ...(sources === undefined ? {} : { sources }),
      ...(histograms === undefined ? {} : { histograms }),
    };
  }

  state(): SamplerState {
    return {
      random: this.#random.state(),
      passes: [...this.#passes],
      cursors: [...this.#cursors],
      ...(this.#options.packing === 'best-fit' && { pending: this.#pending.map((windows) => [...windows]) }),
    };
  }

  restore(saved: unknown): void {
    const state = saved as SamplerState;
    this.#random = Prng.fromState(state.random);
    state.passes.forEach((pass, c) => {
      this.#passes[c] = pass;
      this.#order[c] = undefined;
    });
    state.cursors.forEach((cursor, c) => {
      this.#cursors[c] = cursor;
    });
    state.pending?.forEach((windows, c) => {
      this.#pending[c] = [...windows];
    });
  }

  #draw(cumulative: Float64Array): number {
    const u = this.#random.next();
    let c = 0;
    while (c < cumulative.length - 1 && u >= cumulative[c]!) c++;
    // Rounding may leave u past the sum: the last cluster that has a weight.
    while (c > 0 && cumulative[c] === cumulative[c - 1]) c--;
    return c;
  }

  #histogram({ support }: MixtureOptions): Float32Array {
    const histogram = new Float32Array(this.#members.length);
    const size = support[this.#random.int(support.length)]!;
    let total = 0;
    for (let i = 0; i < size; i++) {
      const weight = -Math.log(1 - this.#random.next());
      histogram[this.#draw(this.#cumulative)]! += weight;
      total += weight;
    }
    return histogram.map((weight) => weight / total);
  }

  /** The next window of a cluster; each pass has its own order. */
  #take(c: number): number {
    const members = this.#members[c]!;
    if (this.#cursors[c]! >= members.length) {
      this.#passes[c]!++;
      this.#cursors[c] = 0;
      this.#order[c] = undefined;
    }
    let order = this.#order[c];
    if (order === undefined) {
      order = members.slice();
      new Prng(hashSeed(this.#options.seed, 'order', c, this.#passes[c]!)).shuffle(order);
      this.#order[c] = order;
    }
    return order[this.#cursors[c]!++]!;
  }

  /** The window for the next `left` places of a row. */
  #choose(c: number, left: number): number {
    if (this.#options.packing !== 'best-fit') return this.#take(c);
    const { corpus, windows, contextLength: T } = this.#options;
    const pending = this.#pending[c]!;
    while (pending.length < Math.min(PENDING, this.#members[c]!.length)) pending.push(this.#take(c));
    // The longest that fits; when none does, the shortest, of which least is lost. Of equals one that begins a document, and at
    // the start of a row any that does comes before those that do not, unless they fill the row.
    const worth = (w: number) => {
      const length = windows.length[w]!;
      const begins = windows.start[w] === corpus.offset(windows.document[w]!);
      const behind = left === T && length < T && !begins ? T : 0;
      return (length <= left ? length : -length) + (begins ? 0.5 : 0) - behind;
    };
    let best = 0;
    for (let i = 1; i < pending.length; i++) if (worth(pending[i]!) > worth(pending[best]!)) best = i;
    return pending.splice(best, 1)[0]!;
  }

  #fill(c: number, tokens: Int32Array, targets: Int32Array, sources: Int32Array | undefined): number {
    const { corpus, windows, contextLength: T } = this.#options;
    let at = 0;
    let count = 0;
    while (at < T) {
      const w = this.#choose(c, T - at);
      const length = Math.min(windows.length[w]!, T - at);
      corpus.read(windows.start[w]!, length + 1, this.#buffer, 0);
      const startsDocument = this.#buffer[0] === 0;
      // The token before this window predicts its first one only where that is the marker between documents.
      if (at > 0) {
        targets[at - 1] = startsDocument ? 0 : -1;
        count += startsDocument ? 1 : 0;
      }
      for (let i = 0; i < length; i++) {
        tokens[at + i] = this.#buffer[i]!;
        targets[at + i] = this.#buffer[i + 1]!;
        if (sources !== undefined) sources[at + i] = windows.start[w]! + i;
      }
      count += length;
      at += length;
      // The last token of a window is not an input: put it in, unless the row is full.
      if (at < T) {
        tokens[at] = this.#buffer[length]!;
        at++;
        targets[at - 1] = -1;
      }
    }
    return count;
  }
}

function cumulated(weights: ArrayLike<number>): Float64Array {
  let sum = 0;
  return Float64Array.from(weights, (w) => (sum += w));
}
