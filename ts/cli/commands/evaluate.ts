// sweetspot evaluate: perplexity and bits per byte of a model on texts, or of the experts of a run together.
import { type Command, Option } from 'commander';
import { SweetspotError } from '../../backend/errors.js';
import { ENSEMBLE } from '../../methods/choices.js';
import { type EnsembleResult, evaluateEnsemble } from '../../methods/ensemble.js';
import { type EvaluateResult, evaluate as run } from '../../methods/evaluate.js';
import { figure, percent, short, table } from '../format.js';
import { count } from '../numbers.js';
import { verb } from '../session.js';

interface Flags {
  readonly text: string[];
  readonly expert?: typeof ENSEMBLE;
  readonly domain?: string[];
  readonly experts?: number;
  readonly maxTokens?: number;
  readonly batchTokens?: number;
}

/** Either an ensemble with all it needs, or nothing about one. */
function requireEnsemble({ expert, domain, experts }: Flags): void {
  if (expert === undefined && domain === undefined && experts === undefined) return;
  if (expert !== undefined && domain !== undefined) return;
  throw new SweetspotError('SWEETSPOT_USAGE', {
    what:
      expert === undefined ? '--domain and --experts weigh the experts of a run' : 'no text to weigh the experts by',
    fix: `give --expert ${ENSEMBLE} and --domain together with a run folder`,
  });
}

/** Which experts there are and what they weigh, the heaviest first. */
const membersLine = ({ weights, members }: EnsembleResult): string => {
  const sorted = weights.map((weight, cluster) => ({ weight, cluster })).sort((a, b) => b.weight - a.weight);
  const list = sorted.slice(0, members).map(({ weight, cluster }) => `${cluster} (${percent(weight)})`);
  return `ensemble of the experts ${list.join(', ')}`;
};

export function evaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description('measure how well a model predicts text; several texts are several domains')
    .argument('<model>', 'model folder; with --expert, run folder of pretrain')
    .requiredOption('--text <paths...>', 'files and folders, each a domain')
    .addOption(
      new Option('--expert <choice>', 'the experts of a run together, their predictions averaged').choices([ENSEMBLE]),
    )
    .option('--domain <paths...>', 'with --expert: text of the domain, to weigh the experts by')
    .option('--experts <n>', 'with --expert: experts at most, the nearest ones (default: 4)', count('--experts'))
    .option('--max-tokens <n>', 'tokens of each domain to use at most (default: all)', count('--max-tokens', 2))
    .option(
      '--batch-tokens <n>',
      'tokens computed at once; more takes more memory (default: 4096)',
      count('--batch-tokens'),
    );
  verb<Flags>(command, async (session, flags, folder) => {
    requireEnsemble(flags);
    const { text, maxTokens, batchTokens, domain, experts } = flags;
    const { backend, signal } = session;
    const options = { backend, text, maxTokens, batchTokens, onProgress: session.progress.update, signal };
    const result: EvaluateResult | EnsembleResult =
      domain === undefined
        ? await run({ ...options, model: folder! })
        : await evaluateEnsemble({ ...options, run: folder!, domain, experts });
    const rows = result.domains.map(({ text, tokens, perplexity, bitsPerByte }) => [
      text,
      short(tokens),
      figure(perplexity),
      figure(bitsPerByte),
    ]);
    if (rows.length > 1)
      rows.push(['macro average', '', figure(result.macro.perplexity), figure(result.macro.bitsPerByte)]);
    const lines = table(['text', 'tokens', 'perplexity', 'bits per byte'], rows, ['text']);
    session.print(result, 'members' in result ? [membersLine(result), ...lines] : lines);
  });
}
