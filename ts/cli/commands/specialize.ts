// sweetspot specialize: a run and the text of a domain to a model folder.
import { type Command, Option } from 'commander';
import { EXPERT_CHOICES, type ExpertChoice } from '../../methods/choices.js';
import { specialize as run } from '../../methods/specialize.js';
import { PRECISIONS, type Precision } from '../../train/precision.js';
import { duration, fields, figure, percent, short } from '../format.js';
import { count, real } from '../numbers.js';
import { given, typed, verb } from '../session.js';
import { specializeWarnings } from '../warnings.js';

interface Flags {
  readonly domain: string[];
  readonly out: string;
  readonly maxTokens?: number;
  readonly expert?: ExpertChoice;
  readonly fromScratch?: boolean;
  readonly steps?: number;
  readonly epochs?: number;
  readonly learningRate?: number;
  readonly batchTokens?: number;
  readonly heldout?: number;
  readonly loraRank?: number;
  readonly loraAlpha?: number;
  readonly replay?: string;
  readonly replayShare?: number;
  readonly teacher?: string;
  readonly teacherWeight?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly weightDecay?: number;
  readonly clip?: number;
  readonly precision?: Precision;
  readonly seed?: number;
}

export function specialize(program: Command): void {
  const command = program
    .command('specialize')
    .description('make the model of a domain; the same command again goes on after an interrupt')
    .argument('<run>', 'run folder of pretrain')
    .requiredOption('--domain <paths...>', 'text of the domain: files and folders')
    .requiredOption('--out <folder>', 'model folder to make')
    .option('--max-tokens <n>', 'tokens of the domain to use at most (default: all)', count('--max-tokens'))
    .addOption(
      new Option(
        '--expert <choice>',
        'which experts to start from (default: histogram, all of them mixed as the domain is)',
      )
        .choices(EXPERT_CHOICES)
        // The library refuses others, and says what the ensemble is for.
        .argParser(String),
    )
    .option('--from-scratch', 'start from random weights: the model that knows only the domain (default: no)')
    .option('--epochs <x>', 'passes over the text at most (default: 10)', real('--epochs'))
    .option('--steps <n>', 'fine-tuning steps at most, instead of --epochs; 0 for none', count('--steps', 0))
    .option('--heldout <x>', 'share of the documents held out for early stopping (default: 0.1)', real('--heldout'))
    .option('--batch-tokens <n>', "tokens a step (default: half of pretraining's)", count('--batch-tokens'))
    .option('--learning-rate <x>', "peak learning rate (default: a third of pretraining's)", real('--learning-rate'))
    .option('--lora-rank <n>', 'train low-rank adapters of this rank instead of all parameters', count('--lora-rank'))
    .option('--lora-alpha <x>', 'their scale, alpha / rank (default: twice the rank)', real('--lora-alpha'))
    .option('--replay <corpus>', 'mix in rows of generic text from this corpus folder')
    .option('--replay-share <x>', 'probability of such a row (default: 0.01)', real('--replay-share'))
    .option(
      '--teacher <folder>',
      'model folder of a larger model with the same tokenizer, to learn from beside the text',
    )
    .option('--teacher-weight <x>', 'its share of the loss (default: 0.5)', real('--teacher-weight'))
    .option('--temperature <x>', 'at which its tokens are compared (default: 2)', real('--temperature'))
    .option('--top-k <n>', 'tokens of it kept for each place; the rest is one bucket (default: 16)', count('--top-k'))
    .option('--weight-decay <x>', 'of matrices (default: as in pretraining)', real('--weight-decay'))
    .option(
      '--clip <x>',
      'gradient norm above which gradients are scaled down (default: as in pretraining)',
      real('--clip'),
    )
    .addOption(
      new Option('--precision <name>', "factors of matrix products in training (default: pretraining's)").choices(
        PRECISIONS,
      ),
    )
    .option('--seed <n>', "of everything random (default: pretraining's)", count('--seed', 0));
  verb<Flags>(command, async (session, flags, folder) => {
    const { backend } = session;
    const result = await run({
      backend,
      run: folder!,
      domain: flags.domain,
      out: flags.out,
      maxTokens: flags.maxTokens,
      expert: flags.expert,
      fromScratch: flags.fromScratch,
      replay: flags.replay === undefined ? undefined : { corpus: flags.replay, share: flags.replayShare },
      teacher: flags.teacher,
      distillation: given({ weight: flags.teacherWeight, temperature: flags.temperature, topK: flags.topK }),
      lora:
        flags.loraRank === undefined && flags.loraAlpha === undefined
          ? undefined
          : given({ rank: flags.loraRank, alpha: flags.loraAlpha }),
      steps: flags.steps,
      epochs: flags.epochs,
      learningRate: flags.learningRate,
      batchTokens: flags.batchTokens,
      heldout: flags.heldout,
      adamw: given({ weightDecay: flags.weightDecay, clip: flags.clip }),
      precision: flags.precision,
      seed: flags.seed,
      onProgress: session.progress.update,
      signal: session.signal,
    });
    const { before, after, histogram, entropy, cluster } = result;
    const covered = result.coverage ?? undefined;
    session.print(
      result,
      [
        ...fields([
          ['model', flags.out],
          ['domain', `${short(result.domainTokens)} tokens, ${before.documents} of its documents held out`],
          ...(cluster === null
            ? []
            : [
                [
                  'cluster',
                  `${cluster}, ${percent(histogram[cluster]!)} of the domain; entropy ${entropy.toFixed(2)} nats`,
                ] as const,
                ['covered', `${percent(covered!)} by generic text`] as const,
              ]),
          ['fine-tuning', `${result.steps} steps in ${duration(result.seconds)}, best at step ${result.bestStep}`],
          ['perplexity', `${figure(before.perplexity)} before, ${figure(after.perplexity)} after, on held-out text`],
          ['bits per byte', `${figure(before.bitsPerByte)} before, ${figure(after.bitsPerByte)} after`],
        ]),
        `next: ${typed('evaluate', flags.out, '--text', 'heldout.jsonl')}`,
        `      ${typed('generate', flags.out, '--prompt', 'The')}`,
      ],
      specializeWarnings(result, flags.expert ?? 'histogram', covered),
    );
  });
}
