// The one error type of the library. Every failure a caller can cause or act on is a SweetspotError
// with a stable string `code`; anything else that escapes is a bug of ours.
// To add a kind of failure: add its code here, with a line saying when it is thrown.

/** Stable codes, for `switch (error.code)`. */
export type ErrorCode =
  /** An option or argument is missing, unknown, of the wrong type or out of range. Exit code 2. */
  | 'SWEETSPOT_USAGE'
  /** A text, corpus, model or checkpoint cannot be used as it is: missing, empty, not UTF-8, too short. */
  | 'SWEETSPOT_INPUT'
  /** A file of ours is cut short, altered or not what its name says. */
  | 'SWEETSPOT_CORRUPT'
  /** Two things do not belong together: tokenizer and corpus, checkpoint and configuration. */
  | 'SWEETSPOT_MISMATCH'
  /** An output exists already and would be overwritten. */
  | 'SWEETSPOT_EXISTS'
  /** Another process holds the folder. */
  | 'SWEETSPOT_LOCKED'
  /** The system refused to read or write: no space, no permission. */
  | 'SWEETSPOT_IO'
  /** No backend, or not the one asked for. */
  | 'SWEETSPOT_BACKEND_UNAVAILABLE'
  /** A Program was refused or failed on the device; `op`, `row` and `shapes` say where. */
  | 'SWEETSPOT_PROGRAM'
  /** An engine has as many requests as it takes; the same request may succeed later. HTTP 503. */
  | 'SWEETSPOT_BUSY'
  /** The engine was closed before or while it served the request. HTTP 503. */
  | 'SWEETSPOT_CLOSED'
  /** The caller interrupted the work (AbortSignal, Ctrl-C). What was done is saved where saving is promised. */
  | 'SWEETSPOT_ABORTED';

/** What an error is made of. */
export interface ErrorParts {
  /** One line: what went wrong, naming the file, option or op. */
  readonly what: string;
  /** What would have been right. */
  readonly expected?: string;
  /** What was there instead. */
  readonly found?: string;
  /** What to type or change now. */
  readonly fix?: string;
  readonly cause?: unknown;
}

/** What every failure is that a caller can cause or act on: `switch (error.code)`. The message says all of it, in a few lines. */
export class SweetspotError extends Error {
  /** Always 'SweetspotError'. */
  override readonly name = 'SweetspotError';
  /** Stable, for `switch`. */
  readonly code: ErrorCode;
  /** What would have been right, if there is such a thing. */
  readonly expected: string | undefined;
  /** What was there instead. */
  readonly found: string | undefined;
  /** What to type or change now. */
  readonly fix: string | undefined;

  constructor(code: ErrorCode, parts: ErrorParts) {
    const lines = [parts.what];
    if (parts.expected !== undefined) lines.push(`expected: ${parts.expected}`);
    if (parts.found !== undefined) lines.push(`found: ${parts.found}`);
    if (parts.fix !== undefined) lines.push(`to fix: ${parts.fix}`);
    super(lines.join('\n  '), parts.cause === undefined ? undefined : { cause: parts.cause });
    this.code = code;
    this.expected = parts.expected;
    this.found = parts.found;
    this.fix = parts.fix;
  }
}

/** Wraps a failed system call (ENOSPC, EACCES, ...) so that callers see one type; SweetspotErrors pass through. */
export function ioError(what: string, cause: unknown): SweetspotError {
  if (cause instanceof SweetspotError) return cause;
  const code = (cause as NodeJS.ErrnoException | null)?.code;
  const fixes: Record<string, string> = {
    ENOSPC: 'free some disk space; nothing that existed was changed',
    EACCES: 'check the permissions of the folder',
    EPERM: 'check the permissions of the folder',
    EROFS: 'choose a folder on a writable disk',
    ENOENT: 'check the path',
    ENOTDIR: 'check the path: a part of it is a file',
    EMFILE: 'close other files or raise the limit of open files (ulimit -n)',
  };
  return new SweetspotError(code === 'ENOENT' || code === 'ENOTDIR' ? 'SWEETSPOT_INPUT' : 'SWEETSPOT_IO', {
    what,
    found: cause instanceof Error ? cause.message : String(cause),
    fix: (code !== undefined && fixes[code]) || 'see the system error above',
    cause,
  });
}
