// When figures of a run ask for attention, and why. Each function gives sentences, or nothing.
import type { ClusterSummary } from '../data/clusters.js';
import { isOwn } from '../io/huggingface_config.js';
import { REPEATS_WARNING } from '../methods/importance.js';
import type { RunResult } from '../methods/run.js';
import type { SpecializeResult } from '../methods/specialize.js';
import { DEAD_AFTER } from '../train/loads.js';
import { percent } from './format.js';

/** Below this, experts differ by less than two percent of their coefficients. */
const SPREAD = 0.02;
/** Share of ln K from which a histogram counts as flat (PAPER: 0.77 and 0.87 where one expert failed, 0.63 where not). */
const FLAT = 0.7;
/** Share of ln E below which the load of routed experts counts as collapsed: as if a third of eight were used. */
const UNEVEN = 0.5;
/** Share of a domain that should lie in clusters with ordinary amounts of generic text. */
const COVERED = 0.5;
/** Share of the corpus in one cluster from which the others are left with little. */
const DOMINANT = 0.5;

export function clusterWarnings({ sizes, windows, clusters }: ClusterSummary): string[] {
  const largest = Math.max(...sizes);
  if (clusters < 3 || largest <= DOMINANT * windows) return [];
  const share = percent(largest / windows);
  return [
    `cluster ${sizes.indexOf(largest)} holds ${share} of the windows: experts of the others see little text; try more clusters`,
  ];
}

export function pretrainWarnings({ facts }: RunResult): string[] {
  const warnings: string[] = [];
  const { largestRepeat, coefficientSpread, experts, loadEntropy, deadExperts } = facts;
  if (largestRepeat !== undefined && largestRepeat > REPEATS_WARNING) {
    const times = largestRepeat.toFixed(1);
    warnings.push(
      `text of one cluster was seen ${times} times, and is memorized more than it teaches above ${REPEATS_WARNING}: ` +
        'use --shrink 0.1 or more, fewer tokens, or a larger corpus',
    );
  }
  if (coefficientSpread !== undefined && coefficientSpread < SPREAD) {
    warnings.push(
      `the experts' coefficients differ by ${percent(coefficientSpread)} only, so the bank is nearly one dense model: ` +
        'train longer, or with a higher learning rate',
    );
  }
  if (deadExperts !== undefined && deadExperts > 0) {
    warnings.push(
      `${percent(deadExperts)} of the routed experts had no token in the last ${DEAD_AFTER} steps, so they cost memory and add ` +
        'nothing: use --balance loss or bias, fewer --experts, or more tokens a step',
    );
  } else if (experts !== undefined && loadEntropy !== undefined && loadEntropy < UNEVEN * Math.log(experts)) {
    warnings.push(
      `routed experts share the tokens unevenly (entropy ${loadEntropy.toFixed(2)} of at most ` +
        `${Math.log(experts).toFixed(2)} nats): use --balance loss or bias, or fewer --experts`,
    );
  }
  return warnings;
}

/** @param covered the coverage of the domain by generic text; undefined for a run without clusters */
export function specializeWarnings(result: SpecializeResult, expert: string, covered: number | undefined): string[] {
  const warnings: string[] = [];
  const { method, histogram, entropy, bestStep, steps } = result;
  const most = Math.log(histogram.length);
  if (histogram.length > 1 && entropy > FLAT * most) {
    const spread = `the domain is spread over many clusters (entropy ${entropy.toFixed(2)} of at most ${most.toFixed(2)} nats)`;
    if (method === 'importance') warnings.push(`${spread}: sampling by it hardly differs from generic text`);
    else if (expert === 'histogram') warnings.push(`${spread}: the mix of experts is close to an average of all`);
    else warnings.push(`${spread}: a single expert hardly fits; --expert histogram mixes them`);
  }
  if (covered !== undefined && covered < COVERED) {
    warnings.push(
      `generic text covers ${percent(covered)} of the domain only, so experts know little of it: compare with --method slm, ` +
        'or add such text to the corpus',
    );
  }
  if (isOwn(result.architecture))
    warnings.push(
      'only sweetspot reads this model folder: no Hugging Face layout holds capped logits, or such variants of routed layers',
    );
  if (steps > 0 && bestStep === 0) {
    warnings.push(
      'fine-tuning did not lower the held-out loss, so the weights are those before it: try a lower --learning-rate',
    );
  }
  return warnings;
}
