// `npm run build:page`: examples/page as one file, dist/page/index.html, with the library, the WebAssembly modules and the text of
// its threads inside. It loads nothing, so it works from a disk as from a server.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';
import { polyfillNode } from 'esbuild-plugin-polyfill-node';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const source = path.join(root, 'examples', 'page');

/** Files lie in memory: memfs under the names of node:fs. */
const calls = Object.keys(fs).filter((name) => /(Sync|Stream)$/.test(name));
const promises = Object.keys(fs.promises).filter((name) => typeof fs.promises[name] === 'function');
const named = (object, names) => `import { fs } from 'memfs'; export const { ${names.join(', ')} } = ${object};`;

/** What the page has in place of modules that make no sense in it, and what polyfills lack. */
const BESIDE = {
  'node:buffer': "export * from 'buffer'; export const constants = { MAX_STRING_LENGTH: 2 ** 29 - 24 };",
  'node:fs': named('fs', calls),
  'node:fs/promises': named('fs.promises', promises),
  // Compressed text is read from files, and there are none.
  'node:zlib': "export const createGunzip = () => { throw new Error('there is no gzip in a page'); };",
};
const node = {
  name: 'node',
  setup(build) {
    build.onResolve({ filter: /^node:(buffer|fs|fs\/promises|zlib)$/ }, ({ path: name }) => ({
      path: name,
      namespace: 'beside',
    }));
    build.onLoad({ filter: /.*/, namespace: 'beside' }, ({ path: name }) => ({
      contents: BESIDE[name],
      resolveDir: root,
    }));
    build.onResolve({ filter: /^node:crypto$/ }, () => ({ path: path.join(source, 'crypto.ts') }));
    // The choice among the backends of Node: the page has its own (backend.ts). Methods take errors from there.
    build.onResolve({ filter: /backend\/index\.js$/ }, () => ({ path: path.join(root, 'ts', 'backend', 'errors.ts') }));
  },
};

const common = { bundle: true, minify: true, format: 'iife', platform: 'browser', target: 'es2022', write: false };

async function bundle(file, options) {
  const { outputFiles } = await esbuild.build({ ...common, entryPoints: [path.join(source, file)], ...options });
  return outputFiles[0].text;
}

const modules = Object.fromEntries(
  ['simd', 'relaxed', 'simd-threads', 'relaxed-threads'].map((name) => [
    name,
    fs.readFileSync(path.join(root, 'dist', 'assembly', `${name}.wasm`)).toString('base64'),
  ]),
);
const parts = { modules, thread: await bundle('thread.ts') };
const script = await bundle('page.ts', {
  define: { PARTS: JSON.stringify(parts) },
  plugins: [
    node,
    polyfillNode({
      globals: { buffer: true, process: true },
      polyfills: { fs: false, crypto: false, zlib: false },
    }),
  ],
});
const html = fs
  .readFileSync(path.join(source, 'index.html'), 'utf8')
  .replace('/* STYLE */', () => fs.readFileSync(path.join(source, 'page.css'), 'utf8'))
  // The script ends where HTML says so, even inside a text.
  .replace('/* SCRIPT */', () => script.replaceAll('</script', '<\\/script'));
fs.mkdirSync(path.join(root, 'dist', 'page'), { recursive: true });
fs.writeFileSync(path.join(root, 'dist', 'page', 'index.html'), html);
