// sweetspot pretrain: a corpus to a run folder, by one of the methods.
import { type Command, Option } from 'commander';
import { SweetspotError } from '../../backend/errors.js';
import { PACKINGS, type Packing } from '../../data/sampler.js';
import { muonOf, PRESET_NAMES, type PresetName } from '../../methods/presets.js';
import { pretrain as run } from '../../methods/pretrain.js';
import { METHODS, type Method, type RunResult } from '../../methods/run.js';
import { SLICE_TYPES, type SliceType } from '../../nn/parameters.js';
import { ADAMW } from '../../optim/adamw.js';
import { SCHEDULE_SHAPES, type ScheduleShape } from '../../optim/schedule.js';
import { BALANCES, type Balance } from '../../train/balance.js';
import { PRECISIONS, type Precision } from '../../train/precision.js';
import { duration, fields, figure, percent, short } from '../format.js';
import { count, list, real } from '../numbers.js';
import { presetHelp } from '../presets.js';
import { given, typed, verb } from '../session.js';
import { pretrainWarnings } from '../warnings.js';

interface Flags {
  readonly method: Method;
  readonly corpus: string;
  readonly tokens: number;
  readonly out: string;
  readonly width?: number;
  readonly layers?: number;
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly ffn?: number;
  readonly context?: number;
  readonly qkNorm?: boolean;
  readonly untied?: boolean;
  readonly logitCap?: number;
  readonly slices?: number;
  readonly expertVector?: number;
  readonly projectedLayers?: number[];
  readonly mlpWidth?: number;
  readonly mixtures?: number;
  readonly support?: number[];
  /** False after --no-shared. */
  readonly shared: boolean;
  readonly sliceType?: SliceType;
  readonly sliceRank?: number;
  readonly bankScale?: number;
  readonly experts?: number;
  readonly topK?: number;
  readonly expertWidth?: number;
  readonly sharedWidth?: number;
  readonly routedLayers?: number[];
  readonly switch?: boolean;
  readonly balance?: Balance;
  readonly clusters?: number;
  readonly domain?: string[];
  readonly domainTokens?: number;
  readonly domainShare?: number;
  readonly domainHeldout?: number;
  readonly shrink?: number;
  readonly repeatCap?: number;
  readonly singleCluster?: boolean;
  readonly trunkShare?: number;
  readonly preset?: PresetName;
  readonly batchTokens?: number;
  readonly packing?: Packing;
  readonly learningRate?: number;
  readonly warmup?: number;
  readonly optimizer?: 'adamw' | 'muon';
  readonly schedule?: ScheduleShape;
  readonly zeroOutputs?: boolean;
  readonly from?: string;
  readonly weightDecay?: number;
  readonly clip?: number;
  readonly precision?: Precision;
  readonly seed?: number;
}

const BANKS: readonly Method[] = ['projected', 'soup', 'hypernetwork'];

/** Flags that only some methods read. A flag without effect is a mistake worth naming. */
const ONLY: readonly (readonly [flag: string, name: keyof Flags, methods: readonly Method[]])[] = [
  ['--slices', 'slices', BANKS],
  ['--expert-vector', 'expertVector', BANKS],
  ['--projected-layers', 'projectedLayers', BANKS],
  ['--slice-type', 'sliceType', BANKS],
  ['--slice-rank', 'sliceRank', BANKS],
  ['--bank-scale', 'bankScale', BANKS],
  ['--mlp-width', 'mlpWidth', ['soup', 'hypernetwork']],
  ['--mixtures', 'mixtures', ['soup']],
  ['--support', 'support', ['soup']],
  ['--trunk-share', 'trunkShare', ['mixture', ...BANKS]],
  ['--experts', 'experts', ['routed']],
  ['--top-k', 'topK', ['routed']],
  ['--expert-width', 'expertWidth', ['routed']],
  ['--shared-width', 'sharedWidth', ['routed']],
  ['--routed-layers', 'routedLayers', ['routed']],
  ['--switch', 'switch', ['routed']],
  ['--balance', 'balance', ['routed']],
  ['--domain', 'domain', ['importance', 'slm']],
  ['--domain-tokens', 'domainTokens', ['importance', 'slm']],
  ['--domain-share', 'domainShare', ['slm']],
  ['--domain-heldout', 'domainHeldout', ['slm']],
  ['--shrink', 'shrink', ['importance']],
  ['--repeat-cap', 'repeatCap', ['importance']],
  ['--single-cluster', 'singleCluster', ['importance']],
  ['--clusters', 'clusters', ['importance', 'mixture', ...BANKS]],
];

function requireUsed(flags: Flags): void {
  const useless = ONLY.find(([, name, methods]) => flags[name] !== undefined && !methods.includes(flags.method));
  const [flag, , methods] =
    useless ?? (!flags.shared && !BANKS.includes(flags.method) ? ['--no-shared', '', BANKS] : []);
  if (flag === undefined) return;
  throw new SweetspotError('SWEETSPOT_USAGE', {
    what: `${flag} has no effect with --method ${flags.method}`,
    expected: `--method ${methods!.join(' or ')}`,
    fix: `leave ${flag} out, or choose that method`,
  });
}

/** How tokens were spread over routed experts. */
function routingFields({ experts, loadEntropy, largestLoad, deadExperts }: RunResult['facts']): [string, string][] {
  if (experts === undefined || loadEntropy === undefined) return [];
  const even = `entropy ${loadEntropy.toFixed(2)} of at most ${Math.log(experts).toFixed(2)} nats`;
  const rest = `largest ${largestLoad!.toFixed(1)} times the mean, ${percent(deadExperts!)} of experts dead`;
  return [['load of experts', `${even}, ${rest}`]];
}

export function pretrain(program: Command): void {
  const command = program
    .command('pretrain')
    .description('train on the generic corpus; the same command again goes on after an interrupt')
    .addOption(new Option('--method <name>', 'how').choices(METHODS).makeOptionMandatory())
    .requiredOption('--corpus <folder>', 'corpus folder; clustered for every method but slm and routed')
    .requiredOption('--tokens <n>', 'pretraining tokens, like 10M', count('--tokens'))
    .requiredOption('--out <folder>', 'run folder to make, or to go on with')
    .optionsGroup('Model:')
    .option('--width <n>', 'width of the model, a multiple of 16 (default: 64)', count('--width'))
    .option('--layers <n>', 'layers (default: 4)', count('--layers'))
    .option('--heads <n>', 'attention heads (default: 4)', count('--heads'))
    .option('--kv-heads <n>', 'key and value heads (default: as many as --heads)', count('--kv-heads'))
    .option('--ffn <n>', 'feed-forward width (default: 8/3 of the width, a multiple of 16)', count('--ffn'))
    .option('--context <n>', 'tokens of a window (default: 256)', count('--context'))
    .option('--qk-norm', 'RMS norm on queries and keys: the Qwen3 layout (default: no, the Llama layout)')
    .option('--untied', 'output matrix of its own (default: shared with the embedding)')
    .option(
      '--logit-cap <x>',
      'soft cap of the logits, like 30; only sweetspot reads such a model (default: 0, none)',
      real('--logit-cap'),
    )
    .optionsGroup('Clusters and experts:')
    .option('--clusters <n>', 'which clustering of the corpus (default: 16)', count('--clusters'))
    .option(
      '--slices <n>',
      'projected, soup, hypernetwork: slices of the bank, its capacity (default: 16)',
      count('--slices'),
    )
    .option(
      '--expert-vector <n>',
      "the same: length of an expert's vector (default: as many as --slices)",
      count('--expert-vector'),
    )
    .option(
      '--projected-layers <list>',
      'the same: layers with a bank, like 0,1,2 (default: all)',
      list('--projected-layers'),
    )
    .option('--no-shared', 'the same: no shared slice, the form of the paper (default: with one)')
    .addOption(
      new Option(
        '--slice-type <name>',
        'the same: how slices are kept; bf16 takes half the memory and less time (default: f32)',
      ).choices(SLICE_TYPES),
    )
    .option(
      '--slice-rank <n>',
      'the same: slices are products of two factors of this rank (default: 0, dense)',
      count('--slice-rank', 0),
    )
    .option(
      '--bank-scale <x>',
      `the same: learning rate of slices and coefficients as a multiple of the rest's (default: ${ADAMW.bankScale})`,
      real('--bank-scale'),
    )
    .option('--mlp-width <n>', 'soup, hypernetwork: hidden width of the MLP (default: 64)', count('--mlp-width'))
    .option('--mixtures <n>', 'soup: histograms drawn for a step (default: 4)', count('--mixtures'))
    .option(
      '--support <list>',
      'soup: clusters in a histogram, each size as likely (default: 1,2,4,8)',
      list('--support'),
    )
    .option(
      '--trunk-share <x>',
      'mixture: share of the tokens for the common trunk (default: 0.5); banks: for the plain model they grow from (default: 0)',
      real('--trunk-share'),
    )
    .option('--experts <n>', 'routed: experts of a layer (default: 8)', count('--experts'))
    .option('--top-k <n>', 'routed: experts of a token (default: 2, 1 with --switch)', count('--top-k'))
    .option(
      '--expert-width <n>',
      'routed: feed-forward width of one expert, a multiple of 16 (default: --ffn over --top-k, so that a token costs the same)',
      count('--expert-width'),
    )
    .option(
      '--shared-width <n>',
      'routed: width of an expert that every token passes (default: none)',
      count('--shared-width', 0),
    )
    .option('--routed-layers <list>', 'routed: layers with experts, like 1,3 (default: all)', list('--routed-layers'))
    .option('--switch', 'routed: weights of the softmax over all experts (default: over those chosen, as Mixtral)')
    .addOption(
      new Option(
        '--balance <kind>',
        'routed: what keeps loads even: a loss, a bias of the choice, or nothing (default: loss)',
      ).choices(BALANCES),
    )
    .option('--domain <paths...>', 'importance: text of the domain; slm: with --domain-share')
    .option(
      '--domain-share <x>',
      'slm: probability of a row of domain text from the start (default: 0)',
      real('--domain-share'),
    )
    .option(
      '--domain-heldout <x>',
      'the same: share of its documents to leave out, those that specialize holds out with the same --heldout (default: 0)',
      real('--domain-heldout'),
    )
    .option(
      '--repeat-cap <x>',
      "importance: passes over any cluster's text at most (default: no limit)",
      real('--repeat-cap'),
    )
    .option('--single-cluster', "importance: the domain's most frequent cluster alone (default: its histogram)")
    .option(
      '--domain-tokens <n>',
      'importance: tokens of the domain to use at most (default: all)',
      count('--domain-tokens'),
    )
    .option(
      '--shrink <x>',
      'importance: share of the generic histogram in the sampled one (default: 0)',
      real('--shrink'),
    )
    .optionsGroup('Training:')
    .addOption(
      new Option(
        '--preset <name>',
        'a recipe, see below; what is given beside it wins (default: none, the defaults here)',
      ).choices(PRESET_NAMES),
    )
    .option('--batch-tokens <n>', 'tokens a step (default: 4096)', count('--batch-tokens'))
    .addOption(
      new Option(
        '--packing <name>',
        'how windows fill rows: as they come, or the longest that fits, so that less is cut off (default: stream)',
      ).choices(PACKINGS),
    )
    .option(
      '--learning-rate <x>',
      'peak learning rate (default: 0.008 at width 64, falling as the root of the width)',
      real('--learning-rate'),
    )
    .option(
      '--warmup <n>',
      'steps of warm-up at most, never more than a twentieth of all (default: 200)',
      count('--warmup', 0),
    )
    .addOption(
      new Option(
        '--optimizer <name>',
        'of the matrices inside the layers; the rest has AdamW (default: adamw)',
      ).choices(['adamw', 'muon']),
    )
    .addOption(
      new Option('--schedule <name>', 'how the learning rate falls after its peak (default: cosine)').choices(
        SCHEDULE_SHAPES,
      ),
    )
    .option('--from <run>', 'finished run with --schedule wsd and fewer tokens: go on from the end of its plateau')
    .option('--zero-outputs', 'projections into the residual stream start at zero (default: small)')
    .option('--weight-decay <x>', 'of matrices (default: 0.1)', real('--weight-decay'))
    .option(
      '--clip <x>',
      'gradient norm above which gradients are scaled down, 0 for never (default: 1)',
      real('--clip'),
    )
    .addOption(
      new Option(
        '--precision <name>',
        'factors of matrix products in training (default: bf16 where the processor has instructions for it; a run goes on in its own)',
      ).choices(PRECISIONS),
    )
    .option('--seed <n>', 'of everything random (default: 0)', count('--seed', 0))
    .addHelpText('after', presetHelp);
  // Only a preset makes these worth saying.
  for (const name of ['--no-qk-norm', '--no-untied', '--no-zero-outputs'])
    command.addOption(new Option(name).hideHelp());
  verb<Flags>(command, async (session, flags) => {
    requireUsed(flags);
    const result = await run({
      backend: session.backend,
      method: flags.method,
      corpus: flags.corpus,
      tokens: flags.tokens,
      out: flags.out,
      model: given({
        hiddenSize: flags.width,
        layers: flags.layers,
        heads: flags.heads,
        kvHeads: flags.kvHeads,
        intermediateSize: flags.ffn,
        contextLength: flags.context,
        qkNorm: flags.qkNorm,
        tieEmbeddings: flags.untied === undefined ? undefined : !flags.untied,
        logitCap: flags.logitCap,
      }),
      bank: given({
        slices: flags.slices,
        expertVector: flags.expertVector,
        projectedLayers: flags.projectedLayers,
        mlpWidth: flags.mlpWidth,
        shared: flags.shared,
        sliceType: flags.sliceType,
        sliceRank: flags.sliceRank,
      }),
      moe: given({
        experts: flags.experts,
        topK: flags.topK ?? (flags.switch ? 1 : undefined),
        width: flags.expertWidth,
        sharedWidth: flags.sharedWidth,
        layers: flags.routedLayers,
        normalize: flags.switch ? false : undefined,
      }),
      balance: given({ kind: flags.balance }),
      mixtures: given({ count: flags.mixtures, support: flags.support }),
      clusters: flags.clusters,
      domain: flags.domain,
      domainTokens: flags.domainTokens,
      domainShare: flags.domainShare,
      domainHeldout: flags.domainHeldout,
      shrink: flags.shrink,
      repeatCap: flags.repeatCap,
      singleCluster: flags.singleCluster,
      trunkShare: flags.trunkShare,
      preset: flags.preset,
      batchTokens: flags.batchTokens,
      packing: flags.packing,
      learningRate: flags.learningRate,
      warmup: flags.warmup,
      schedule: flags.schedule,
      zeroOutputs: flags.zeroOutputs,
      from: flags.from,
      muon: muonOf(flags.optimizer),
      adamw: given({ weightDecay: flags.weightDecay, clip: flags.clip, bankScale: flags.bankScale }),
      precision: flags.precision,
      seed: flags.seed,
      onProgress: session.progress.update,
      signal: session.signal,
    });
    const { largestRepeat, coefficientSpread, activeParameters } = result.facts;
    session.print(
      { out: flags.out, ...result },
      [
        ...fields([
          ['run', flags.out],
          [
            'parameters',
            `${short(result.pretrainParameters)} in pretraining, ${short(result.inferenceParameters)} in the model served${
              activeParameters === undefined ? '' : `, ${short(activeParameters)} of them for a token`
            }`,
          ],
          ['tokens', `${short(result.tokens)} in ${duration(result.seconds)} (${short(result.flops)} FLOPs)`],
          ['training loss', `${figure(result.loss)} (perplexity ${figure(Math.exp(result.loss))})`],
          ...(largestRepeat === undefined ? [] : [['largest repeat', `${largestRepeat.toFixed(2)} times`] as const]),
          ...routingFields(result.facts),
          ...(coefficientSpread === undefined ? [] : [['spread of experts', percent(coefficientSpread)] as const]),
        ]),
        `next: ${typed('specialize', flags.out, '--domain', 'my-docs/', '--out', 'models/mine')}`,
      ],
      pretrainWarnings(result),
    );
  });
}
