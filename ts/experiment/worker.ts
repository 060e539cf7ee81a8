// The child process of `runExperiment`: gets its orders as one message, works, tells how far it is. When the channel to the
// parent closes, be it on purpose or because the parent died, it saves and ends.
import { type BackendOptions, openBackend, SweetspotError } from '../backend/index.js';
import type { Progress } from '../train/progress.js';
import { CellStore } from './cells.js';
import type { Plan } from './plan.js';
import { work } from './work.js';

export interface Orders {
  readonly out: string;
  readonly plan: Plan;
  readonly backend: BackendOptions;
}

export type Message =
  | { readonly kind: 'start' | 'done'; readonly cell: string }
  | { readonly kind: 'progress'; readonly cell: string; readonly progress: Progress }
  | {
      readonly kind: 'error';
      readonly error: { code: string; what: string; expected?: string; found?: string; fix?: string };
    };

/** Milliseconds between two tellings of progress. */
const PACE = 250;

const abort = new AbortController();
process.once('disconnect', () => abort.abort());
process.on('SIGTERM', () => abort.abort());
// Ctrl-C reaches the whole group of processes; the parent decides what it means.
process.on('SIGINT', () => {});

const tell = (message: Message) => {
  // The parent may close the channel at any moment.
  if (process.connected) process.send!(message, undefined, undefined, () => {});
};

process.once('message', async (orders: Orders) => {
  let told = 0;
  try {
    const backend = openBackend(orders.backend);
    try {
      await work({
        backend,
        store: new CellStore(orders.out),
        plan: orders.plan,
        signal: abort.signal,
        onStart: ({ id }) => tell({ kind: 'start', cell: id }),
        onDone: ({ id }) => tell({ kind: 'done', cell: id }),
        onProgress: ({ id }, progress) => {
          if (performance.now() - told < PACE) return;
          told = performance.now();
          tell({ kind: 'progress', cell: id, progress });
        },
      });
    } finally {
      await backend.close();
    }
  } catch (error) {
    const { code = 'UNEXPECTED', expected, found, fix } = error as Partial<SweetspotError>;
    const what =
      error instanceof SweetspotError ? error.message.split('\n')[0]! : String((error as Error).stack ?? error);
    tell({
      kind: 'error',
      error: {
        code,
        what,
        ...(expected === undefined ? {} : { expected }),
        ...(found === undefined ? {} : { found }),
        ...(fix === undefined ? {} : { fix }),
      },
    });
  }
  if (process.connected) process.disconnect();
});
