// Puts the libraries of ts/vendor into the compiled files, each as one module, with their licenses beside. Part of `npm run build:ts`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const out = path.join(root, 'dist/ts/vendor');
const names = readdirSync(path.join(root, 'ts/vendor')).map((file) => path.basename(file, '.ts'));
await build({
  absWorkingDir: root,
  entryPoints: names.map((name) => `ts/vendor/${name}.ts`),
  outdir: out,
  bundle: true,
  minify: true,
  format: 'esm',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  target: 'node20',
});
const require = createRequire(import.meta.url);
const licenses = names.map((name) => {
  const folder = path.dirname(require.resolve(`${name}/package.json`));
  const { version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
  return `${name} ${version}\n\n${readFileSync(path.join(folder, 'LICENSE'), 'utf8').trim()}\n`;
});
writeFileSync(path.join(out, 'LICENSES.txt'), licenses.join(`\n${'-'.repeat(80)}\n\n`));
