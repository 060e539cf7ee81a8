// The classic hyper-network (Ha et al. 2016): the weights of a window are generated from an embedding by an MLP and a bank. The
// embedding is the centroid of the window's cluster, so that a batch needs few sets of weights; a domain has the mean of
// its windows' centroids. Unlike the projected network it has no parameters of a cluster, and takes any embedding.
import type { Clustering } from '../data/clusters.js';
import { hostVectors } from '../models/bank.js';
import { pretrainBank } from './bank.js';
import { type MethodResult, oneHot, type PretrainContext } from './context.js';

/** Length of the condition: an embedding and a constant, in place of a bias. */
export const embeddingSize = (clustering: Clustering): number => clustering.dimensions + 1;

/** The condition of a histogram over clusters: the mean of their centroids, and 1. */
export function meanEmbedding({ centroids, dimensions }: Clustering, histogram: ArrayLike<number>): Float32Array {
  const mean = new Float64Array(dimensions + 1);
  for (let c = 0; c < histogram.length; c++)
    for (let d = 0; d < dimensions; d++) mean[d]! += histogram[c]! * centroids[c * dimensions + d]!;
  mean[dimensions] = 1;
  return Float32Array.from(mean);
}

export function pretrainHypernetwork(context: PretrainContext): Promise<MethodResult> {
  const bank = context.run.config.bank!;
  const embeddings = Array.from({ length: bank.experts }, (_, c) =>
    meanEmbedding(context.clusters!, oneHot(bank.experts, c)),
  );
  return pretrainBank(context, {
    embedding: (cluster) => embeddings[cluster]!,
    vectors: (values) => hostVectors(bank, values, embeddings),
  });
}
