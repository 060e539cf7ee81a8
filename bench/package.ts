// What the package costs a user: node dist/bench/package.js. Packs it, installs it without development dependencies beside the
// platform package of the local build, adds up the files, and times imports in fresh processes. Writes results/package.json.
import { spawnSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { packageRoot } from '../bindings/load.js';

const ROUNDS = 21;
const root = packageRoot();
const place = mkdtempSync(path.join(tmpdir(), 'sweetspot-package-'));

function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

/** Bytes on disk, in blocks as du counts them, by package. */
function sizes(modules: string): Record<string, number> {
  const bytes: Record<string, number> = {};
  for (const name of readdirSync(modules, { recursive: true }) as string[]) {
    const parts = name.split(path.sep);
    const owner = parts.slice(0, parts[0]!.startsWith('@') ? 2 : 1).join('/');
    bytes[owner] = (bytes[owner] ?? 0) + 512 * lstatSync(path.join(modules, name)).blocks;
  }
  return bytes;
}

const quantile = (sorted: readonly number[], q: number) => sorted[Math.round(q * (sorted.length - 1))]!;
const summary = (values: readonly number[]) => {
  const sorted = [...values].sort((a, b) => a - b);
  return { median: quantile(sorted, 0.5), p25: quantile(sorted, 0.25), p75: quantile(sorted, 0.75) };
};

try {
  const tarball = run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', place], root);
  const platform = run(process.execPath, ['scripts/platform-package.mjs', '--out', place], root).split(': ')[0]!;
  const folder = mkdtempSync(path.join(place, 'user-'));
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n');
  const flags = ['--omit=dev', '--prefer-offline', '--no-audit', '--no-fund'];
  run('npm', ['install', ...flags, path.join(place, tarball), platform], folder);
  const script = `const begin = process.cpuUsage();
    const start = performance.now();
    await import('sweetspot');
    const wall = performance.now() - start;
    const { user, system } = process.cpuUsage(begin);
    console.log(JSON.stringify([wall, (user + system) / 1000]));`;
  const times = Array.from(
    { length: ROUNDS },
    () => JSON.parse(run(process.execPath, ['--input-type=module', '-e', script], folder)) as [number, number],
  );
  const packages = sizes(path.join(folder, 'node_modules'));
  const result = {
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version, load: loadavg()[0] },
    tarballBytes: lstatSync(path.join(place, tarball)).size,
    platformTarballBytes: lstatSync(platform).size,
    /** With the addon and every production dependency. */
    installedBytes: Object.values(packages).reduce((sum, one) => sum + one, 0),
    packages: Object.fromEntries(Object.entries(packages).sort(([, a], [, b]) => b - a)),
    /** Milliseconds around `await import('sweetspot')`: by the clock, and of processor time. */
    import: {
      rounds: ROUNDS,
      wall: summary(times.map(([wall]) => wall)),
      processor: summary(times.map(([, cpu]) => cpu)),
    },
  };
  writeFileSync(path.join(root, 'bench/results/package.json'), `${JSON.stringify(result, null, 1)}\n`);
  console.log(
    `installed: ${(result.installedBytes / 1e6).toFixed(1)} MB, packed ${(result.tarballBytes / 1e6).toFixed(2)} MB`,
  );
  const { wall, processor } = result.import;
  console.log(`import: ${wall.median.toFixed(0)} ms (${processor.median.toFixed(0)} ms of processor time)`);
} finally {
  rmSync(place, { recursive: true, force: true });
}
