// Batches whose rows come from two texts: a share of generic text while fine-tuning (replay), or a little of the domain from the
// start of pretraining. Every row is drawn from the second text with probability `share`.
import { hashSeed, Prng, type PrngState } from '../tensor/prng.js';
import { type Batch, Sampler, type SamplerOptions, type SamplerState } from './sampler.js';

/** What a stage draws its batches from. */
export interface Batches {
  next(): Batch;
  /** All that is random, as plain JSON. */
  state(): unknown;
  restore(state: unknown): void;
}

interface BlendState {
  readonly random: PrngState;
  readonly samplers: readonly SamplerState[];
}

export class Blend implements Batches {
  readonly #samplers: readonly [Sampler, Sampler];
  #random: Prng;

  /** @param share probability, 0 to 1, that a row comes from `second`; both have rows of the same length, and no clusters */
  constructor(
    readonly first: Omit<SamplerOptions, 'clusters' | 'distribution' | 'mixtures'>,
    second: Pick<SamplerOptions, 'corpus' | 'windows'>,
    readonly share: number,
  ) {
    const { seed } = first;
    this.#samplers = [
      new Sampler({ ...first, batch: 1 }),
      new Sampler({ ...first, ...second, batch: 1, seed: `${seed}/second` }),
    ];
    this.#random = new Prng(hashSeed(seed, 'blend'));
  }

  next(): Batch {
    const { batch, contextLength: T } = this.first;
    const tokens = new Int32Array(batch * T);
    const targets = new Int32Array(batch * T);
    const sources = this.first.sources === true ? new Int32Array(batch * T) : undefined;
    let count = 0;
    for (let b = 0; b < batch; b++) {
      const second = this.#random.next() < this.share;
      const row = this.#samplers[second ? 1 : 0].next();
      tokens.set(row.tokens, b * T);
      targets.set(row.targets, b * T);
      // Places of the second text mean nothing to who asks for those of the first.
      if (sources !== undefined && second) sources.fill(-1, b * T, (b + 1) * T);
      else sources?.set(row.sources!, b * T);
      count += row.count;
    }
    const none = new Int32Array(batch);
    return { tokens, targets, clusters: none, groups: none, count, ...(sources === undefined ? {} : { sources }) };
  }

  state(): BlendState {
    return { random: this.#random.state(), samplers: this.#samplers.map((sampler) => sampler.state()) };
  }

  restore(state: unknown): void {
    const { random, samplers } = state as BlendState;
    this.#random = Prng.fromState(random);
    this.#samplers.forEach((sampler, i) => {
      sampler.restore(samplers[i]!);
    });
  }
}
