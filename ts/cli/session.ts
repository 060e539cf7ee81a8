// What every verb has at hand: the flags that go with any verb, the interrupt, the backend, the progress line, and the one
// place that prints results. A verb is `verb(command, async (session, flags, ...operands) => ...)`; see commands/.
import type { Command } from 'commander';
import { type Backend, type BackendName, openBackend } from '../backend/index.js';
import { quote } from './format.js';
import { interruptSignal } from './interrupt.js';
import { ProgressLine } from './progress.js';

export interface GlobalFlags {
  readonly json?: boolean;
  readonly backend?: 'auto' | BackendName;
  readonly isa?: string;
  readonly threads?: number;
}

export class Session {
  readonly json: boolean;
  readonly flags: GlobalFlags;
  readonly signal: AbortSignal;
  readonly progress: ProgressLine;
  #backend: Backend | undefined;

  constructor(flags: GlobalFlags) {
    this.flags = flags;
    this.json = flags.json === true;
    this.progress = new ProgressLine(!this.json);
    this.signal = interruptSignal(() => {
      this.progress.stop();
      if (!this.json) process.stderr.write('stopping; Ctrl-C again stops at once\n');
    });
  }

  /** The backend of --backend, --isa and --threads, opened at the first call. Throws like `openBackend`. */
  get backend(): Backend {
    this.#backend ??= openBackend(this.flags);
    return this.#backend;
  }

  /** One JSON object, warnings included, or lines for people with the warnings on stderr. */
  print(result: object, lines: readonly string[], warnings: readonly string[] = []): void {
    this.progress.stop();
    if (this.json) {
      process.stdout.write(`${JSON.stringify({ ...result, warnings })}\n`);
      return;
    }
    process.stdout.write(lines.map((line) => `${line}\n`).join(''));
    for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
  }

  async close(): Promise<void> {
    this.progress.stop();
    await this.#backend?.close();
  }
}

/** Gives a command its action: opens a session, runs `body`, closes the session whatever happens. */
export function verb<Flags extends object>(
  command: Command,
  body: (session: Session, flags: Flags, ...operands: string[]) => Promise<void>,
): Command {
  return command.action(async () => {
    const flags = command.optsWithGlobals<Flags & GlobalFlags>();
    const session = new Session(flags);
    try {
      await body(session, flags, ...command.args);
    } finally {
      await session.close();
    }
  });
}

/** The same object without members that are undefined, so that the library's defaults stand. */
export function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const present = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(present) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** A command to type: words that need it are quoted. */
export const typed = (...words: readonly string[]): string => ['npx', 'sweetspot', ...words.map(quote)].join(' ');
