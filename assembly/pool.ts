// Compute threads. One caller at a time (the thread that runs rows) hands out tasks; it works too. Tasks are claimed from a shared
// counter, so which thread runs a task varies, but what a task computes never does.
//
// A job is open while its generation is odd. A thread counts itself busy before it looks whether the job is open, and the caller
// closes the job before it waits for busy to fall to zero: so no thread can be inside a job that its caller has left.
import { POOL, stopped, threads } from './control';

const GENERATION: usize = POOL;
const NEXT: usize = POOL + 64;
const BUSY: usize = POOL + 128;
const TASK: usize = POOL + 192;
const ROW: usize = POOL + 196;
const TASKS: usize = POOL + 200;
const STARTED: usize = POOL + 204;

/** How often a thread looks again before it sleeps: rows follow each other within microseconds. */
const SPINS: u32 = 4000;

/** A task of a row: must compute the same whichever thread runs it. */
type Task = (row: usize, task: u32) => void;

/** An instance of the module, and with it this number, is one thread's own: 0 for the caller of parallel(). */
let number: u32 = 0;

/** This thread, below threads(): for workspace of its own. What a task computes must not depend on it. */
export function thread(): u32 {
  return number;
}

function claim(): void {
  const task = changetype<Task>(load<usize>(TASK));
  const row = load<usize>(ROW);
  const tasks = load<u32>(TASKS);
  for (let i = atomic.add<u32>(NEXT, 1); i < tasks; i = atomic.add<u32>(NEXT, 1)) task(row, i);
}

/** Runs task(row, i) for every i below `tasks`, and returns when all are done. The caller fixes the tasks by the shape alone. */
export function parallel(tasks: u32, task: Task, row: usize): void {
  const helpers = threads() - 1;
  if (!ASC_FEATURE_THREADS || helpers == 0 || tasks < 2) {
    for (let i: u32 = 0; i < tasks; i++) task(row, i);
    return;
  }
  store<usize>(TASK, changetype<usize>(task));
  store<usize>(ROW, row);
  store<u32>(TASKS, tasks);
  atomic.store<u32>(NEXT, 0);
  atomic.add<u32>(GENERATION, 1);
  atomic.notify(GENERATION, helpers);
  claim();
  atomic.add<u32>(GENERATION, 1);
  for (let i: u32 = 0; ; i++) {
    const busy = atomic.load<u32>(BUSY);
    if (busy == 0) return;
    if (i >= SPINS) atomic.wait<i32>(BUSY, busy, 1_000_000);
  }
}

/** The life of a compute thread: returns when the host says stop. */
export function work(): void {
  if (!ASC_FEATURE_THREADS) return;
  number = atomic.add<u32>(STARTED, 1) + 1;
  let seen: u32 = 0;
  while (!stopped()) {
    let generation = atomic.load<u32>(GENERATION);
    for (let i: u32 = 0; i < SPINS && generation == seen; i++) generation = atomic.load<u32>(GENERATION);
    if (generation == seen) {
      atomic.wait<i32>(GENERATION, seen, -1);
      continue;
    }
    seen = generation;
    if ((seen & 1) == 0) continue;
    atomic.add<u32>(BUSY, 1);
    if (atomic.load<u32>(GENERATION) == seen) claim();
    if (atomic.sub<u32>(BUSY, 1) == 1) atomic.notify(BUSY, 1);
  }
}
