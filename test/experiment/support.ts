// Text and files of tiny experiments.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { documents } from '../support/topics.js';

export const TOPICS = ['sea', 'law'] as const;

/** A folder with generic text and two domains, removed when the process ends. */
export function workplace(): string {
  const root = mkdtempSync(path.join(tmpdir(), 'sweetspot-experiment-'));
  process.on('exit', () => rmSync(root, { recursive: true, force: true }));
  mkdirSync(path.join(root, 'text'));
  const write = (name: string, text: string) => writeFileSync(path.join(root, 'text', name), text);
  const all = (count: number, seed: number) =>
    ['sea', 'law', 'kitchen'].map((topic) => documents(topic, count, seed)).join('');
  write('generic.jsonl', all(80, 1));
  write('generic.test.jsonl', all(5, 4));
  for (const topic of TOPICS) {
    write(`${topic}.train.jsonl`, documents(topic, 30, 2));
    write(`${topic}.test.jsonl`, documents(topic, 10, 3));
  }
  return root;
}

/** An experiment that takes seconds; paths are relative to the workplace. */
export const tiny = (more: object = {}) => ({
  corpus: { input: 'text/generic.jsonl', test: 'text/generic.test.jsonl', vocabulary: 320, context: 32 },
  domains: TOPICS.map((name) => ({ name, train: `text/${name}.train.jsonl`, test: `text/${name}.test.jsonl` })),
  sizes: [3000],
  seeds: [1],
  models: { small: { hiddenSize: 32, layers: 1, heads: 2, intermediateSize: 64 } },
  pretrain: { tokens: '40k', batchTokens: 1024 },
  finetune: { epochs: 6, tokens: 20_000, batchTokens: 512 },
  systems: [
    { name: 'slm', method: 'slm' },
    { name: 'projected', method: 'projected', clusters: 3, slices: 2 },
  ],
  ...more,
});
