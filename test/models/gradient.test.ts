// Gradients of whole models: those of the CPU backend against the oracle's, and the oracle's against finite differences
// of its loss in float64. Every parameter on its own, so that a wrong small one cannot hide behind a large one.
import test from 'ava';
import type { Backend } from '../../ts/backend/backend.js';
import { openBackend } from '../../ts/backend/index.js';
import { bankConfig } from '../../ts/models/config.js';
import { fromTiles, toTiles } from '../../ts/nn/parameters.js';
import { Prng } from '../../ts/tensor/prng.js';
import type { Tensor } from '../../ts/tensor/tensor.js';
import { LAYOUTS, smallConfig } from '../support/models.js';
import { OracleBackend } from '../support/oracle.js';
import { relativeDifference, type TestBatch, TestStep, type TestStepOptions } from '../support/train_step.js';

const V = 61;
const B = 4;
const T = 7;

function batchOf(seed: string): TestBatch {
  const random = new Prng(seed);
  const tokens = Int32Array.from({ length: B * T }, () => random.int(V));
  const targets = Int32Array.from({ length: B * T }, (_, i) => (i % 5 === 4 ? -1 : random.int(V)));
  return { batch: B, time: T, tokens, targets };
}

const small = smallConfig(V, { layers: 2 });
const bank = bankConfig(small, { slices: 3, experts: 5, expertVector: 4, projectedLayers: [1] });
// Groups of one window, two and one; an empty group in between, as when fewer clusters are present than there is room for.
const groups = { clusters: Int32Array.of(3, 0, 4, 1), offsets: Int32Array.of(0, T, 3 * T, 3 * T, 4 * T) };
// The same windows in slots of which the last is not used.
const spare = {
  clusters: Int32Array.of(3, 0, 1, 0),
  offsets: Int32Array.of(0, T, 3 * T, 4 * T, 4 * T),
  count: Int32Array.of(3),
};
const batch = batchOf('batch');

const cases: readonly {
  name: string;
  batch: TestBatch;
  given: Parameters<typeof smallConfig>[1];
  options: TestStepOptions;
}[] = [
  ...Object.entries(LAYOUTS).map(([name, given]) => ({ name, batch, given, options: {} })),
  { name: 'bank with a shared slice', batch: { ...batch, ...groups }, given: {}, options: { bank } },
  { name: 'bank with a slot to spare', batch: { ...batch, ...spare }, given: {}, options: { bank } },
  { name: 'low-rank slices', batch: { ...batch, ...groups }, given: {}, options: { bank: { ...bank, sliceRank: 2 } } },
  {
    name: 'low-rank slices with a slot to spare',
    batch: { ...batch, ...spare },
    given: {},
    options: { bank: { ...bank, sliceRank: 2 } },
  },
  { name: 'bank without', batch: { ...batch, ...groups }, given: {}, options: { bank: { ...bank, shared: false } } },
];

/** Values in which nothing is zero or one: a bank with a shared slice would start at zero. */
function fill(step: TestStep): void {
  for (const { name, shape, kind } of step.parameters.specs) {
    const random = new Prng(`values/${name}`);
    const scale = name === 'embedding' ? 1 : 0.3;
    const size = shape.reduce((a, b) => a * b, 1);
    const value = () => (kind === 'vector' ? 0.5 + random.next() : scale * random.normal());
    step.parameters.write(name, Float32Array.from({ length: size }, value));
  }
}

async function gradientsOn(backend: Backend, one: (typeof cases)[number]) {
  const step = new TestStep(backend, smallConfig(V, one.given), one.batch, one.options);
  fill(step);
  step.run();
  const result = { loss: await step.readLoss(), gradients: await step.gradients() };
  step.dispose();
  return result;
}

for (const one of cases) {
  test(`gradient of ${one.name}: CPU equals oracle`, async (t) => {
    const expected = await gradientsOn(new OracleBackend(), one);
    for (const threads of [1, 2]) {
      const backend = openBackend({ threads });
      const found = await gradientsOn(backend, one);
      t.true(Math.abs(found.loss / expected.loss - 1) < 1e-5, `loss ${found.loss} for ${expected.loss}`);
      for (const [name, gradient] of expected.gradients) {
        const difference = relativeDifference(found.gradients.get(name)!, gradient);
        t.true(difference < 1e-4, `${name} differs by ${difference} with ${threads} threads`);
      }
      await backend.close();
    }
  });

  test(`gradient of ${one.name}: oracle equals finite differences`, async (t) => {
    const oracle = new OracleBackend();
    const step = new TestStep(oracle, smallConfig(V, one.given), one.batch, one.options);
    fill(step);
    const exact = (tensor: Tensor, write?: Float64Array): Float64Array => {
      const place = tensor.storage.kind === 'buffer' ? tensor.storage.place : undefined;
      if (write !== undefined) oracle.writeF32(place!.buffer, place!.offset, write);
      return oracle.readF64(
        place!.buffer,
        place!.offset,
        tensor.shape.reduce((a, b) => a * b, 1),
      );
    };
    step.run();
    const gradients = await step.gradients();
    for (const { name, kind, shape } of step.parameters.specsWith('m')) {
      const tensor = step.parameters.tensor(name);
      const start = exact(tensor);
      const random = new Prng(`direction/${name}`);
      const direction = Float64Array.from(start, () => random.normal());
      const lossAt = (move: number) => {
        exact(
          tensor,
          start.map((value, i) => value + move * direction[i]!),
        );
        step.run();
        return exact(step.loss)[0]!;
      };
      const h = 1e-5;
      const slope = (lossAt(h) - lossAt(-h)) / (2 * h);
      exact(tensor, start);
      const gradient = gradients.get(name)!;
      // Slices lie tile by tile in memory; their gradient is (R, size).
      const along = kind === 'slices' ? fromTiles(Float32Array.from(direction), shape[0]!) : direction;
      const predicted = gradient.reduce((sum, value, i) => sum + value * along[i]!, 0);
      const length = Math.hypot(...gradient);
      t.true(length > 0, `${name} has a gradient`);
      t.true(
        Math.abs(predicted - slope) < 1e-5 * length,
        `${name}: ${predicted} along the direction, ${slope} measured`,
      );
    }
    step.dispose();
    t.is(oracle.allocated(), 0);
  });
}

test('tiles and rows of a slice parameter are inverse', (t) => {
  const values = Float32Array.from({ length: 3 * 512 }, (_, i) => i);
  t.deepEqual(fromTiles(toTiles(values, 3), 3), values);
  t.deepEqual([...toTiles(values, 3).subarray(256, 258)], [512, 513]);
});
