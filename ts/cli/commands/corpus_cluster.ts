// sweetspot corpus cluster: groups the windows of a corpus by what they are about.
import type { Command } from 'commander';
import { type ClusterProgress, clusterCorpus } from '../../data/clusters.js';
import { duration, percent, table } from '../format.js';
import { count } from '../numbers.js';
import type { Work } from '../progress.js';
import { typed, verb } from '../session.js';
import { clusterWarnings } from '../warnings.js';

interface Flags {
  readonly clusters: number;
  readonly context?: number;
  readonly dimensions?: number;
  readonly rounds?: number;
  readonly seed?: number;
}

const STAGES: Readonly<Record<ClusterProgress['stage'], Pick<Work, 'stage' | 'unit'>>> = {
  fit: { stage: 'count terms', unit: 'windows' },
  svd: { stage: 'find topics', unit: 'steps' },
  embed: { stage: 'embed', unit: 'windows' },
  kmeans: { stage: 'k-means', unit: 'steps' },
};

export function corpusCluster(corpus: Command): void {
  const cluster = corpus
    .command('cluster')
    .description('group the windows of a corpus; every method but slm needs it')
    .argument('<corpus>', 'corpus folder')
    .requiredOption(
      '--clusters <n>',
      'number of clusters: 16 or 32 for experts, up to 1024 for importance sampling',
      count('--clusters'),
    )
    .option(
      '--context <n>',
      'tokens of a window: the context of the models to be trained (default: 256)',
      count('--context'),
    )
    .option('--dimensions <n>', 'length of the vector of a window (default: 64)', count('--dimensions'))
    .option('--rounds <n>', 'rounds of k-means at most (default: 20)', count('--rounds'))
    .option('--seed <n>', 'of everything random (default: 0)', count('--seed', 0));
  verb<Flags>(cluster, async (session, flags, folder) => {
    const summary = await clusterCorpus(session.backend, folder!, {
      clusters: flags.clusters,
      contextLength: flags.context,
      dimensions: flags.dimensions,
      rounds: flags.rounds,
      seed: flags.seed,
      signal: session.signal,
      onProgress: ({ stage, done, total }) => session.progress.update({ ...STAGES[stage], done, total }),
    });
    const { sizes, windows, terms, entropy, clusters, seconds } = summary;
    const order = sizes.map((_, c) => c).sort((a, b) => sizes[b]! - sizes[a]!);
    const rows = order.map((c) => [String(c), percent(sizes[c]! / windows), (terms[c] ?? []).join(' ')]);
    const most = Math.log(clusters);
    session.print(
      summary,
      [
        ...table(['cluster', 'share', 'characteristic terms'], rows, ['characteristic terms']),
        `entropy ${entropy.toFixed(2)} of at most ${most.toFixed(2)} nats; ${windows} windows; ${duration(seconds)}`,
        `clusters: ${summary.path}`,
        `next: ${typed('pretrain', '--method', 'projected', '--corpus', folder!, '--clusters', String(clusters), '--tokens', '10M', '--out', 'runs/pn')}`,
      ],
      clusterWarnings(summary),
    );
  });
}
