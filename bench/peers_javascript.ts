// Peers from npm: libraries that multiply matrices in WebAssembly. They are no dependencies of the package; the first run that wants them
// installs them into a folder of their own.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';

export interface JavaScriptPeer {
  readonly name: string;
  /** In bench/peers. */
  readonly script: string;
  /** With versions. */
  readonly packages: readonly string[];
}

export const JAVASCRIPT_PEERS: readonly JavaScriptPeer[] = [
  {
    name: 'tfjs-wasm',
    script: 'tfjs_wasm.mjs',
    packages: ['@tensorflow/tfjs-core@4.22.0', '@tensorflow/tfjs-backend-wasm@4.22.0'],
  },
  { name: 'onnxruntime-web', script: 'ort_web.mjs', packages: ['onnxruntime-web@1.30.0'] },
];

/** The folder whose node_modules holds the peer's packages; throws why they cannot be had. */
export function installed(peer: JavaScriptPeer, folder: string): string {
  const there = ([name]: string[]) => existsSync(path.join(folder, 'node_modules', name!));
  if (peer.packages.every((text) => there(text.match(/^@?[^@]+/) ?? []))) return folder;
  mkdirSync(folder, { recursive: true });
  const flags = ['--no-audit', '--no-fund', '--ignore-scripts', '--prefix', folder];
  const done = spawnSync('npm', ['install', ...flags, ...peer.packages], { encoding: 'utf8', timeout: 120_000 });
  if (done.status === 0) return folder;
  const line = done.stderr?.split('\n').find((one) => /error/i.test(one));
  throw new Error(`not installed (${(line ?? done.error?.message ?? 'npm failed').trim().slice(0, 120)})`);
}
