// Generated text of three topics that share a grammar and no words: clusters of their own, domains of their own.
import { Prng } from '../../ts/tensor/prng.js';

const WORDS: Readonly<Record<string, readonly string[]>> = {
  sea: 'whale ship sail captain harbour storm wave anchor sailor deck'.split(' '),
  law: 'court judge appeal statute clause verdict counsel evidence ruling party'.split(' '),
  kitchen: 'bread oven butter flour spoon recipe onion soup dinner salt'.split(' '),
};

/** Documents of one topic as JSON lines: its words, in a grammar that all topics share. */
export function documents(topic: string, count: number, seed: number): string {
  const random = new Prng(`${topic}/${seed}`);
  const word = () => WORDS[topic]![random.int(10)]!;
  const sentence = () =>
    `The ${word()} of the ${word()} ${random.int(2) === 0 ? 'holds' : 'finds'} a ${word()} and the ${word()}. `;
  const lines = Array.from({ length: count }, () => Array.from({ length: 12 }, sentence).join(''));
  return lines.map((text) => `${JSON.stringify({ text })}\n`).join('');
}
