// Finds the native addon. Order: SWEETSPOT_ADDON (a path) -> the local build, which is there because no
// package fitted or someone asked for it (`npx sweetspot build --cuda`) -> the platform package. An addon that does not
// load, is of another version or lacks what it should have is passed over; every reason is kept, so that the one error a
// caller sees lists all causes.
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
  /** Of the border and the op table: see bindings/generate.mjs. */
  readonly version: string;
  /** ISAs compiled in that this machine can run, best first. */
  cpuIsas(): string[];
  cudaInfo(): CudaInfo;
  /** `variant`: an ISA for 'cpu'; for 'cuda' how matrices are multiplied: 'fp32', 'tf32' or 'bf16'. */
  Device: new (
    kind: 'cpu' | 'cuda',
    threads: number,
    variant: string,
  ) => Device;
}

export type AddonSource = 'SWEETSPOT_ADDON' | 'platform package' | 'local build';

/** The addon, or none; with it what was tried before and why it was passed over. */
export type LoadResult =
  | {
      readonly addon: NativeAddon;
      readonly path: string;
      readonly source: AddonSource;
      readonly failures: readonly string[];
    }
  | { readonly failures: readonly string[] };

/** A platform of bindings/platforms.json. */
interface Platform {
  readonly package: string;
  readonly os: string;
  readonly cpu: string;
}

let root: string | undefined;
let loaded: LoadResult | undefined;
const require = createRequire(import.meta.url);

/** The folder that holds package.json, from here or from dist/. */
export function packageRoot(): string {
  if (root !== undefined) return root;
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'package.json'))) {
    const parent = path.dirname(folder);
    if (parent === folder) throw new Error('sweetspot: package.json not found above its own files');
    folder = parent;
  }
  root = folder;
  return folder;
}

/** Loads the addon once. Never throws: an absent addon is a result with reasons. */
export function loadAddon(): LoadResult {
  loaded ??= search();
  return loaded;
}

function search(): LoadResult {
  const bindings = path.join(packageRoot(), 'bindings');
  const { version } = require(path.join(bindings, 'version.gen.json')) as { version: string };
  const { platforms } = require(path.join(bindings, 'platforms.json')) as { platforms: Platform[] };
  const given = process.env['SWEETSPOT_ADDON'];
  const candidates: [source: AddonSource, file: string][] = [
    ...(given === undefined || given === '' ? [] : [['SWEETSPOT_ADDON', path.resolve(given)] as [AddonSource, string]]),
    ['local build', path.join(packageRoot(), 'build/Release/sweetspot.node')],
    // Of two C libraries npm installs the package of the one that is there; the other is not found.
    ...platforms
      .filter(({ os, cpu }) => os === process.platform && cpu === process.arch)
      .map((one): [AddonSource, string] => ['platform package', one.package]),
  ];
  const failures: string[] = [];
  for (const [source, name] of candidates) {
    try {
      const file = require.resolve(name);
      return { addon: checked(require(file), version), path: file, source, failures };
    } catch (error) {
      failures.push(`${source} ${name}: ${reasonOf(error)}`);
    }
  }
  return { failures };
}

function checked(module: unknown, version: string): NativeAddon {
  const addon = module as Partial<NativeAddon>;
  if (addon.version !== version) {
    throw new Error(`it is of version ${addon.version ?? 'none'}, and this library needs ${version}`);
  }
  if (typeof addon.Device !== 'function' || !(addon.cpuIsas!().length > 0)) throw new Error('it has no kernels');
  return addon as NativeAddon;
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === 'MODULE_NOT_FOUND' ? 'not there' : message.split('\n')[0]!;
}
