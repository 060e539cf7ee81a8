// The package with the built addon for the platform this runs on: node scripts/platform-package.mjs [--out release] [--addon FILE]
// A folder of its name and a tarball in --out; it is loaded in a process of its own before it is packed. See docs/releasing.md.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const { version: addonVersion } = require('../bindings/version.gen.json');
const { platforms } = require('../bindings/platforms.json');
const { values } = parseArgs({
  options: {
    out: { type: 'string', default: path.join(root, 'release') },
    addon: { type: 'string', default: path.join(root, 'build/Release/sweetspot.node') },
  },
});

function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error ?? stderr}`);
  return stdout;
}

const libc = process.report.getReport().header.glibcVersionRuntime === undefined ? 'musl' : 'glibc';
const platform = platforms.find(
  (one) => one.os === process.platform && one.cpu === process.arch && (one.libc ?? libc) === libc,
);
if (platform === undefined) throw new Error(`${process.platform}-${process.arch} is not in bindings/platforms.json`);
const project = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));

const folder = path.resolve(values.out, platform.package.replace(/^@/, '').replace('/', '-'));
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const addon = path.join(folder, 'sweetspot.node');
copyFileSync(values.addon, addon);
// Names of local symbols: a tenth of the file, and nothing reads them.
if (process.platform === 'linux') run('strip', ['--strip-unneeded', addon]);
const manifest = {
  name: platform.package,
  version: project.version,
  description: `The native addon of sweetspot for ${[platform.os, platform.cpu, platform.libc].filter(Boolean).join(' ')}.`,
  license: project.license,
  main: 'sweetspot.node',
  files: ['sweetspot.node'],
  os: [platform.os],
  cpu: [platform.cpu],
  ...(platform.libc === undefined ? {} : { libc: [platform.libc] }),
  engines: project.engines,
};
writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
writeFileSync(
  path.join(folder, 'README.md'),
  `# ${platform.package}\n\n${manifest.description} npm installs it with [sweetspot](https://www.npmjs.com/package/sweetspot) where it fits; there is nothing to call.\n`,
);

const check = `const addon = require(process.argv[1]);
  if (addon.version !== process.argv[2]) throw new Error('it is of version ' + addon.version + ', not ' + process.argv[2]);
  const device = new addon.Device('cpu', 1, addon.cpuIsas()[0]);
  device.alloc(64);
  device.close();
  console.log(addon.cpuIsas().join(', '));`;
const isas = run(process.execPath, ['-e', check, folder, addonVersion], folder).trim();
const tarball = run('npm', ['pack', '--silent', '--pack-destination', path.resolve(values.out)], folder).trim();
console.log(`${path.join(path.resolve(values.out), tarball)}: loads and runs ${isas}`);
