// The entry of the WebAssembly backend: runs rows, one after the other. Rows are the words of bindings/ops.json with every operand's
// (buffer, offset) replaced by (address, 0), address 0 for one that is absent; the host has checked that every operand lies
// inside its buffer. To add a kernel: `export function name(row: NameRow): void` in a file of kernels/, exported by kernels/index.ts.
import { failed, stopped } from './control';
import { dispatch } from './dispatch.gen';
import { work } from './pool';

export { work };

/** Runs `count` rows, whose addresses lie one behind the other. Returns `count`, or the number of the row that failed or was not run. */
export function run(rows: usize, count: u32): u32 {
  for (let i: u32 = 0; i < count; i++) {
    if (stopped()) return i;
    dispatch(load<usize>(rows + (<usize>i << 2)));
    if (failed()) return i;
  }
  return count;
}

/** First byte that data of the module does not use. */
export function heapBase(): usize {
  return __heap_base;
}
