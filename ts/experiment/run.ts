// runExperiment(): prepares, works in this process or in children of its own, writes results.json and machine.json. Whatever
// is finished is never repeated; the same call after an interrupt, a crash or a power cut gives the same results.json.
import { mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { type Backend, type BackendName, type BackendOptions, openBackend, SweetspotError } from '../backend/index.js';
import { writeFileAtomic } from '../io/atomic.js';
import { assembleResults } from './assemble.js';
import { CellStore } from './cells.js';
import { workInChildren } from './children.js';
import type { Experiment } from './experiment.js';
import type { Cell, Plan } from './plan.js';
import { planExperiment } from './planner.js';
import { corpusFacts, corpusPlace, prepare } from './prepare.js';
import { type OnExperimentProgress, ProgressTracker } from './progress.js';
import type { ClusterMap, MachineFile, Results } from './results.js';
import { work } from './work.js';

/** What to run, where, and in how many processes. */
export interface ExperimentOptions {
  /** From `readExperiment` or `checkedExperiment`. */
  readonly experiment: Experiment;
  /** Folder of the experiment, to make or to go on with. */
  readonly out: string;
  /** Where to compute. Threads are divided between the processes. */
  readonly backend?: BackendOptions | undefined;
  /** Worker processes. Default 1: this one. */
  readonly processes?: number | undefined;
  /** Called a few times a second. */
  readonly onProgress?: OnExperimentProgress | undefined;
  /** Ends the work with SWEETSPOT_ABORTED; what is done stays, and another call goes on. */
  readonly signal?: AbortSignal | undefined;
}

/** What an experiment gave. */
export interface ExperimentOutcome {
  /** What results.json holds. */
  readonly results: Results;
  /** Absolute. */
  readonly resultsFile: string;
  /** Worker processes that died; others did their work. */
  readonly lost: number;
}

/** What an experiment has to do. */
export interface ExperimentPlan {
  /** Pieces of work in all. */
  readonly cells: number;
  /** Those with a result. */
  readonly done: number;
  /** Rows of the result. */
  readonly rows: number;
  /** FLOPs of the cells that are not done, about. */
  readonly flopsLeft: number;
  /** Of each kind, all and done. */
  readonly kinds: Readonly<Record<Cell['work']['kind'], { all: number; done: number }>>;
  /** Titles of cells to do, in order. */
  readonly next: readonly string[];
}

/** Seconds between writings of unfinished results. */
const WRITE_EVERY = 30;

/** What a call would do, without doing anything. Throws SWEETSPOT_INPUT, SWEETSPOT_IO. */
export function describeExperiment(experiment: Experiment, out: string): ExperimentPlan {
  const plan = planExperiment(experiment, corpusPlace(experiment, out));
  const isDone = CellStore.peek(out);
  const kinds = Object.fromEntries(
    (['run', 'generic', 'start', 'tune'] as const).map((kind) => {
      const mine = plan.cells.filter((cell) => cell.work.kind === kind);
      return [kind, { all: mine.length, done: mine.filter(({ id }) => isDone(id)).length }];
    }),
  ) as ExperimentPlan['kinds'];
  const left = plan.cells.filter(({ id }) => !isDone(id));
  return {
    cells: plan.cells.length,
    done: plan.cells.length - left.length,
    rows: plan.rows.length,
    flopsLeft: left.reduce((sum, { flops }) => sum + flops, 0),
    kinds,
    next: left.map(({ title }) => title),
  };
}

/**
 * Runs the grid that an experiment names, or what is left of it.
 *
 * @throws SweetspotError SWEETSPOT_INPUT listing text that turns out too short, before any training; SWEETSPOT_ABORTED when
 *   `signal` fires, with everything saved; SWEETSPOT_USAGE for a number of processes that makes no sense; what cells throw
 */
export async function runExperiment(options: ExperimentOptions): Promise<ExperimentOutcome> {
  const { experiment, signal, processes = 1, onProgress } = options;
  const out = path.resolve(options.out);
  if (!Number.isInteger(processes) || processes < 1 || processes > 256) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'the number of processes',
      expected: 'a whole number from 1 to 256',
      found: String(processes),
    });
  }
  mkdirSync(out, { recursive: true });
  const store = new CellStore(out);
  const place = corpusPlace(experiment, out);
  const backend = openBackend(options.backend);
  try {
    const maps = await prepare(backend, experiment, out, place.folder, {
      signal,
      onProgress: (progress) => onProgress?.({ ...EMPTY, running: [{ title: progress.stage, progress }] }),
    });
    // Again, now that there is a corpus: its vocabulary makes estimates better.
    const plan = planExperiment(experiment, corpusPlace(experiment, out));
    const facts = { corpus: corpusFacts(place.folder), maps };
    const write = () => writeResults(experiment, plan, store, facts, backend);
    const tracker = new ProgressTracker(plan, store, onProgress);
    let written = performance.now();
    const events = {
      plan,
      store,
      signal,
      onStart: tracker.start,
      onProgress: tracker.progress,
      onDone: (cell: Cell) => {
        tracker.done(cell);
        if (performance.now() - written < 1000 * WRITE_EVERY) return;
        write();
        written = performance.now();
      },
    };
    let lost = 0;
    try {
      if (processes === 1) await work({ backend, ...events });
      else {
        const threads = Math.max(1, Math.floor(backend.capabilities.threads / processes));
        // By name: what was chosen here is not to be chosen, and warned about, again.
        const chosen = { ...options.backend, backend: backend.name as BackendName, threads };
        lost = await workInChildren(processes, { out, plan, backend: chosen }, events);
      }
    } finally {
      tracker.stop();
      write();
    }
    return { results: write(), resultsFile: path.join(out, 'results.json'), lost };
  } finally {
    await backend.close();
  }
}

const EMPTY = { done: 0, cells: 0, flopsShare: 0, secondsLeft: undefined };

function writeResults(
  experiment: Experiment,
  plan: Plan,
  store: CellStore,
  facts: { corpus: Omit<Results['corpus'], 'context'>; maps: readonly ClusterMap[] },
  backend: Backend,
): Results {
  const results = assembleResults(experiment, plan, store, facts);
  const done = plan.cells.filter(({ id }) => store.done(id));
  const machine: MachineFile = {
    format: 'sweetspot-machine',
    version: 1,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    backend: backend.name,
    isa: backend.capabilities.isa,
    measured: Object.fromEntries(done.map(({ id }) => [id, store.read(id).measured])),
  };
  writeFileAtomic(path.join(store.folder, 'machine.json'), `${lines(machine)}\n`);
  writeFileAtomic(path.join(store.folder, 'results.json'), `${lines(results)}\n`);
  return results;
}

/** JSON with a line for every member, and for every element of lists of objects: long enough to read, short enough to scroll. */
function lines(value: object): string {
  const member = (one: unknown): string =>
    Array.isArray(one) && one.length > 0 && typeof one[0] === 'object'
      ? `[\n  ${one.map((element) => JSON.stringify(element)).join(',\n  ')}\n ]`
      : JSON.stringify(one);
  return `{\n${Object.entries(value)
    .map(([key, one]) => ` ${JSON.stringify(key)}: ${member(one)}`)
    .join(',\n')}\n}`;
}
