// Scratch with a part for every thread, for what a task needs while it runs. A task must not read what another left there.
import { scratch, threads, WORKSPACE } from './control';
import { thread } from './pool';

/** Where the parts begin, and their size. */
const BASE: usize = WORKSPACE;
const BYTES: usize = WORKSPACE + 4;

/** Makes parts of `bytes`, a multiple of 64, for the tasks of this row; this is its scratch(). False when there is no memory. */
export function makeWorkspaces(bytes: usize): bool {
  const base = scratch(threads() * bytes);
  store<usize>(BASE, base);
  store<usize>(BYTES, bytes);
  return base != 0;
}

/** The part of the thread that runs this task. */
export function workspace(): usize {
  return load<usize>(BASE) + thread() * load<usize>(BYTES);
}
