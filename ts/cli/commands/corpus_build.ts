// sweetspot corpus build: text to a corpus folder, with a tokenizer of its own.
import type { Command } from 'commander';
import { buildCorpus } from '../../data/corpus.js';
import type { DataProgress } from '../../data/tokenizer.js';
import { fields, short } from '../format.js';
import { count } from '../numbers.js';
import type { Work } from '../progress.js';
import { typed, verb } from '../session.js';

interface Flags {
  readonly input: string[];
  readonly out: string;
  readonly vocab?: number;
  readonly tokenizer?: string;
  readonly trainBytes?: number;
}

const STAGES: Readonly<Record<DataProgress['stage'], Pick<Work, 'stage' | 'unit'>>> = {
  read: { stage: 'count words', unit: 'bytes' },
  merge: { stage: 'tokenizer', unit: 'tokens' },
  encode: { stage: 'encode', unit: 'bytes' },
};

export function corpusBuild(corpus: Command): void {
  const build = corpus
    .command('build')
    .description('train a tokenizer and store text as tokens')
    .requiredOption(
      '--input <paths...>',
      'files and folders: .txt .md .jsonl, each also with .gz; JSON lines hold {"text": ...}',
    )
    .requiredOption('--out <folder>', 'corpus folder to make')
    .option('--vocab <n>', 'tokens of the new tokenizer (default: 4096)', count('--vocab'))
    .option(
      '--tokenizer <path>',
      'use this tokenizer.json, or that of a corpus or model folder, instead of training one',
    )
    .option('--train-bytes <n>', 'bytes of text the tokenizer is trained on (default: 50M)', count('--train-bytes'));
  verb<Flags>(build, async (session, flags) => {
    const summary = await buildCorpus({
      input: flags.input,
      out: flags.out,
      vocabSize: flags.vocab,
      tokenizer: flags.tokenizer,
      trainBytes: flags.trainBytes,
      signal: session.signal,
      onProgress: ({ stage, done, total }) => session.progress.update({ ...STAGES[stage], done, total }),
    });
    const { documents, tokens, bytes, vocabSize } = summary;
    session.print(summary, [
      ...fields([
        ['corpus', flags.out],
        ['documents', short(documents)],
        ['text', `${short(bytes)} bytes`],
        ['tokens', `${short(tokens)}, ${(bytes / tokens).toFixed(2)} bytes each`],
        ['vocabulary', String(vocabSize)],
      ]),
      `next: ${typed('corpus', 'cluster', flags.out, '--clusters', '16')}`,
    ]);
  });
}
