// Capped logits where they are made by the chunk: in the loss, alone and beside a teacher, and in what a teacher says.
import test from 'ava';
import { SweetspotError } from '../../ts/backend/errors.js';
import { openBackend } from '../../ts/backend/index.js';
import { Corpus } from '../../ts/data/corpus.js';
import { cutWindows } from '../../ts/data/windows.js';
import { transformerConfig } from '../../ts/models/config.js';
import { ParameterSet } from '../../ts/nn/parameters.js';
import { linearCrossEntropy } from '../../ts/ops/cross_entropy.js';
import type { Taught } from '../../ts/ops/teacher.js';
import { Program } from '../../ts/program/program.js';
import { Decoder } from '../../ts/serve/decoder.js';
import { Prng } from '../../ts/tensor/prng.js';
import { bufferTensor, type Tensor } from '../../ts/tensor/tensor.js';
import { teach, teacherSettings } from '../../ts/train/teacher.js';
import { smallModel, smallTokenizer, TEXTS } from '../support/models.js';
import { OracleBackend } from '../support/oracle.js';

for (const taught of [false, true]) {
  test(`the gradient of a capped loss equals finite differences${taught ? ', with a teacher' : ''}`, (t) => {
    const [rows, width, vocab, cap] = [5, 16, 7, 1.5];
    const backend = new OracleBackend();
    const parameters = new ParameterSet(
      backend,
      [
        { name: 'x', shape: [rows, width], kind: 'matrix', init: { kind: 'normal', std: 1 } },
        { name: 'w', shape: [vocab, width], kind: 'matrix', init: { kind: 'normal', std: 1 } },
      ],
      { trainable: true },
    );
    parameters.initialize(1);
    const put = (name: string, values: Int32Array | Float32Array, shape: number[]) => {
      const buffer = backend.alloc(values.byteLength);
      backend.write(buffer, 0, new Uint8Array(values.buffer));
      return bufferTensor(name, shape, values instanceof Int32Array ? 'i32' : 'f32', { buffer, offset: 0 });
    };
    const targets = put('targets', Int32Array.of(1, 6, -1, 0, 3), [rows]);
    const scale = put('scale', Float32Array.of(0.25), [1]);
    const total = put('total', new Float32Array(1), [1]);
    const word: Taught = {
      ids: put('ids', Int32Array.of(1, 2, 6, 0, 3, 4, 0, 1, 5, 2), [rows, 2]),
      p: put('p', Float32Array.of(0.5, 0.3, 0.6, 0.2, 0.4, 0.4, 0.7, 0.1, 0.5, 0.2), [rows, 2]),
      weight: 0.6,
      temperature: 2,
    };
    const program = Program.record(backend, 'loss', (tape) => {
      const [x, w] = [parameters.tensor('x'), parameters.tensor('w')];
      const losses = linearCrossEntropy(x, w, targets, scale, { cap, taught: taught ? word : undefined });
      tape.emit('reduce_sum', { x: losses, y: total }, { outer: 1, n: rows, inner: 1 }, { alpha: 0.25 });
      tape.backward([]);
    });
    const place = ({ storage }: Tensor) => (storage.kind === 'buffer' ? storage.place : undefined)!;
    for (const name of ['x', 'w']) {
      program.run();
      const size = name === 'x' ? rows * width : vocab * width;
      const parameter = parameters.tensor(name);
      const [at, gradientAt] = [place(parameter), place(parameter.grad!)];
      const start = backend.readF64(at.buffer, at.offset, size);
      const gradient = backend.readF64(gradientAt.buffer, gradientAt.offset, size);
      const random = new Prng(name);
      const direction = Float64Array.from(start, () => random.normal());
      const lossAt = (move: number) => {
        backend.writeF32(
          at.buffer,
          at.offset,
          start.map((value, i) => value + move * direction[i]!),
        );
        program.run();
        return backend.readF64(place(total).buffer, 0, 1)[0]!;
      };
      const slope = (lossAt(1e-5) - lossAt(-1e-5)) / 2e-5;
      lossAt(0);
      const predicted = gradient.reduce((sum, value, i) => sum + value * direction[i]!, 0);
      t.true(Math.abs(predicted) > 1e-3);
      t.true(Math.abs(predicted - slope) < 1e-7, `${name}: ${predicted}, measured ${slope}`);
    }
  });
}

test('a teacher with capped logits says what it would decode', async (t) => {
  const backend = openBackend();
  const tokenizer = await smallTokenizer();
  const model = smallModel(backend, tokenizer, { logitCap: 3 });
  const corpus = Corpus.fromTexts(TEXTS.slice(0, 2), tokenizer);
  const windows = cutWindows(corpus, model.config.contextLength);
  const settings = teacherSettings({ topK: 4, temperature: 2 }, tokenizer.vocabSize);
  const { ids, p } = await teach(backend, model, corpus, windows, settings);
  const decoder = new Decoder(model);
  for (let i = 0; i < windows.length[0]!; i++) {
    const logits = await decoder.read([corpus.document(0)[i]!]);
    t.true(logits.every((value) => Math.abs(value) <= 3));
    const powers = logits.map((value) => Math.exp(value / 2));
    const sum = powers.reduce((a, b) => a + b, 0);
    for (let j = 0; j < 4; j++) {
      const expected = powers[ids[4 * i + j]!]! / sum;
      t.true(Math.abs(p[4 * i + j]! / expected - 1) < 1e-4, `${p[4 * i + j]} for ${expected}`);
    }
  }
  decoder.dispose();
  model.dispose();
  await backend.close();
});

test('a cap that cannot be is refused', (t) => {
  const sizes = { vocabSize: 300, hiddenSize: 32, layers: 1, heads: 2 };
  for (const logitCap of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
    t.throws(() => transformerConfig({ ...sizes, logitCap }), { instanceOf: SweetspotError, message: /logitCap/ });
  t.is(transformerConfig(sizes).logitCap, 0);
});
