// Soup of experts (Ablin et al. 2025, arXiv 2502.01804): a bank whose coefficients are an MLP of a histogram over clusters. Each
// step draws a few histograms, makes the model of each and trains it on text drawn as the histogram says. At use, the
// histogram of a domain gives its model at once, without training: no expert need be chosen.
import { hostVectors } from '../models/bank.js';
import { pretrainBank } from './bank.js';
import { type MethodResult, oneHot, type PretrainContext } from './context.js';

export function pretrainSoup(context: PretrainContext): Promise<MethodResult> {
  const { bank, mixtures } = context.run.config;
  const single = Array.from({ length: bank!.experts }, (_, c) => oneHot(bank!.experts, c));
  return pretrainBank(context, { mixtures: mixtures!, vectors: (values) => hostVectors(bank!, values, single) });
}
