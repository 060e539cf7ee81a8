// The package as a user gets it: packed, installed by npm into an empty folder, run by its own bin.
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { packageRoot } from '../../ts/backend/index.js';

export const root = packageRoot();
export const place = mkdtempSync(path.join(tmpdir(), 'sweetspot-package-'));
process.on('exit', () => rmSync(place, { recursive: true, force: true }));

/** What tests of this project set for themselves; a user has none of it. */
const clean = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(SWEETSPOT_|npm_|NODE_OPTIONS$)/.test(name)),
);

export type Outcome = Pick<SpawnSyncReturns<string>, 'status' | 'stdout' | 'stderr'>;

export function run(command: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Outcome {
  return spawnSync(command, args, { cwd, encoding: 'utf8', env: { ...clean, ...env }, maxBuffer: 1 << 26 });
}

function must(outcome: Outcome, what: string): string {
  if (outcome.status !== 0) throw new Error(`${what} failed: ${outcome.stdout}${outcome.stderr}`);
  return outcome.stdout.trim();
}

/** npm's own file, so that it can be run where PATH holds next to nothing. */
const npm = (() => {
  const found = (process.env['PATH'] ?? '').split(path.delimiter).map((folder) => path.join(folder, 'npm'));
  return realpathSync(found.find((file) => lstatSync(file, { throwIfNoEntry: false }) !== undefined)!);
})();

/** A tarball of the checkout; dist/ is built already, by what compiled this file. */
export function pack(): string {
  const args = [npm, 'pack', '--silent', '--ignore-scripts', '--pack-destination', place];
  return path.join(
    place,
    must(run(process.execPath, args, root), 'npm pack')
      .split('\n')
      .at(-1)!,
  );
}

/** A tarball of the platform package, out of the local build. */
export function packPlatform(): string {
  const out = path.join(place, 'release');
  const script = path.join(root, 'scripts/platform-package.mjs');
  return must(run(process.execPath, [script, '--out', out], root), 'platform-package').split(': ')[0]!;
}

/** Installs into a new folder as a user does. `path`: the only folder on PATH. */
export function install(
  name: string,
  tarballs: readonly string[],
  options: { readonly flags?: readonly string[]; readonly env?: NodeJS.ProcessEnv } = {},
): { folder: string; log: string } {
  const folder = path.join(place, name);
  mkdirSync(folder);
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--omit=dev', ...(options.flags ?? [])];
  const outcome = run(process.execPath, [npm, 'install', ...flags, ...tarballs], folder, options.env);
  must(outcome, `npm install into ${name}`);
  return { folder, log: outcome.stdout + outcome.stderr };
}

/** A folder for PATH with node and a shell, and neither compiler nor CMake. */
export function barePath(): string {
  const folder = path.join(place, 'bin');
  mkdirSync(folder);
  symlinkSync(process.execPath, path.join(folder, 'node'));
  for (const name of ['sh', 'env']) {
    const from = ['/bin', '/usr/bin']
      .map((one) => path.join(one, name))
      .find((file) => lstatSync(file, { throwIfNoEntry: false }));
    symlinkSync(from!, path.join(folder, name));
  }
  return folder;
}

/** The command line of an installed package, by its bin. */
export function sweetspot(folder: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Outcome {
  return run(process.execPath, [path.join(folder, 'node_modules/.bin/sweetspot'), ...args], folder, env);
}

/** Bytes that files below a folder take on disk. */
export function diskBytes(folder: string): number {
  let bytes = 0;
  for (const name of readdirSync(folder, { recursive: true }) as string[])
    bytes += 512 * lstatSync(path.join(folder, name)).blocks;
  return bytes;
}
