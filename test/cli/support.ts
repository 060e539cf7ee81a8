// Runs the real command line as a child process, on text that is made here: sentences of two topics.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Prng } from '../../ts/tensor/prng.js';

export const MAIN = fileURLToPath(new URL('../../ts/cli/main.js', import.meta.url));

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the command line; `done` resolves when it has ended and its output is complete. */
export function start(args: readonly string[], cwd: string): { child: ChildProcess; done: Promise<Outcome> } {
  return follow(spawn(process.execPath, [MAIN, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] }));
}

/** The same through a shell: `script` may use "$@" for node, the command line and `args`. */
export const shell = (script: string, args: readonly string[], cwd: string): Promise<Outcome> =>
  follow(
    spawn('bash', ['-c', script, 'bash', process.execPath, MAIN, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] }),
  ).done;

function follow(child: ChildProcess): { child: ChildProcess; done: Promise<Outcome> } {
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
    });
  }
  const done = new Promise<Outcome>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...text }));
  });
  return { child, done };
}

export const cli = (args: readonly string[], cwd: string): Promise<Outcome> => start(args, cwd).done;

/** Runs with --json, expects success and nothing but one JSON object on stdout. */
export async function json<T = Record<string, unknown>>(args: readonly string[], cwd: string): Promise<T> {
  const { code, stdout, stderr } = await cli([...args, '--json'], cwd);
  if (code !== 0) throw new Error(`sweetspot ${args.join(' ')} ended with ${code}: ${stderr}`);
  if (stderr !== '') throw new Error(`sweetspot ${args.join(' ')} wrote to stderr: ${stderr}`);
  if (!stdout.endsWith('}\n') || stdout.indexOf('\n') !== stdout.length - 1) throw new Error(`not one line: ${stdout}`);
  return JSON.parse(stdout) as T;
}

/** A folder that is removed when the process ends. */
export function workplace(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sweetspot-cli-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Every path under a folder with a hash of what it holds, to see that nothing changed. */
export function snapshot(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(folder, { recursive: true }) as string[]) {
    const path = join(folder, name);
    found[name] = lstatSync(path).isFile() ? createHash('sha256').update(readFileSync(path)).digest('hex') : 'folder';
  }
  return found;
}

const TOPICS = {
  law: 'court judge appeal statute plaintiff verdict counsel evidence clause contract motion ruling defendant tribunal',
  sea: 'whale harbor sailor anchor storm captain deck voyage island current reef compass mast tide',
} as const;
const COMMON = 'the a of and to in that was it with for on as by before after many some every old new small'.split(' ');

/** `count` documents of one topic, a few sentences each. */
export function documents(topic: keyof typeof TOPICS, count: number, seed: string): string[] {
  const random = new Prng(`${topic}/${seed}`);
  const words = TOPICS[topic].split(' ');
  const word = () => (random.next() < 0.5 ? words[random.int(words.length)]! : COMMON[random.int(COMMON.length)]!);
  const sentence = () => `${Array.from({ length: 5 + random.int(8) }, word).join(' ')}.`;
  return Array.from({ length: count }, () => Array.from({ length: 2 + random.int(5) }, sentence).join(' '));
}

export const jsonLines = (texts: readonly string[]): string =>
  texts.map((text) => `${JSON.stringify({ text })}\n`).join('');

/** Flags of a model that trains in a moment. */
export const TINY = ['--width', '16', '--layers', '2', '--heads', '2', '--context', '32', '--batch-tokens', '256'];
