// sweetspot build: builds the native addon where it is installed, by the install script on demand.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import type { Command } from 'commander';
import { packageRoot, SweetspotError } from '../../backend/index.js';
import { installOutcome } from '../machine.js';
import { verb } from '../session.js';

interface Flags {
  readonly cuda?: boolean;
}

export function build(program: Command): void {
  const command = program
    .command('build')
    .description('build the native addon on this machine (needs CMake and a C++20 compiler)')
    .option('--cuda', 'also the CUDA kernels (needs nvcc 12 or later)');
  verb<Flags>(command, async (session, { cuda }) => {
    const script = path.join(packageRoot(), 'scripts/install.cjs');
    // With --json, standard output is for one object only.
    const { status } = spawnSync(process.execPath, [script, '--demand', ...(cuda ? ['--cuda'] : [])], {
      stdio: ['ignore', session.json ? 'ignore' : 'inherit', session.json ? 'ignore' : 'inherit'],
    });
    const outcome = installOutcome();
    if (status !== 0 || outcome?.ok !== true) {
      throw new SweetspotError('SWEETSPOT_BACKEND_UNAVAILABLE', {
        what: 'the native addon was not built',
        found: outcome?.reason ?? `the install script ended with ${status}`,
        fix: 'install what is missing and build again; the log is in build/install.json of the package',
      });
    }
    const addon = path.join(packageRoot(), 'build/Release/sweetspot.node');
    const seconds = outcome.seconds ?? 0;
    session.print({ addon, seconds }, [`built ${addon} in ${seconds.toFixed(0)} s; npx sweetspot doctor tests it`]);
  });
}
