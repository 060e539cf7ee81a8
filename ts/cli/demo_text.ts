// Text that comes with the package, for `sweetspot demo` and the self-test of the doctor: made-up sentences of a few topics,
// which share a grammar and the small words and differ in the rest.
import { Prng } from '../tensor/prng.js';

interface Topic {
  readonly who: readonly string[];
  readonly did: readonly string[];
  readonly what: readonly string[];
  readonly where: readonly string[];
}

const list = (words: string): string[] => words.split(', ');

const TOPICS = {
  court: {
    who: list('the judge, the clerk, the defendant, counsel for the widow, a witness, the younger juror'),
    did: list('read aloud, objected to, signed, could not recall, dismissed, asked to see'),
    what: list('the verdict, a sealed contract, the second motion, the evidence, the appeal, an old statute'),
    where: list('in the crowded courtroom, before the tribunal, at the end of the hearing, under oath'),
  },
  sea: {
    who: list('the captain, an old sailor, the harbor pilot, the cook of the schooner, a boy from the island'),
    did: list('sighted, hauled in, lost, steered clear of, sang about, mended'),
    what: list('the anchor, a white whale, the torn mainsail, the northern reef, a drifting mast, the tide'),
    where: list('off the cape, in the rising storm, on the third night of the voyage, near the harbor mouth'),
  },
  kitchen: {
    who: list('my aunt, the baker, the new apprentice, our neighbour, the chef, a guest'),
    did: list('stirred, burnt, tasted, poured out, sliced, forgot'),
    what: list('the onion soup, a loaf of rye bread, the melted butter, two lemons, the roast, a pot of beans'),
    where: list('over a low flame, in the copper pan, before breakfast, on the marble table'),
  },
  garden: {
    who: list('the gardener, a blackbird, the children, the widow next door, the bees, her brother'),
    did: list('found, watered, trampled, planted, hid behind, counted'),
    what: list('the tulips, a row of lettuce, the pear tree, the ivy, wild thyme, the first roses'),
    where: list('along the south wall, after the rain, between the beds, at the foot of the hedge'),
  },
} as const satisfies Record<string, Topic>;
export type TopicName = keyof typeof TOPICS;
export const TOPIC_NAMES = Object.keys(TOPICS) as TopicName[];

const WHEN = list('That morning, In the end, Once more, Without a word, As before, Later');
const AND = list('and, but, while, because, until');

/** Documents of a few sentences; equal seeds give equal text. */
export function demoDocuments(topic: TopicName, count: number, seed: string): string[] {
  const random = new Prng(`demo/${topic}/${seed}`);
  const one = (words: readonly string[]) => words[random.int(words.length)]!;
  const { who, did, what, where } = TOPICS[topic];
  const clause = () => `${one(who)} ${one(did)} ${one(what)}`;
  const sentence = () => {
    const head = random.next() < 0.4 ? `${one(WHEN)} ` : '';
    const tail = random.next() < 0.5 ? ` ${one(where)}` : ` ${one(AND)} ${clause()}`;
    const text = `${head}${clause()}${tail}.`;
    return text[0]!.toUpperCase() + text.slice(1);
  };
  return Array.from({ length: count }, () => Array.from({ length: 3 + random.int(5) }, sentence).join(' '));
}
