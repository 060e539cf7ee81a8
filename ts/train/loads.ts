// What the loads of routed experts mean, step by step: whether tokens are spread, and whether there are experts that get none.
import type { MoeConfig } from '../models/config.js';
import { figureWidth } from './balance.js';

/** Steps without a token after which an expert counts as dead. */
export const DEAD_AFTER = 50;

export interface LoadFigures {
  /** Entropy of the load, nats, mean over layers; ln E when even. */
  readonly loadEntropy: number;
  /** Largest load over the mean load, in the layer where it is largest. */
  readonly largestLoad: number;
  /** Share of all experts that had no token in the last 50 steps. */
  readonly deadExperts: number;
}

export interface StepLoads extends LoadFigures {
  /** Load balance loss and z-loss before their weights, means over layers. */
  readonly balanceLoss: number;
  readonly zLoss: number;
}

interface State {
  /** By layer and expert: the last step with a token. */
  readonly seen: readonly number[];
  readonly recent: readonly (readonly [entropy: number, largest: number])[];
  readonly step: number;
}

export class LoadMeter {
  readonly #seen: number[];
  #recent: [number, number][] = [];
  #step = 0;

  /** `keep` is how many of the last steps the summary is about. */
  constructor(
    readonly moe: MoeConfig,
    readonly keep: number,
  ) {
    this.#seen = Array(moe.layers.length * moe.experts).fill(0);
  }

  /** @param figures of the step (counted from 1), as recordBalance lays them out */
  update(step: number, figures: Float32Array): StepLoads {
    const { experts, layers } = this.moe;
    const width = figureWidth(this.moe);
    let [entropy, largest, balanceLoss, zLoss] = [0, 0, 0, 0];
    layers.forEach((_, l) => {
      const loads = figures.subarray(l * width, l * width + experts);
      loads.forEach((load, e) => {
        if (load === 0) return;
        this.#seen[l * experts + e] = step;
        entropy -= (load * Math.log(load)) / layers.length;
        largest = Math.max(largest, load * experts);
      });
      balanceLoss += figures[l * width + experts]! / layers.length;
      zLoss += figures[l * width + experts + 1]! / layers.length;
    });
    this.#step = step;
    this.#recent.push([entropy, largest]);
    if (this.#recent.length > this.keep) this.#recent.shift();
    return { loadEntropy: entropy, largestLoad: largest, deadExperts: this.#dead(), balanceLoss, zLoss };
  }

  /** Means over the last steps, and the dead of now. */
  summary(): LoadFigures {
    const mean = (of: 0 | 1) =>
      this.#recent.reduce((sum, figures) => sum + figures[of], 0) / Math.max(1, this.#recent.length);
    return { loadEntropy: mean(0), largestLoad: mean(1), deadExperts: this.#dead() };
  }

  state(): State {
    return { seen: this.#seen, recent: this.#recent, step: this.#step };
  }

  restore(state: unknown): void {
    const { seen, recent, step } = state as State;
    this.#seen.splice(0, seen.length, ...seen);
    this.#recent = recent.map(([entropy, largest]) => [entropy, largest]);
    this.#step = step;
  }

  #dead(): number {
    return this.#seen.filter((step) => this.#step - step >= DEAD_AFTER).length / this.#seen.length;
  }
}
