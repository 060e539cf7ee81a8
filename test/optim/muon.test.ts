// Muon against the iteration written down directly in float64, and what it is for: updates with all singular values near 1.
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import { transformerConfig } from '../../ts/models/config.js';
import { transformerParameters } from '../../ts/models/transformer.js';
import { ParameterSet, type ParameterSpec } from '../../ts/nn/parameters.js';
import { ADAMW, hyperValues } from '../../ts/optim/adamw.js';
import { MUON, matrixBatches, muonRows, muonStepFlops } from '../../ts/optim/muon.js';
import { Program } from '../../ts/program/program.js';
import { Prng } from '../../ts/tensor/prng.js';
import { bufferTensor } from '../../ts/tensor/tensor.js';

type Matrix = readonly (readonly number[])[];

const times = (a: Matrix, b: Matrix): Matrix =>
  a.map((row) => b[0]!.map((_, j) => row.reduce((sum, x, p) => sum + x * b[p]![j]!, 0)));
const transposed = (a: Matrix): Matrix => a[0]!.map((_, j) => a.map((row) => row[j]!));
const combine = (a: Matrix, x: number, b: Matrix, y: number): Matrix =>
  a.map((row, i) => row.map((value, j) => x * value + y * b[i]![j]!));

/** a X + b A X + c A A X with A = X X^T, five times, from X of Frobenius norm 1. */
function orthogonalized(g: Matrix): Matrix {
  const norm = Math.hypot(...g.flat());
  let x = g.map((row) => row.map((value) => value / norm));
  for (let i = 0; i < MUON.iterations; i++) {
    const a = times(x, transposed(x));
    x = combine(x, 3.4445, times(combine(a, -4.775, times(a, a), 2.0315), x), 1).map((row) => [...row]);
  }
  return x;
}

const specs: readonly ParameterSpec[] = [0, 1, 2].flatMap((l): ParameterSpec[] => [
  { name: `layers.${l}.wide`, shape: [32, 48], kind: 'hidden', init: { kind: 'normal', std: 1 } },
  { name: `layers.${l}.fused`, shape: [80, 16], kind: 'hidden', parts: [48, 32], init: { kind: 'normal', std: 1 } },
]);

test('the update is that of the iteration, for every part of every matrix', async (t) => {
  const backend = openBackend({ threads: 2 });
  const parameters = new ParameterSet(backend, specs, { trainable: true });
  parameters.initialize(1);
  const random = new Prng(2);
  const gradients = new Map(
    specs.map(({ name, shape }) => [name, Float32Array.from({ length: shape[0]! * shape[1]! }, () => random.normal())]),
  );
  const before = await parameters.readAll();
  const settings = { ...MUON, momentum: 0.5, scale: 0.5 };
  const [hyperId, clipId] = [backend.alloc(32), backend.alloc(4)];
  const program = Program.record(backend, 'muon', () => {
    const hyper = bufferTensor('hyper', [8], 'f32', { buffer: hyperId, offset: 0 });
    muonRows(parameters, settings, hyper, bufferTensor('clip', [1], 'f32', { buffer: clipId, offset: 0 }));
  });
  backend.write(hyperId, 0, new Uint8Array(hyperValues(ADAMW, 0.01, 1).buffer));
  backend.write(clipId, 0, new Uint8Array(Float32Array.of(2).buffer));
  for (const [name, values] of gradients) {
    const { place } = parameters.tensor(name).grad!.storage as { place: { buffer: number; offset: number } };
    backend.write(place.buffer, place.offset, new Uint8Array(values.buffer));
  }
  program.run();
  const after = await parameters.readAll();
  const rate = 0.01 * 0.5;
  for (const { name, shape, parts } of specs) {
    const cols = shape[1]!;
    let first = 0;
    for (const rows of parts ?? [shape[0]!]) {
      const g = Array.from({ length: rows }, (_, i) =>
        Array.from(gradients.get(name)!.subarray((first + i) * cols, (first + i + 1) * cols)),
      );
      const wide = rows <= cols;
      const x = wide ? orthogonalized(g) : transposed(orthogonalized(transposed(g)));
      const scale = 0.2 * Math.sqrt(Math.max(rows, cols));
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < cols; j++) {
          const at = (first + i) * cols + j;
          const old = before.get(name)![at]!;
          const want = old - rate * (scale * x[i]![j]! + ADAMW.weightDecay * old);
          t.true(Math.abs(after.get(name)![at]! - want) < 2e-6, `${name} ${at}`);
        }
      first += rows;
    }
  }
  program.release();
  parameters.dispose();
  await backend.close();
});

test('singular values of an update are near 1', (t) => {
  const random = new Prng(3);
  const x = orthogonalized(Array.from({ length: 8 }, () => Array.from({ length: 12 }, () => random.normal())));
  const gram = times(x, transposed(x));
  gram.forEach((row, i) => {
    t.true(row[i]! > 0.4 && row[i]! < 1.5);
  });
});

test('equal matrices of all layers are one batch', (t) => {
  const config = transformerConfig({ vocabSize: 512, hiddenSize: 64, layers: 3, heads: 4 });
  const model = transformerParameters(config);
  const places = new Map<string, number>();
  let at = 0;
  for (const { name, shape, kind } of model) {
    if (kind !== 'hidden') continue;
    places.set(name, at);
    at += shape.reduce((a, b) => a * b, 1);
  }
  const batches = matrixBatches(model, (name) => places.get(name)!);
  // q, k, v, attention output, gate, up, down
  t.is(batches.length, 7);
  t.true(batches.every(({ count }) => count === 3));
  const covered = batches.reduce((sum, { count, rows, cols }) => sum + count * rows * cols, 0);
  t.is(covered, at);
  t.true(muonStepFlops(model, MUON) > 0);
});

test('experts that are one tensor are matrices of their own', (t) => {
  const spec = { name: 'experts', shape: [3, 80, 16], kind: 'hidden', parts: [48, 32] } as const;
  const batches = matrixBatches([{ ...spec, init: { kind: 'constant', value: 0 } }], () => 100);
  t.deepEqual(batches, [
    { offset: 100, stride: 1280, count: 3, rows: 48, cols: 16 },
    { offset: 100 + 48 * 16, stride: 1280, count: 3, rows: 32, cols: 16 },
  ]);
});
