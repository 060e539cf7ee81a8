// Every kind of device the suite knows, and which of them this machine has. To add one: a line in VARIANTS that opens it or
// says why not.
import { type WasmIsa, wasmIsas } from '../../bindings/wasm/node.js';
import { type Backend, cudaInfo, listIsas, openBackend } from '../../ts/backend/index.js';
import { openWasm } from '../../ts/backend/wasm.js';

export interface Variant {
  /** As in docs/coverage.md: 'cpu/avx2', 'cuda', 'wasm/simd'. */
  readonly name: string;
  /** Folder of its kernels, one function an op, named like the op. */
  readonly kernels: string;
  readonly available: () => boolean;
  readonly open: (threads: number) => Backend;
}

const cpu = (isa: string): Variant => ({
  name: `cpu/${isa}`,
  kernels: 'native/cpu/kernels',
  available: () => listIsas().includes(isa),
  open: (threads) => openBackend({ backend: 'cpu', isa, threads }),
});

/** In float32, as everywhere: tensor cores round factors by more than the tolerances allow. */
const cuda: Variant = {
  name: 'cuda',
  kernels: 'native/cuda/kernels',
  available: () => 'name' in (cudaInfo() ?? {}),
  open: () => openBackend({ backend: 'cuda', matmul: 'fp32' }),
};

/** One thread computes in memory that is not shared, as in a page without isolation. */
const wasm = (isa: WasmIsa): Variant => ({
  name: `wasm/${isa}`,
  kernels: 'assembly/kernels',
  available: () => wasmIsas().isas.includes(isa),
  open: (threads) => openWasm({ isa, threads, shared: threads > 1 }),
});

export const VARIANTS: readonly Variant[] = [
  cpu('scalar'),
  cpu('avx2'),
  cpu('avx512'),
  cpu('avx512_bf16'),
  cpu('neon'),
  cuda,
  wasm('simd'),
  wasm('relaxed'),
];
