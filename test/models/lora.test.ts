// Adapters against the dense model that they merge into.
import test from 'ava';
import { type Backend, openBackend } from '../../ts/backend/index.js';
import { transformerConfig } from '../../ts/models/config.js';
import { loraTrainingFlops, trainingFlops } from '../../ts/models/cost.js';
import { outputMatrix, transformer, transformerParameters } from '../../ts/models/transformer.js';
import { adapted, LoraModel, loraSettings } from '../../ts/nn/lora.js';
import { linearCrossEntropy } from '../../ts/ops/cross_entropy.js';
import { Program } from '../../ts/program/program.js';
import { Prng } from '../../ts/tensor/prng.js';
import { bufferTensor, type Tensor } from '../../ts/tensor/tensor.js';
import { LAYOUTS, randomValues, smallConfig } from '../support/models.js';
import { TestStep } from '../support/train_step.js';

const V = 40;
const [B, T] = [2, 12];
const rank = 4;
const bytes = (values: Int32Array | Float32Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

function input(backend: Backend, values: Int32Array | Float32Array, shape: readonly number[]): Tensor {
  const buffer = backend.alloc(values.byteLength);
  backend.write(buffer, 0, bytes(values));
  return bufferTensor('input', shape, values instanceof Int32Array ? 'i32' : 'f32', { buffer, offset: 0 });
}

for (const [name, given] of Object.entries(LAYOUTS)) {
  test(`loss and gradients are those of the merged model: ${name}`, async (t) => {
    const backend = openBackend();
    const config = smallConfig(V, given);
    const random = new Prng(name);
    const ids = () => Int32Array.from({ length: B * T }, () => random.int(V));
    const batch = { batch: B, time: T, tokens: ids(), targets: ids() };
    const specs = transformerParameters(config);
    const model = new LoraModel(backend, specs, randomValues(config, 1), loraSettings({ rank, alpha: 6 }), 1);
    for (const { name, shape } of model.adapters.specs) {
      const values = Float32Array.from({ length: shape[0]! * shape[1]! }, () => 0.1 * random.normal());
      model.adapters.write(name, values);
    }
    const tokens = input(backend, batch.tokens, [B, T]);
    const positions = input(
      backend,
      Int32Array.from({ length: B * T }, (_, i) => i % T),
      [B * T],
    );
    const targets = input(backend, batch.targets, [B, T]);
    const scale = input(backend, Float32Array.of(1 / (B * T)), [1]);
    const program = Program.record(backend, 'lora', (tape) => {
      const hidden = transformer(config, model, tokens, positions, { linear: model.linear });
      const options = { cap: config.logitCap };
      tape.output('losses', linearCrossEntropy(hidden, outputMatrix(config, model), targets, scale, options));
      tape.backward([]);
      for (const { name } of model.adapters.specs) tape.output(name, model.adapters.tensor(name).grad!);
    });
    program.run();
    model.merge();
    const dense = new TestStep(backend, config, batch);
    for (const [name, values] of await model.merged.readAll()) dense.parameters.write(name, values);
    dense.run();
    const losses = await program.read('losses');
    const loss = losses.reduce((sum, one) => sum + one / (B * T), 0);
    t.true(Math.abs(loss - (await dense.readLoss())) < 1e-5 * loss);

    const gradients = await dense.gradients();
    for (const { name, shape } of specs.filter(adapted)) {
      const [out, width] = [shape[0]!, shape[1]!];
      const dw = gradients.get(name)!;
      const a = await model.adapters.read(`${name}.lora_a`);
      const b = await model.adapters.read(`${name}.lora_b`);
      const da = await program.read(`${name}.lora_a`);
      const db = await program.read(`${name}.lora_b`);
      const near = (found: number, want: number, what: string) => {
        if (!(Math.abs(found - want) < 2e-5 * (1 + Math.abs(want)))) t.fail(`${name} ${what}: ${found}, not ${want}`);
      };
      for (let r = 0; r < rank; r++) {
        for (let j = 0; j < width; j++) {
          let sum = 0;
          for (let i = 0; i < out; i++) sum += b[i * rank + r]! * dw[i * width + j]!;
          near(da[r * width + j]!, 1.5 * sum, 'a');
        }
        for (let i = 0; i < out; i++) {
          let sum = 0;
          for (let j = 0; j < width; j++) sum += a[r * width + j]! * dw[i * width + j]!;
          near(db[i * rank + r]!, 1.5 * sum, 'b');
        }
      }
    }
    await backend.close();
  });
}

test('adapters start as the model itself, and cost two thirds and a little', async (t) => {
  const backend = openBackend();
  const config = smallConfig(V);
  const values = randomValues(config, 2);
  const model = new LoraModel(backend, transformerParameters(config), values, loraSettings({ rank }), 1);
  model.merge();
  for (const [name, merged] of await model.merged.readAll()) t.deepEqual(merged, values.get(name));
  model.dispose();
  await backend.fence();
  t.is(backend.allocated(), 0);
  await backend.close();
  const large = transformerConfig({ vocabSize: 1000, hiddenSize: 256, layers: 4, heads: 4 });
  const share = loraTrainingFlops(large, 8, 1000) / trainingFlops(large, 1000);
  t.true(share > 2 / 3 && share < 0.75, String(share));
  t.throws(() => loraSettings({ rank: 0 }), { code: 'SWEETSPOT_USAGE' });
});
