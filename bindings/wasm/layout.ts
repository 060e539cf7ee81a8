// Words of the control block, as assembly/control.ts and assembly/pool.ts have them. Offsets in bytes.
export const STOP = 64;
export const FAILED = 68;
export const MESSAGE = 72;
export const ARGUMENTS = 80;
export const THREADS = 112;
/** Where threads of the pool sleep; a change wakes them. */
export const GENERATION = 128;

/** Bytes of a page of WebAssembly memory, and pages there can be. */
export const PAGE = 65536;
export const MAX_PAGES = 65536;
/** Alignment of buffers. */
export const ALIGNMENT = 64;

/** What every memory starts with. */
export const newMemory = (shared: boolean): WebAssembly.Memory =>
  new WebAssembly.Memory({ initial: 16, maximum: MAX_PAGES, shared });
