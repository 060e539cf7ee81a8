// Worker processes: children of this one that take cells by themselves. The parent only starts them, listens, and stops them.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, SweetspotError } from '../backend/index.js';
import type { WorkOptions } from './work.js';
import type { Message, Orders } from './worker.js';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));

/**
 * Runs so many workers to the end of the work.
 * @returns how many died while others went on
 * @throws SweetspotError SWEETSPOT_ABORTED; what a cell threw, after the other workers have saved; SWEETSPOT_PROGRAM when all
 *   of them died
 */
export async function workInChildren(
  processes: number,
  orders: Orders,
  events: Omit<WorkOptions, 'backend'>,
): Promise<number> {
  const { plan, store, signal } = events;
  const cells = new Map(plan.cells.map((cell) => [cell.id, cell]));
  let failure: SweetspotError | undefined;
  let lost = 0;
  const children: ChildProcess[] = [];
  // Closing the channel is the one order to stop: a parent that dies closes it too.
  const stop = () => {
    for (const child of children) if (child.connected) child.disconnect();
  };
  const onMessage = (message: Message) => {
    if (message.kind === 'error') {
      if (message.error.code !== 'SWEETSPOT_ABORTED') failure ??= revive(message.error);
      if (failure !== undefined) stop();
      return;
    }
    const cell = cells.get(message.cell)!;
    if (message.kind === 'progress') events.onProgress(cell, message.progress);
    else if (message.kind === 'start') events.onStart(cell);
    else events.onDone(cell);
  };
  signal?.addEventListener('abort', stop);
  try {
    await Promise.all(
      Array.from({ length: processes }, async () => {
        const child = fork(WORKER, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
        children.push(child);
        child.on('message', onMessage);
        // A message to a child that has just died is no failure of ours.
        child.on('error', () => {});
        child.send(orders);
        if (signal?.aborted) stop();
        const [, killed] = (await once(child, 'exit')) as [number | null, string | null];
        if (killed !== null) lost++;
      }),
    );
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  if (failure !== undefined) throw failure;
  if (plan.cells.every(({ id }) => store.done(id))) return lost;
  if (signal?.aborted) {
    throw new SweetspotError('SWEETSPOT_ABORTED', {
      what: 'the experiment was interrupted; cells that are done are kept',
    });
  }
  throw new SweetspotError('SWEETSPOT_PROGRAM', {
    what: `all ${processes} worker processes died`,
    fix: 'give the same command again, with fewer processes if memory was short: finished cells are kept',
  });
}

function revive({ code, what, expected, found, fix }: Extract<Message, { kind: 'error' }>['error']): SweetspotError {
  const parts = { what, ...(expected && { expected }), ...(found && { found }), ...(fix && { fix }) };
  return new SweetspotError(code === 'UNEXPECTED' ? 'SWEETSPOT_PROGRAM' : (code as ErrorCode), parts);
}
