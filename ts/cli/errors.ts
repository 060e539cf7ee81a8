// What a failure looks like: on stderr, with its code; with --json as one line of JSON. Exit codes: 2 for a wrong command
// line, 130 for an interrupt, 1 for everything else.
import { CommanderError } from 'commander';
import { SweetspotError } from '../backend/errors.js';
import { INTERRUPTED } from './interrupt.js';

/** Writes the error and gives the exit code. `resume` is what to type after an interrupt to go on. */
export function report(error: unknown, json: boolean, resume: string | undefined): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    const bare = error.code === 'commander.help';
    const message = bare ? 'no command given' : error.message.replace(/^error: /, '');
    const fix = 'see npx sweetspot --help, or --help after the command';
    if (json) writeJson({ code: 'SWEETSPOT_USAGE', message, fix });
    else if (!bare) process.stderr.write(`error SWEETSPOT_USAGE: ${message}\n  to fix: ${fix}\n`);
    return 2;
  }
  if (error instanceof SweetspotError) {
    const { code, expected, found } = error;
    const message = error.message.split('\n')[0]!;
    const aborted = code === 'SWEETSPOT_ABORTED';
    const fix = aborted ? (resume ?? error.fix) : error.fix;
    if (json) writeJson({ code, message, expected, found, fix });
    else if (aborted) process.stderr.write(`${message}\n${fix === undefined ? '' : `to go on: ${fix}\n`}`);
    else process.stderr.write(`error ${code}: ${error.message}\n`);
    if (aborted) return INTERRUPTED;
    return code === 'SWEETSPOT_USAGE' ? 2 : 1;
  }
  const message = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error ? error.stack : undefined;
  if (json) writeJson({ code: 'UNEXPECTED', message, stack });
  else process.stderr.write(`error: this is a bug of sweetspot: ${stack ?? message}\n`);
  return 1;
}

function writeJson(error: Record<string, string | undefined>): void {
  process.stderr.write(`${JSON.stringify({ error })}\n`);
}
