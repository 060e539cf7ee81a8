// sweetspot evaluate: perplexity and bits per byte of a model on texts.
import type { Command } from 'commander';
import { evaluate as run } from '../../methods/evaluate.js';
import { figure, short, table } from '../format.js';
import { count } from '../numbers.js';
import { verb } from '../session.js';

interface Flags {
  readonly text: string[];
  readonly maxTokens?: number;
  readonly batchTokens?: number;
}

export function evaluate(program: Command): void {
  const command = program
    .command('evaluate')
    .description('measure how well a model predicts text; several texts are several domains')
    .argument('<model>', 'model folder')
    .requiredOption('--text <paths...>', 'files and folders, each a domain')
    .option('--max-tokens <n>', 'tokens of each domain to use at most (default: all)', count('--max-tokens', 2))
    .option(
      '--batch-tokens <n>',
      'tokens computed at once; more takes more memory (default: 4096)',
      count('--batch-tokens'),
    );
  verb<Flags>(command, async (session, flags, model) => {
    const result = await run({
      backend: session.backend,
      model: model!,
      text: flags.text,
      maxTokens: flags.maxTokens,
      batchTokens: flags.batchTokens,
      onProgress: session.progress.update,
      signal: session.signal,
    });
    const rows = result.domains.map(({ text, tokens, perplexity, bitsPerByte }) => [
      text,
      short(tokens),
      figure(perplexity),
      figure(bitsPerByte),
    ]);
    if (rows.length > 1)
      rows.push(['macro average', '', figure(result.macro.perplexity), figure(result.macro.bitsPerByte)]);
    session.print(result, table(['text', 'tokens', 'perplexity', 'bits per byte'], rows, ['text']));
  });
}
