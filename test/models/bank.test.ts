// A bank against the dense models that it stands for.
import test from 'ava';
import { openBackend } from '../../ts/backend/index.js';
import {
  bankNames,
  bankParameters,
  coefficientSpread,
  EXPERTS,
  hostVectors,
  instantiate,
} from '../../ts/models/bank.js';
import { bankConfig } from '../../ts/models/config.js';
import { bankParameterCount, bankStepFlops, denseParameterCount, forwardFlops } from '../../ts/models/cost.js';
import { layerNames, transformerParameters } from '../../ts/models/transformer.js';
import { fromTiles, ParameterSet, toTiles } from '../../ts/nn/parameters.js';
import { bf16ToF32, f32ToBf16 } from '../../ts/tensor/float16.js';
import { Prng } from '../../ts/tensor/prng.js';
import { fillGroups } from '../../ts/train/step.js';
import { smallConfig } from '../support/models.js';
import { TestStep } from '../support/train_step.js';

const config = smallConfig(64);

for (const [shared, sliceType, sliceRank] of [
  [true, 'f32', 0],
  [false, 'f32', 0],
  [true, 'bf16', 0],
  [true, 'f32', 2],
] as const) {
  const name = `shared slice ${shared}, slices ${sliceType} of rank ${sliceRank}`;
  test(`every window is computed with the weights of its own cluster, ${name}`, async (t) => {
    const backend = openBackend();
    const given = { experts: 4, slices: 3, expertVector: 2, projectedLayers: [1] };
    const bank = bankConfig(config, { ...given, shared, sliceType, sliceRank });
    const [B, T] = [4, config.contextLength];
    const random = new Prng(1);
    const tokens = Int32Array.from({ length: B * T }, () => random.int(64));
    const targets = Int32Array.from({ length: B * T }, () => random.int(64));
    // Clusters 0, 2, 2, 3 in the batch; cluster 1 is absent.
    const slots = new Int32Array(4);
    const offsets = new Int32Array(5);
    fillGroups(Int32Array.of(0, 2, 2, 3), T, slots, offsets);
    t.deepEqual([...offsets], [0, T, 3 * T, 4 * T, 4 * T]);
    const together = new TestStep(
      backend,
      config,
      { batch: B, time: T, tokens, targets, clusters: slots, offsets },
      { bank },
    );
    together.parameters.initialize(1);
    for (const { name, kind, shape } of together.parameters.specs) {
      if (kind !== 'slices' && kind !== 'factors') continue;
      const size = shape.reduce((a, b) => a * b, 1);
      together.parameters.write(
        name,
        Float32Array.from({ length: size }, () => 0.1 * random.normal()),
      );
    }
    const values = await together.parameters.readAll();
    const experts = values.get(EXPERTS)!;
    together.run();
    const loss = await together.readLoss();
    let sum = 0;
    for (const [row, cluster] of [0, 2, 2, 3].entries()) {
      const vector = experts.slice(2 * cluster, 2 * cluster + 2);
      const dense = await instantiate(backend, config, bank, together.parameters, vector);
      t.deepEqual(
        [...dense.keys()].sort(),
        transformerParameters(config)
          .map((spec) => spec.name)
          .sort(),
      );
      const cut = (x: Int32Array) => x.slice(row * T, (row + 1) * T);
      const alone = new TestStep(backend, config, { batch: 1, time: T, tokens: cut(tokens), targets: cut(targets) });
      dense.forEach((v, name) => {
        alone.parameters.write(name, v);
      });
      alone.run();
      sum += await alone.readLoss();
    }
    t.true(Math.abs(sum / B - loss) < 1e-5 * loss, `${sum / B} and ${loss}`);
    await backend.close();
  });
}

test('routing is alive: coefficients differ between experts, and a spread of zero is reported as zero', (t) => {
  const backend = openBackend();
  const bank = bankConfig(config, { experts: 4, slices: 3 });
  const parameters = new ParameterSet(backend, bankParameters(config, bank), { trainable: false });
  parameters.initialize(1);
  return parameters.readAll().then(async (values) => {
    t.true(coefficientSpread(bank, values) > 0.5);
    const one = values.get(EXPERTS)!.slice(0, bank.expertVector);
    const same = new Map(values).set(
      EXPERTS,
      Float32Array.from({ length: 4 * one.length }, (_, i) => one[i % one.length]!),
    );
    t.true(coefficientSpread(bank, same) < 1e-6);
    await backend.close();
  });
});

test('slices in bf16 come back as they went in, to the nearest; their moments stay float32', async (t) => {
  const backend = openBackend();
  const bank = bankConfig(config, { experts: 4, slices: 3, sliceType: 'bf16' });
  const parameters = new ParameterSet(backend, bankParameters(config, bank), { trainable: true });
  const random = new Prng(5);
  for (const { name, shape, kind } of parameters.specs) {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal());
    for (const moment of ['value', 'm', 'v'] as const) parameters.write(name, values, moment);
    const nearest = bf16ToF32(f32ToBf16(values));
    t.deepEqual(await parameters.read(name), kind === 'slices' ? nearest : values);
    parameters.write(name, nearest);
    t.deepEqual(await parameters.read(name), nearest);
    t.deepEqual(await parameters.read(name, 'v'), values);
  }
  parameters.dispose();
  await backend.close();
});

test('an MLP makes the same coefficients on the device and on the host', async (t) => {
  const backend = openBackend();
  const bank = bankConfig(config, { experts: 3, slices: 4, conditioning: 'histogram', mlpWidth: 8, shared: false });
  const parameters = new ParameterSet(backend, bankParameters(config, bank), { trainable: false });
  parameters.initialize(5);
  const values = await parameters.readAll();
  const histogram = Float32Array.of(0.2, 0.7, 0.1);
  const vector = hostVectors(bank, values, [histogram]);
  const dense = await instantiate(backend, config, bank, parameters, histogram);
  const { mixing, down } = bankNames(1);
  const c = Array.from({ length: 4 }, (_, r) =>
    vector.reduce((sum, e, q) => sum + e * values.get(mixing)![q * 4 + r]!, 0),
  );
  const slices = values.get(down)!;
  const size = slices.length / 4;
  dense.get(layerNames(1).down)!.forEach((value, i) => {
    const want = c.reduce((sum, factor, r) => sum + factor * slices[r * size + i]!, 0);
    if (Math.abs(value - want) > 1e-6) t.fail(`${i}: ${value}, should be ${want}`);
  });
  t.pass();
  parameters.dispose();
  await backend.close();
});

test('tiles and rows are inverse', (t) => {
  const rows = Float32Array.from({ length: 3 * 512 }, (_, i) => i);
  t.deepEqual(fromTiles(toTiles(rows, 3), 3), rows);
  t.is(toTiles(rows, 3)[256], 512);
});

test('low-rank slices: the bank starts as its shared slice, and forms that cannot be are refused', async (t) => {
  const backend = openBackend();
  const bank = bankConfig(config, { experts: 4, slices: 3, sliceRank: 2 });
  const parameters = new ParameterSet(backend, bankParameters(config, bank), { trainable: false });
  parameters.initialize(1);
  const values = await parameters.readAll();
  const dense = await instantiate(backend, config, bank, parameters, values.get(EXPERTS)!.slice(0, 3));
  for (const { name } of transformerParameters(config)) t.deepEqual(dense.get(name), values.get(name), name);
  parameters.dispose();
  for (const given of [{ sliceRank: 33 }, { sliceRank: 1.5 }, { sliceRank: -1 }])
    t.throws(() => bankConfig(config, { experts: 4, ...given }), { code: 'SWEETSPOT_USAGE', message: /sliceRank/ });
  for (const given of [{ shared: false }, { sliceType: 'bf16' as const }])
    t.throws(() => bankConfig(config, { experts: 4, sliceRank: 2, ...given }), {
      code: 'SWEETSPOT_USAGE',
      message: /low-rank slices/,
    });
  await backend.close();
});

test('sizes and costs by hand', (t) => {
  const small = smallConfig(64, { contextLength: 24 });
  const layer = 32 + 3 * 32 * 32 + 32 * 32 + 32 + 3 * 32 * 48;
  t.is(denseParameterCount(small), 64 * 32 + 2 * layer + 32);
  const bank = bankConfig(small, { experts: 4, slices: 3, expertVector: 5, sliceRank: 2, projectedLayers: [1] });
  const factors = 3 * 2 * (2 * 48 + 32 + 32 + 48);
  t.is(bankParameterCount(small, bank), denseParameterCount(small) + 4 * 5 + 5 * 3 + factors);
  t.is(bankStepFlops(small, bank, 7), 3 * 2 * 7 * (3 * 2) * (3 * 32 * 48));
  t.is(forwardFlops(small), 2 * (2 * (4 * 32 * 32 + 3 * 32 * 48) + 64 * 32) + 2 * 2 * 24 * 32);
});
