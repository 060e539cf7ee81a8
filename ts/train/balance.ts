// How the load of routed experts is kept even while they are trained, and what a step says about it.
//   loss   E sum_e f_e P_e is added to the loss (Fedus et al. 2021): f_e the share of choices, P_e the mean probability
//   bias   no loss: after a step the choice of an expert with less than the mean load becomes a little likelier, that of the
//          others less (DeepSeek-V3, Liu et al. 2024)
//   none   nothing, which is how to see what the others do
// The z-loss, the mean of lse^2, keeps logits small (Zoph et al. 2022); it goes with any of them.
import { tape } from '../autograd/tape.js';
import { SweetspotError } from '../backend/errors.js';
import { defined } from '../backend/options.js';
import type { MoeConfig } from '../models/config.js';
import { type Routing, routedNames } from '../models/moe.js';
import type { Weights } from '../models/transformer.js';
import { routerBias, routerLosses } from '../ops/routing.js';
import { sliceRows, type Tensor } from '../tensor/tensor.js';

export type Balance = 'loss' | 'bias' | 'none';
export const BALANCES: readonly Balance[] = ['loss', 'bias', 'none'];

/** How the loads of routed experts are kept even. */
export interface BalanceSettings {
  /** 'loss' adds a loss (Switch, Mixtral), 'bias' steers the choice (DeepSeek-V3), 'none' does nothing. */
  readonly kind: Balance;
  /** 'loss': weight of the load balance loss of every layer. Default 0.01. */
  readonly coefficient: number;
  /** Weight of the z-loss of every layer. Default 0.001. */
  readonly z: number;
  /** 'bias': its step. Default 0.001. */
  readonly rate: number;
}

export const BALANCE: BalanceSettings = { kind: 'loss', coefficient: 0.01, z: 0.001, rate: 0.001 };

/** Fills defaults and checks. Throws SWEETSPOT_USAGE. */
export function balanceSettings(given: Partial<BalanceSettings>): BalanceSettings {
  const settings: BalanceSettings = { ...BALANCE, ...defined(given) };
  const refuse = (what: string, expected: string, found: unknown): never => {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: `balance of experts: ${what}`,
      expected,
      found: String(found),
    });
  };
  if (!BALANCES.includes(settings.kind)) refuse('no such kind', BALANCES.join(', '), settings.kind);
  for (const name of ['coefficient', 'z', 'rate'] as const)
    if (!(settings[name] >= 0 && settings[name] <= 100)) refuse(name, '0 to 100', settings[name]);
  return settings;
}

/** Values of a layer in the figures of a step: loads (E), load balance, z, and filling up to whole cache lines. */
export const figureWidth = ({ experts }: MoeConfig): number => Math.ceil((experts + 2) / 16) * 16;

/** What a training Program does about its routers. */
export interface RecordedBalance {
  /** (routed layers, figureWidth): read with the loss. */
  readonly figures: Tensor;
  readonly watch: (routing: Routing, layer: number) => void;
  /** Writes the rows that move the biases; to be called when all rows that read them are written. */
  steer(): void;
}

/** Without `settings` (routers that are not trained) figures only. */
export function recordBalance(
  moe: MoeConfig,
  parameters: Weights,
  settings: BalanceSettings | null | undefined,
): RecordedBalance {
  const figures = tape().temporary([moe.layers.length, figureWidth(moe)], { name: 'routing' });
  const loads: { readonly offsets: Tensor; readonly bias: Tensor }[] = [];
  const weights = {
    balance: settings?.kind === 'loss' ? settings.coefficient : 0,
    z: settings?.z ?? 0,
  };
  return {
    figures,
    watch(routing, layer) {
      routerLosses(routing, sliceRows(figures, moe.layers.indexOf(layer), 1), weights);
      if (settings?.kind === 'bias')
        loads.push({ offsets: routing.offsets, bias: parameters.tensor(routedNames(layer).bias) });
    },
    steer() {
      for (const { offsets, bias } of loads) routerBias(offsets, bias, settings!.rate);
    },
  };
}
