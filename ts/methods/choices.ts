// The names of the ways to choose an expert of a run; choose.ts and ensemble.ts do it.

/** How a domain's model is chosen from a run: the most frequent cluster's expert, the one of lowest loss on the domain, all mixed by histogram or by distance, or coefficients fitted to its text. */
export type ExpertChoice = 'frequent' | 'lowest-loss' | 'histogram' | 'distance' | 'fitted';
export const EXPERT_CHOICES: readonly ExpertChoice[] = ['frequent', 'lowest-loss', 'histogram', 'distance', 'fitted'];

/** All nearest experts at once, their predictions averaged (ensemble.ts): no dense model, so for evaluation only. */
export const ENSEMBLE = 'ensemble';
