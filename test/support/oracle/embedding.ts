// Oracle of table look-up and its gradient.
import type { OracleTable } from './op.js';
import { DataError } from './op.js';

export const embedding: Pick<OracleTable, 'embedding' | 'embedding_backward'> = {
  embedding: ({ table, ids, y }, { rows, cols, vocab }) => {
    for (let r = 0; r < rows; r++) {
      const id = ids[r]!;
      if (id < 0 || id >= vocab) throw new DataError(`id ${id} is outside a table of ${vocab} rows`);
      y.set(table.subarray(id * cols, (id + 1) * cols), r * cols);
    }
  },

  embedding_backward: ({ dy, ids, add, dtable }, { rows, cols, vocab }) => {
    if (add) dtable.set(add);
    else dtable.fill(0);
    for (let r = 0; r < rows; r++) {
      const id = ids[r]!;
      if (id >= vocab) throw new DataError(`id ${id} is outside a table of ${vocab} rows`);
      if (id < 0) continue;
      for (let c = 0; c < cols; c++) dtable[id * cols + c]! += dy[r * cols + c]!;
    }
  },
};
