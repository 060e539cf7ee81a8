// What each backend is here: usable, or the reason why not, and what a person can do about it.
import { type CudaInfo, loadAddon } from '../../bindings/load.js';
import { wasmIsas } from '../../bindings/wasm/node.js';
import { SweetspotError } from './errors.js';

export const BACKENDS = ['cpu', 'cuda', 'wasm'] as const;
export type BackendName = (typeof BACKENDS)[number];

export interface BackendReport {
  readonly name: BackendName;
  /** What `isa` (of CUDA: `matmul`) may name here, best first; of CUDA the device's architecture. */
  readonly variants: readonly string[];
  /** Why it cannot be used, a line a cause; empty when it can. */
  readonly reasons: readonly string[];
}

/** ISAs the CPU backend can run here, best first; empty when there is no addon. */
export function listIsas(): string[] {
  const result = loadAddon();
  return 'addon' in result ? result.addon.cpuIsas() : [];
}

/** The CUDA device, or why there is none; undefined when there is no addon. */
export function cudaInfo(): CudaInfo | undefined {
  const result = loadAddon();
  return 'addon' in result ? result.addon.cudaInfo() : undefined;
}

/** Of every backend. Loads the addon and opens nothing. */
export function surveyBackends(): BackendReport[] {
  return BACKENDS.map(surveyBackend);
}

export function surveyBackend(name: BackendName): BackendReport {
  if (name === 'wasm') {
    const { isas, failures } = wasmIsas();
    return { name, variants: isas, reasons: isas.length > 0 ? [] : failures };
  }
  const result = loadAddon();
  if (!('addon' in result)) return { name, variants: [], reasons: result.failures };
  if (name === 'cpu') return { name, variants: result.addon.cpuIsas(), reasons: [] };
  const cuda = result.addon.cudaInfo();
  return cuda.reason === undefined
    ? { name, variants: [cuda.arch], reasons: [] }
    : { name, variants: [], reasons: [cuda.reason] };
}

const OTHERS = 'leave --backend and SWEETSPOT_BACKEND unset: the best backend there is will compute';
const REMEDIES: { readonly [K in BackendName]: readonly string[] } = {
  cpu: [
    'install CMake and a C++20 compiler, then `npx sweetspot build` (in a checkout: `npm run build`)',
    'where npm blocks install scripts: "allowScripts": {"sweetspot": true} in your package.json, then `npm rebuild sweetspot`',
    'where packages were installed with --omit=optional or for another platform: install again on this machine, without it',
  ],
  cuda: [
    'check that `nvidia-smi` shows a device and a driver',
    'install nvcc 12 or later, CMake and a C++20 compiler, then `npx sweetspot build --cuda`',
  ],
  wasm: ['use Node 20.19 or later', 'install the package again: a file of it may be missing'],
};

/**
 * One error for all that stands in the way of `names`, with numbered remedies.
 *
 * @param more a cause that the survey does not know: opening it failed
 */
export function unavailable(names: readonly BackendName[], more?: unknown): SweetspotError {
  const causes = names.flatMap((name) =>
    surveyBackend(name).reasons.map((reason) => (names.length === 1 ? reason : `${name}: ${reason}`)),
  );
  const last = (more as Error | undefined)?.message;
  if (last !== undefined && !causes.some((cause) => last.includes(cause))) causes.push(last);
  const remedies = [
    ...names.flatMap((name) => REMEDIES[name]),
    ...(names.length === 1 ? [OTHERS] : []),
    '`npx sweetspot doctor` shows what was found, and the log of the build',
  ];
  return new SweetspotError('SWEETSPOT_BACKEND_UNAVAILABLE', {
    what: names.length === 1 ? `the backend ${names[0]} cannot be used` : 'no backend can be used',
    found: causes.length === 1 ? causes[0]! : causes.map((cause) => `\n    - ${cause}`).join(''),
    fix: remedies.map((remedy, i) => `\n    ${i + 1}. ${remedy}`).join(''),
    cause: more,
  });
}
