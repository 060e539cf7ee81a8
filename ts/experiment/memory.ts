// Peak memory of a piece of work: the largest resident size of this process while it ran, what the process held before
// included. Linux keeps that mark (VmHWM, proc(5)) and resets it on request; elsewhere nothing is measured.
import { readFileSync, writeFileSync } from 'node:fs';

/** Resets the mark; the function returned gives bytes since then, or null where that cannot be had. */
export function peakMemory(): () => number | null {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    return () => null;
  }
  return () => {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
    return kilobytes === undefined ? null : Number(kilobytes) * 1024;
  };
}
