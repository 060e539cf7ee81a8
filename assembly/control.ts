// The block of memory that the host and all threads of a backend share: how a row fails, how the host says stop, the job of the
// pool, the room that a kernel has for what its tasks must know. It lies below the data of the module (asconfig.json, memoryBase)
// and starts as zeros. bindings/wasm/layout.ts has the host's names for the first words.

// @ts-ignore: decorator
@external('env', 'scratch')
declare function hostScratch(bytes: usize): usize;

// @ts-ignore: decorator
@external('env', 'now')
declare function hostNow(): f64;

// Written by the host: not 0 = stop at the next row.
const STOP: usize = 64;
// 1 once a row failed; cleared by the host.
const FAILED: usize = 68;
// Address of the message (an AssemblyScript string) and up to four numbers that fill its {}.
const MESSAGE: usize = 72;
const ARGUMENTS: usize = 80;
// Threads that compute, the caller's included. Written by the host.
const THREADS: usize = 112;
/** The words of the pool (pool.ts), each on a cache line of its own. */
export const POOL: usize = 128;
/** Where kernels keep what their tasks must know. */
const LOCALS: usize = 1024;
/** The words of workspace.ts. */
export const WORKSPACE: usize = 5120;

export function threads(): u32 {
  return load<u32>(THREADS);
}

export function stopped(): bool {
  return (ASC_FEATURE_THREADS ? atomic.load<u32>(STOP) : load<u32>(STOP)) != 0;
}

export function failed(): bool {
  return (ASC_FEATURE_THREADS ? atomic.load<u32>(FAILED) : load<u32>(FAILED)) != 0;
}

/**
 * Latches an error of this row: later rows are skipped, the next fence reports it. The numbers fill the {} of the message in
 * turn. The first failure stays. Safe from any thread.
 */
export function fail(message: string, a: f64 = 0, b: f64 = 0, c: f64 = 0, d: f64 = 0): void {
  if (ASC_FEATURE_THREADS) {
    if (atomic.cmpxchg<u32>(FAILED, 0, 1) != 0) return;
  } else {
    if (load<u32>(FAILED) != 0) return;
    store<u32>(FAILED, 1);
  }
  store<f64>(ARGUMENTS, a);
  store<f64>(ARGUMENTS, b, 8);
  store<f64>(ARGUMENTS, c, 16);
  store<f64>(ARGUMENTS, d, 24);
  store<usize>(MESSAGE, changetype<usize>(message));
}

/**
 * Memory valid until the row ends, 64-byte aligned, contents undefined. One block a row: ask once, before parallel(), and split it
 * yourself. Returns 0 and fails the row when there is no memory.
 */
export function scratch(bytes: usize): usize {
  const memory = hostScratch(bytes);
  if (memory == 0) fail('there is no memory for {} bytes of scratch', <f64>bytes);
  return memory;
}

/**
 * 4 KiB for what a row's tasks must know beside the row itself, since there are no closures: lay an @unmanaged class over it before
 * parallel() and again in the task.
 */
// @ts-ignore: decorator
@inline
export function locals(): usize {
  return LOCALS;
}

/** Milliseconds of a clock that never goes back. */
export function now(): f64 {
  return hostNow();
}
