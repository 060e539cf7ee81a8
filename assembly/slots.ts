// Scratch of a thread: a task does not know which thread runs it, so it borrows one of as many slots as there are threads for as long
// as it runs. Which slot a task gets varies: it must not read what another left there.
import { scratch, SLOTS, threads } from './control';

/** Where the slots begin, and their size. */
const BASE: usize = SLOTS;
const BYTES: usize = SLOTS + 4;
/** A word for every slot: 1 while a task has it. */
const TAKEN: usize = SLOTS + 64;

/** Makes slots of `bytes`, a multiple of 64, for the tasks of this row; this is its scratch(). False when there is no memory. */
export function makeSlots(bytes: usize): bool {
  const base = scratch(threads() * bytes);
  store<usize>(BASE, base);
  store<usize>(BYTES, bytes);
  return base != 0;
}

/** The address of a slot that no other task has. */
export function takeSlot(): usize {
  let slot: usize = 0;
  if (ASC_FEATURE_THREADS) {
    const count = threads();
    while (atomic.cmpxchg<u32>(TAKEN + (slot << 2), 0, 1) != 0) slot = slot + 1 < count ? slot + 1 : 0;
  }
  return load<usize>(BASE) + slot * load<usize>(BYTES);
}

export function giveSlot(address: usize): void {
  if (!ASC_FEATURE_THREADS) return;
  const slot = (address - load<usize>(BASE)) / load<usize>(BYTES);
  atomic.store<u32>(TAKEN + (slot << 2), 0);
}
