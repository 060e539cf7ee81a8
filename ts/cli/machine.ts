// What the doctor finds without computing: the machine, and what the install script left behind.
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import path from 'node:path';
import { packageRoot } from '../backend/index.js';

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** As 'linux-x64'. */
  readonly platform: string;
  /** As 'glibc 2.36'; null where there is no choice. */
  readonly libc: string | null;
  readonly node: string;
}

export function machine(): Machine {
  const all = cpus();
  return {
    processor: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryBytes: totalmem(),
    platform: `${process.platform}-${process.arch}`,
    libc: libc(),
    node: process.version,
  };
}

function libc(): string | null {
  if (process.platform !== 'linux') return null;
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined ? 'musl' : `glibc ${header.glibcVersionRuntime}`;
}

/** build/install.json, as scripts/install.cjs writes it. */
export interface InstallOutcome {
  readonly ok: boolean;
  readonly seconds?: number;
  /** Why nothing was built. */
  readonly skipped?: string;
  /** Why the build failed, in a line, and the end of its output. */
  readonly reason?: string;
  readonly log?: string;
}

/** Undefined when the install script has not run. */
export function installOutcome(): InstallOutcome | undefined {
  try {
    return JSON.parse(readFileSync(path.join(packageRoot(), 'build/install.json'), 'utf8')) as InstallOutcome;
  } catch {
    return undefined;
  }
}
