// The package `sweetspot` as it is published: node scripts/main-package.mjs [--out release] [--platforms linux-x64-glibc,...]
// What `npm pack` gives, with the platform packages that are published as optional dependencies of the same version. They
// stand in no package.json of the checkout: an install there would ask the registry for packages that do not exist yet.
// Without --platforms: those whose folders lie in --out. See docs/releasing.md.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const { platforms } = createRequire(import.meta.url)('../bindings/platforms.json');
const { values } = parseArgs({
  options: { out: { type: 'string', default: path.join(root, 'release') }, platforms: { type: 'string' } },
});
const out = path.resolve(values.out);
mkdirSync(out, { recursive: true });

function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error ?? stderr}`);
  return stdout.trim().split('\n').at(-1);
}

const short = (name) => name.slice(name.indexOf('/') + 1);
const asked = values.platforms?.split(',').filter((name) => name !== '');
for (const name of asked ?? []) {
  if (!platforms.some((one) => short(one.package) === name))
    throw new Error(`${name} is not in bindings/platforms.json`);
}
const chosen = platforms
  .map((one) => one.package)
  .filter((name) => asked?.includes(short(name)) ?? existsSync(path.join(out, name.slice(1).replace('/', '-'))));

const place = mkdtempSync(path.join(tmpdir(), 'sweetspot-release-'));
try {
  // What is packed is what lies in dist/: whoever calls has built it.
  const plain = run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', place], root);
  run('tar', ['xzf', plain], place);
  const file = path.join(place, 'package/package.json');
  const manifest = JSON.parse(readFileSync(file, 'utf8'));
  if (chosen.length > 0) {
    manifest.optionalDependencies = Object.fromEntries(chosen.map((name) => [name, manifest.version]));
  }
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
  const tarball = run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', out], path.dirname(file));
  console.log(`${path.join(out, tarball)}: with ${chosen.join(', ') || 'no platform package'}`);
} finally {
  rmSync(place, { recursive: true, force: true });
}
