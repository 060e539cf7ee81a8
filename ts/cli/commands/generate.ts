// sweetspot generate: continues a prompt, printed as it is written.
import type { Command } from 'commander';
import { DenseModel } from '../../models/dense.js';
import { generate as run } from '../../serve/generate.js';
import { count, real } from '../numbers.js';
import { verb } from '../session.js';

interface Flags {
  readonly prompt: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly stop?: string[];
  readonly seed?: number;
}

export function generate(program: Command): void {
  const command = program
    .command('generate')
    .description('continue a text')
    .argument('<model>', 'model folder')
    .requiredOption('--prompt <text>', 'how the text begins; may be empty')
    .option('--max-tokens <n>', 'tokens to write at most (default: 200)', count('--max-tokens'))
    .option('--temperature <x>', '0 takes the most likely token each time (default: 0.8)', real('--temperature'))
    .option('--top-k <n>', 'choose among so many tokens, 0 for all (default: 40)', count('--top-k', 0))
    .option(
      '--top-p <x>',
      'choose among the likeliest tokens with this share of probability (default: 1, all)',
      real('--top-p'),
    )
    .option('--stop <texts...>', 'texts that end it')
    .option('--seed <n>', 'equal seeds give equal text (default: another one each time)', count('--seed', 0));
  verb<Flags>(command, async (session, flags, folder) => {
    const model = DenseModel.load(session.backend, folder!);
    try {
      const { prompt, maxTokens, temperature, topK, topP, stop, seed } = flags;
      const pieces = run(model, prompt, { maxTokens, temperature, topK, topP, stop, seed, signal: session.signal });
      let text = '';
      let begun = false;
      for await (const piece of pieces) {
        text += piece;
        if (!session.json) process.stdout.write(begun ? piece : `${prompt}${piece}`);
        begun = true;
      }
      session.print({ model: folder, prompt, text }, [begun ? '' : prompt]);
    } finally {
      model.dispose();
    }
  });
}
