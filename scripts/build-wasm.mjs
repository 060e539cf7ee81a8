// `npm run build:wasm`: compiles assembly/ into the four modules of the WebAssembly backend: with and without threads, with and
// without relaxed SIMD. Without the compiler (an installed package) it has nothing to do: the modules are part of the package.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const folder = path.join(root, 'assembly');
const { default: asc } = await import('assemblyscript/asc');
mkdirSync(path.join(root, 'dist', 'assembly'), { recursive: true });
for (const target of ['simd', 'relaxed', 'simd-threads', 'relaxed-threads']) {
  const { error, stderr } = await asc.main([
    'run.ts',
    '--config',
    'asconfig.json',
    '--target',
    target,
    '--baseDir',
    folder,
  ]);
  if (error) {
    console.error(stderr.toString());
    process.exit(1);
  }
}
