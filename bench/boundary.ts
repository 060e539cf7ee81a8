// What the way to the device costs when there is next to no work: a call across the native border, an awaited fence, a row of
// a Program; and what training does to the event loop it shares a process with.
import type { Backend } from '../ts/backend/index.js';
import { encodeRow } from '../ts/backend/rows.js';
import { type BenchCase, type Context, compete, ours } from './context.js';
import { trainingHealth } from './health.js';
import type { Result } from './result.js';

const microseconds = { unit: 'us' as const, value: (seconds: number) => seconds * 1e6, ideal: () => null };

interface Boundary {
  readonly name: string;
  readonly op: string;
  /** Seconds of one, by doing it `times`. */
  readonly seconds: (backend: Backend) => Promise<number>;
}

async function per(times: number, run: () => void | Promise<void>): Promise<number> {
  const began = performance.now();
  await run();
  return (performance.now() - began) / 1000 / times;
}

/** `rows` rows of 16 elements each. */
function tinyProgram(backend: Backend, rows: number) {
  const buffer = backend.alloc(64);
  const row = encodeRow('fill', { y: { buffer, offset: 0 } }, { n: 16 }, { value: 1 });
  const words = new Uint32Array(rows * row.length);
  for (let i = 0; i < rows; i++) words.set(row, i * row.length);
  const program = backend.compile({ words });
  return {
    program,
    free: () => {
      backend.release(program);
      backend.free(buffer);
    },
  };
}

const BOUNDARY: readonly Boundary[] = [
  {
    name: 'boundary native call',
    op: 'native_call',
    seconds: (backend) =>
      per(10_000, () => {
        for (let i = 0; i < 10_000; i++) backend.allocated();
      }),
  },
  {
    name: 'boundary awaited fence',
    op: 'fence',
    seconds: (backend) =>
      per(500, async () => {
        for (let i = 0; i < 500; i++) await backend.fence();
      }),
  },
  {
    name: 'boundary run and read 64 bytes',
    op: 'run_read',
    seconds: async (backend) => {
      const buffer = backend.alloc(64);
      const { program, free } = tinyProgram(backend, 1);
      const result = await per(500, async () => {
        for (let i = 0; i < 500; i++) {
          backend.run(program);
          await backend.read(buffer, 0, 64);
        }
      });
      free();
      backend.free(buffer);
      return result;
    },
  },
  {
    name: 'boundary replayed row',
    op: 'row',
    seconds: async (backend) => {
      const { program, free } = tinyProgram(backend, 5000);
      const result = await per(5000, async () => {
        backend.run(program);
        await backend.fence();
      });
      free();
      return result;
    },
  },
];

const boundary = BOUNDARY.map(({ name, op, seconds }): BenchCase => {
  const turn = async (backend: Backend) => {
    await seconds(backend);
    return [await seconds(backend), await seconds(backend), await seconds(backend)];
  };
  return {
    group: 'boundary',
    name,
    quick: true,
    run: (context) =>
      compete(context, { name, op, shape: '', dtype: '', ...microseconds }, [
        ours(context, { name: 'sweetspot', turn: () => turn(context.backend) }),
      ]),
  };
});

const DELAY = 'event-loop delay p99 while training';

async function delay(context: Context): Promise<Result[]> {
  const p99: number[] = [];
  const turn = async () => {
    const { eventLoopDelayMs } = await trainingHealth(context.backend, context.quick ? 40 : 100);
    p99.push(eventLoopDelayMs.p99 / 1000);
    return p99.slice(-1);
  };
  const work = {
    name: DELAY,
    op: 'event_loop_delay',
    shape: 'd64 L4 T128 B16 V2048',
    dtype: 'fp32',
    unit: 'ms' as const,
    value: (seconds: number) => seconds * 1e3,
    ideal: () => null,
  };
  return compete(context, work, [ours(context, { name: 'sweetspot', turn })]);
}

export const boundaryCases: readonly BenchCase[] = [
  ...boundary,
  { group: 'boundary', name: DELAY, quick: true, run: delay },
];
