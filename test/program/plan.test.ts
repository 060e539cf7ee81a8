// The memory plan: nothing that is still needed is overwritten. Checked on its definition (lives and places), and by
// computing: a Program whose temporaries share memory gives what one gives in which nothing is shared.
import test from 'ava';
import { onTape, Tape } from '../../ts/autograd/tape.js';
import { OPS } from '../../ts/backend/ops.gen.js';
import { outputMatrix, transformer, transformerParameters } from '../../ts/models/transformer.js';
import { ParameterSet } from '../../ts/nn/parameters.js';
import { linearCrossEntropy } from '../../ts/ops/cross_entropy.js';
import { add, mul } from '../../ts/ops/elementwise.js';
import { linear } from '../../ts/ops/matmul.js';
import { rmsNorm } from '../../ts/ops/norm.js';
import { softmax } from '../../ts/ops/softmax.js';
import { swiglu } from '../../ts/ops/swiglu.js';
import { type Plan, planMemory } from '../../ts/program/plan.js';
import { Program } from '../../ts/program/program.js';
import { Prng } from '../../ts/tensor/prng.js';
import { bufferTensor, reshape, type Storage, type Tensor } from '../../ts/tensor/tensor.js';
import { smallConfig } from '../support/models.js';
import { OracleBackend } from '../support/oracle.js';

const ROWS = 8;
const COLS = 16;

/** Where two temporaries share memory while both are needed; the take-overs that the op table allows are not counted. */
function conflicts(tape: Tape, plan: Plan): string[] {
  const lives = new Map<Storage, { first: number; last: number; name: string }>();
  const touch = (tensor: Tensor, row: number) => {
    if (tensor.storage.kind !== 'temporary') return;
    const life = lives.get(tensor.storage);
    if (life === undefined) lives.set(tensor.storage, { first: row, last: row, name: tensor.name });
    else life.last = row;
  };
  tape.rows.forEach((row, i) => {
    for (const tensor of row.operands) if (tensor !== undefined) touch(tensor, i);
  });
  for (const tensor of tape.outputs.values()) touch(tensor, tape.rows.length);

  const mayTakeOver = (row: number, out: Storage, source: Storage): boolean => {
    const { op, operands } = tape.rows[row]!;
    const specs = OPS[op].operands;
    const at = specs.findIndex((spec, j) => spec.role === 'out' && operands[j]?.storage === out);
    return specs.every((spec, j) => operands[j]?.storage !== source || specs[at]!.inplace.includes(spec.name));
  };
  const found: string[] = [];
  const list = [...lives];
  for (const [a, x] of list) {
    const from = plan.offsets.get(a)!;
    if (from + a.bytes > plan.arenaBytes || from % 64 !== 0) found.push(`${x.name} at ${from} of ${plan.arenaBytes}`);
    for (const [b, y] of list) {
      const apart = from + a.bytes <= plan.offsets.get(b)! || plan.offsets.get(b)! + b.bytes <= from;
      if (a === b || apart || x.last < y.first || y.last < x.first) continue;
      if (x.last === y.first && x.first < y.first && mayTakeOver(y.first, b, a) && from === plan.offsets.get(b))
        continue;
      if (y.last === x.first && y.first < x.first && mayTakeOver(x.first, a, b) && from === plan.offsets.get(b))
        continue;
      found.push(`${x.name} rows ${x.first}-${x.last} and ${y.name} rows ${y.first}-${y.last} at ${from}`);
    }
  }
  return found;
}

interface Sources {
  /** (ROWS, COLS) */
  readonly x: readonly Tensor[];
  /** (COLS, COLS) and (2 COLS, COLS) */
  readonly square: Tensor;
  /** (COLS, COLS), without a gradient */
  readonly frozen: Tensor;
  readonly wide: Tensor;
  /** (COLS) */
  readonly scale: Tensor;
}

/** A random net of residual connections, products and layers, some results reused much later, and its gradient. */
function randomNet(seed: number, { x, square, frozen, wide, scale }: Sources): Tensor[] {
  const random = new Prng(seed);
  const values = [...x];
  const pick = () => values[random.int(values.length)]!;
  const steps: readonly (() => Tensor)[] = [
    () => add(pick(), pick()),
    () => mul(pick(), pick()),
    () => rmsNorm(pick(), scale, 1e-5),
    () => linear(pick(), square),
    () => {
      // In the gradient one value is both a factor and a summand of its last row: the result must not take its place.
      const v = pick();
      return add(v, linear(v, frozen));
    },
    () => swiglu(linear(pick(), wide)),
    () => softmax(pick()),
    () => add(reshape(pick(), [COLS, ROWS]), reshape(pick(), [COLS, ROWS])),
    () => reshape(pick(), [ROWS / 2, 2, COLS]),
  ];
  for (let i = 4 + random.int(20); i > 0; i--) values.push(reshape(steps[random.int(steps.length)]!(), [ROWS, COLS]));
  return values.slice(x.length);
}

/** Runs the net of `seed`; with `shared` false every value is kept to the end, so no memory is used twice. */
async function run(seed: number, shared: boolean) {
  const backend = new OracleBackend();
  const buffers: [Tensor, string][] = [];
  const parameter = (name: string, shape: number[]): Tensor => {
    const make = (label: string, requiresGrad: boolean) => {
      const bytes = shape.reduce((a, b) => a * b, 4);
      const tensor = bufferTensor(label, shape, 'f32', { buffer: backend.alloc(bytes), offset: 0 }, requiresGrad);
      buffers.push([tensor, label]);
      return tensor;
    };
    return { ...make(name, true), grad: make(`d${name}`, false) };
  };
  const sources: Sources = {
    x: [parameter('x0', [ROWS, COLS]), parameter('x1', [ROWS, COLS])],
    square: parameter('square', [COLS, COLS]),
    frozen: { ...parameter('frozen', [COLS, COLS]), requiresGrad: false },
    wide: parameter('wide', [2 * COLS, COLS]),
    scale: parameter('scale', [COLS]),
  };
  let recorded: Tape | undefined;
  const program = Program.record(backend, 'net', (tape) => {
    recorded = tape;
    const values = randomNet(seed, sources);
    const last = values.at(-1)!;
    tape.output('last', last);
    const seedGradient = tape.temporary(last.shape);
    tape.emit('fill', { y: seedGradient }, { n: ROWS * COLS }, { value: 1 });
    tape.backward([{ of: last, gradient: seedGradient }]);
    if (!shared) {
      let n = 0;
      for (const row of tape.rows)
        for (const tensor of row.operands) if (tensor !== undefined) tape.output(`keep ${n++}`, tensor);
    }
  });
  const random = new Prng('values');
  const placeOf = (tensor: Tensor) => (tensor.storage.kind === 'buffer' ? tensor.storage.place.buffer : -1);
  for (const [tensor, label] of buffers) {
    const n = tensor.shape.reduce((a, b) => a * b, 1);
    if (!label.startsWith('d'))
      backend.writeF32(
        placeOf(tensor),
        0,
        Float64Array.from({ length: n }, () => random.normal()),
      );
  }
  program.run();
  await backend.fence();
  const results = buffers.map(([tensor]) =>
    backend.readF64(
      placeOf(tensor),
      0,
      tensor.shape.reduce((a, b) => a * b, 1),
    ),
  );
  results.push(Float64Array.from(await program.read('last')));
  return { results, program, tape: recorded! };
}

test('random nets: nothing alive is overwritten, and results are those without sharing', async (t) => {
  let saved = 0;
  for (let seed = 0; seed < 150; seed++) {
    const planned = await run(seed, true);
    t.deepEqual(conflicts(planned.tape, planned.program.plan), [], `net ${seed}`);
    const apart = await run(seed, false);
    t.deepEqual(planned.results, apart.results, `net ${seed}`);
    const { arenaBytes, sumBytes } = planned.program.plan;
    t.true(arenaBytes <= sumBytes && sumBytes <= apart.program.plan.sumBytes);
    if (arenaBytes < 0.8 * sumBytes) saved++;
  }
  t.true(saved > 100, `${saved} nets of 150 share much`);
});

function modelTape(training: boolean): { tape: Tape; plan: Plan } {
  const backend = new OracleBackend();
  const config = smallConfig(300, { layers: 4 });
  const parameters = new ParameterSet(backend, transformerParameters(config), { trainable: training });
  const ids = (name: string, shape: number[]) =>
    bufferTensor(name, shape, 'i32', { buffer: backend.alloc(4 * 8 * 24), offset: 0 });
  const scale = bufferTensor('scale', [1], 'f32', { buffer: backend.alloc(64), offset: 0 });
  const tape = new Tape();
  onTape(tape, () => {
    const hidden = transformer(config, parameters, ids('tokens', [8, 24]), ids('positions', [192]));
    const loss = linearCrossEntropy(
      hidden,
      outputMatrix(config, parameters),
      ids('targets', [192]),
      training ? scale : undefined,
    );
    tape.output('loss', loss);
    if (training) tape.backward([]);
  });
  return { tape, plan: planMemory(tape.rows, tape.outputs.values()) };
}

test('a model: nothing alive is overwritten, and the arena is smaller than the sum', (t) => {
  for (const [training, share] of [
    [false, 0.25],
    [true, 0.65],
  ] as const) {
    const { tape, plan } = modelTape(training);
    t.deepEqual(conflicts(tape, plan), []);
    t.true(plan.arenaBytes < share * plan.sumBytes, `${plan.arenaBytes} of ${plan.sumBytes}`);
  }
});

test('a plan is deterministic', (t) => {
  const [a, b] = [modelTape(true), modelTape(true)];
  t.deepEqual([...a.plan.offsets.values()], [...b.plan.offsets.values()]);
});
