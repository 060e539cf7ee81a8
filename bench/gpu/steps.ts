// Whole training steps of the paper's 126M model in bf16: plain, and with a bank of 1.4 billion values; and where the time
// of a step goes.
import { trainingFlops } from '../../ts/models/cost.js';
import { label, rowFlops, timeRows } from '../profile.js';
import { countBytes, type Moved } from './bytes.js';
import { Device, median, report, round, shapes } from './device.js';
import { Recorder } from './recorder.js';
import { PaperStep } from './step.js';

/** Steps between two looks at the clock, and how often. */
const [STEPS, ROUNDS] = shapes.repeats.runs > 1 ? [4, 3] : [1, 1];

/** Times a step of so many windows; without memory for it, an error. */
async function time(sequences: number, clusters: number, profiled: boolean): Promise<void> {
  const began = performance.now();
  await using device = new Device();
  const recorder = new Recorder(device.backend);
  const model = new PaperStep(recorder, shapes, sequences, clusters);
  model.initialize(device);
  const first = await model.run(2);
  const setUp = (performance.now() - began) / 1000;
  const times: number[] = [];
  let last = first;
  for (let i = 0; i < ROUNDS; i++) {
    const start = performance.now();
    last = await model.run(STEPS);
    times.push((performance.now() - start) / 1000 / STEPS);
  }
  const seconds = median(times);
  const tokens = sequences * shapes.model.time;
  report({
    op: 'train step',
    library: process.env['SWEETSPOT_CUDA_GEMM'] ?? 'own',
    sequences,
    tokens,
    clusters,
    parameters: model.parameters.count,
    ms: round(seconds * 1e3),
    tokensPerSecond: Math.round(tokens / seconds),
    tflops: round(trainingFlops(model.config, tokens) / seconds / 1e12),
    allocatedGB: round(device.backend.allocated() / 1e9),
    setUpSeconds: round(setUp),
    losses: [round(first), round(last)],
    // A model that knows nothing loses about as much as the same probability for every token.
    plausible: Math.abs(first - Math.log(shapes.model.vocabulary)) < 1 && last < first,
  });
  if (profiled) await profile(device, recorder, clusters);
  model.dispose();
}

/** Milliseconds by op, with what each op reached. A row's time and bytes include the copies in bf16 that are made for it. */
async function profile(device: Device, recorder: Recorder, clusters: number): Promise<void> {
  const program = recorder.program!;
  let moved: readonly Moved[] = [];
  try {
    moved = countBytes(program).rows;
  } catch (error) {
    // Times are worth having without rates.
    report({ op: 'bytes of a step', failed: (error as Error).message });
  }
  const times = await timeRows(device.backend, program, ROUNDS > 1 ? 5 : 1);
  const sums = new Map<string, { ms: number; rows: number; flops: number; bytes: number }>();
  for (const [i, { row, ms }] of times.entries()) {
    const sum = sums.get(label(row)) ?? { ms: 0, rows: 0, flops: 0, bytes: 0 };
    sum.ms += ms;
    sum.rows++;
    sum.flops += rowFlops(row);
    sum.bytes += (moved[i]?.bytes ?? 0) + (moved[i]?.rounding ?? 0);
    sums.set(label(row), sum);
  }
  const rowsMs = times.reduce((sum, { ms }) => sum + ms, 0);
  const table = [...sums]
    .sort(([, a], [, b]) => b.ms - a.ms)
    .map(([op, { ms, rows, flops, bytes }]) => ({
      op,
      rows,
      ms: round(ms),
      share: round(ms / rowsMs),
      tflops: round(flops / ms / 1e9),
      GBs: round(bytes / ms / 1e6),
    }));
  report({ op: 'profile', clusters, rowsMs: round(rowsMs), table });
}

/** The most windows that fit: for the plain model, then for the bank and the plain model beside it. */
export async function steps(): Promise<void> {
  const fits = async (sequences: number, clusters: number, profiled: boolean): Promise<boolean> => {
    try {
      await time(sequences, clusters, profiled);
      return true;
    } catch (error) {
      report({ op: 'train step', sequences, clusters, failed: (error as Error).message });
      return false;
    }
  };
  const firstThatFits = async (clusters: number): Promise<number | undefined> => {
    for (const sequences of shapes.sequences) if (await fits(sequences, clusters, true)) return sequences;
    return undefined;
  };
  const plain = await firstThatFits(0);
  if (process.env['SWEETSPOT_CUDA_GEMM'] !== undefined) return;
  // Most clusters take the most memory.
  const [most, ...fewer] = shapes.bank.clusters.toSorted((a, b) => b - a);
  const banked = await firstThatFits(most!);
  if (banked === undefined) return;
  for (const clusters of fewer) await fits(banked, clusters, true);
  if (banked !== plain) await fits(banked, 0, false);
}
