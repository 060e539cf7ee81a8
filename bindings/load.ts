// Finds the native addon. Order: SWEETSPOT_ADDON (a path) -> the local build. Every failure is kept, so that the one error
// a caller sees lists all causes and what to type.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Device } from './device.js';

/** What there is of CUDA: a device, or the reason why none can be used. */
export type CudaInfo =
  | { readonly library: string; readonly reason: string }
  | {
      readonly library: string;
      readonly reason?: undefined;
      readonly name: string;
      /** Compute capability, as 'sm_90'. */
      readonly arch: string;
      readonly multiprocessors: number;
      /** Bytes. */
      readonly memory: number;
      /** CUDA version of the driver, as '13.0'. */
      readonly driver: string;
    };

export interface NativeAddon {
  /** ISAs compiled in that this machine can run, best first. */
  cpuIsas(): string[];
  cudaInfo?(): CudaInfo;
  /** `variant`: an ISA for 'cpu'; for 'cuda' how matrices are multiplied: 'fp32', 'tf32' or 'bf16'. */
  Device: new (
    kind: 'cpu' | 'cuda',
    threads: number,
    variant: string,
  ) => Device;
}

export type LoadResult =
  | { readonly addon: NativeAddon; readonly path: string }
  | { readonly failures: readonly string[] };

let loaded: LoadResult | undefined;

/** The folder that holds package.json, from here or from dist/. */
export function packageRoot(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'package.json'))) {
    const parent = path.dirname(folder);
    if (parent === folder) throw new Error('sweetspot: package.json not found above its own files');
    folder = parent;
  }
  return folder;
}

/** Loads the addon once. Never throws: an absent addon is a result with reasons. */
export function loadAddon(): LoadResult {
  if (loaded !== undefined) return loaded;
  const require = createRequire(import.meta.url);
  const candidates = [process.env['SWEETSPOT_ADDON'], path.join(packageRoot(), 'build/Release/sweetspot.node')];
  const failures: string[] = [];
  for (const file of candidates) {
    if (file === undefined || file === '') continue;
    try {
      loaded = { addon: require(file) as NativeAddon, path: file };
      return loaded;
    } catch (error) {
      failures.push(`${file}: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  loaded = { failures };
  return loaded;
}
