// A block of routed experts, forward, in bf16: choices, sorting, both grouped products, the weighted sum. Weights are
// float32 and rounded in every run, as in a training step.

import { groupedLinear } from '../../ts/ops/matmul.js';
import { combineRows, gatherRows, routeSort, topkSoftmax } from '../../ts/ops/routing.js';
import { swiglu } from '../../ts/ops/swiglu.js';
import { Program } from '../../ts/program/program.js';
import { bufferTensor, type Tensor } from '../../ts/tensor/tensor.js';
import { Device, median, report, round, row, shapes } from './device.js';

/** Runs of a Program between two fences. */
const RUNS = shapes.repeats.runs > 1 ? 10 : 1;

async function seconds(device: Device, record: () => void): Promise<number> {
  const program = Program.record(device.backend, 'routing', (t) => {
    t.precision = 'bf16';
    record();
  });
  const times: number[] = [];
  for (let i = 0; i < shapes.repeats.runs + 1; i++) {
    await device.backend.fence();
    const began = performance.now();
    for (let run = 0; run < RUNS; run++) program.run();
    await device.backend.fence();
    if (i > 0) times.push((performance.now() - began) / 1000 / RUNS);
  }
  program.release();
  return median(times);
}

export async function routing(): Promise<void> {
  await using device = new Device();
  const { tokens, experts, k, width, inner } = shapes.routing;
  const floats = experts * 2 * inner * width;
  const pool = device.pool(Math.max(floats, tokens * width));
  const numbers = (name: string, shape: readonly number[]): Tensor =>
    bufferTensor(name, shape, 'f32', { buffer: pool, offset: 0 });
  const weights = (name: string, shape: readonly number[]): Tensor => {
    const n = shape.reduce((product, axis) => product * axis, 1);
    const y = device.place(n * 4);
    const a = { buffer: pool, offset: 0 };
    device.once([row('add', { a, b: a, y }, { n }, { alpha: width ** -0.5, beta: 0 })]);
    return bufferTensor(name, shape, 'f32', y);
  };
  const [logits, x] = [numbers('logits', [tokens, experts]), numbers('x', [tokens, width])];
  const [gateUp, down] = [weights('gate_up', [experts, 2 * inner, width]), weights('down', [experts, width, inner])];
  const choose = () => {
    const { p, ids } = topkSoftmax(logits, k);
    return { p, routes: routeSort(ids, experts) };
  };
  const choosing = await seconds(device, choose);
  const whole = await seconds(device, () => {
    const { p, routes } = choose();
    const hidden = swiglu(groupedLinear(gatherRows(x, routes), gateUp, routes.offsets));
    combineRows(groupedLinear(hidden, down, routes.offsets), p, routes);
  });
  const flops = 2 * tokens * k * 3 * inner * width;
  report({
    op: 'routed experts',
    ...shapes.routing,
    chooseUs: round(choosing * 1e6),
    us: round(whole * 1e6),
    tflops: round(flops / whole / 1e12),
  });
  device.free();
}
