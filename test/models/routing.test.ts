// A mixture layer as the ops are meant to be used: router, sort, gather, one matrix an expert, weighted sum. Its gradients on
// the CPU backend against the oracle's, and the oracle's against finite differences.
import test from 'ava';
import type { Tape } from '../../ts/autograd/tape.js';
import type { Backend } from '../../ts/backend/backend.js';
import { openBackend } from '../../ts/backend/index.js';
import { mul } from '../../ts/ops/elementwise.js';
import { groupedLinear, linear } from '../../ts/ops/matmul.js';
import { reduceSum } from '../../ts/ops/reduce.js';
import { combineRows, gatherRows, routerLosses, routeSort, topkSoftmax } from '../../ts/ops/routing.js';
import { Program } from '../../ts/program/program.js';
import { Prng } from '../../ts/tensor/prng.js';
import { bufferTensor, type Tensor } from '../../ts/tensor/tensor.js';
import { OracleBackend } from '../support/oracle.js';
import { relativeDifference } from '../support/train_step.js';

const [N, C, E, K] = [13, 8, 5, 2];
const WEIGHTS = { balance: 0.7, z: 0.3 };
const SHAPES = { x: [N, C], router: [E, C], experts: [E, C, C] } as const;
type Name = keyof typeof SHAPES;

const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const placeOf = ({ storage }: Tensor) => {
  if (storage.kind !== 'buffer') throw new RangeError('not in a buffer');
  return storage.place;
};

class Layer {
  readonly tensors: Readonly<Record<Name, Tensor>>;
  readonly loss: Tensor;
  /** (E + 2): loads, load balance, z. */
  readonly figures: Tensor;
  readonly program: Program;

  constructor(
    readonly backend: Backend,
    normalize: boolean,
  ) {
    const parameter = (name: Name): Tensor => {
      const random = new Prng(name);
      const values = Float32Array.from({ length: count(SHAPES[name]) }, () => random.normal());
      return {
        ...this.#tensor(name, SHAPES[name], values),
        requiresGrad: true,
        grad: this.#tensor(`d${name}`, SHAPES[name]),
      };
    };
    this.tensors = { x: parameter('x'), router: parameter('router'), experts: parameter('experts') };
    this.loss = this.#tensor('loss', [1]);
    this.figures = this.#tensor('figures', [E + 2]);
    const seed = this.#tensor('seed', [1], Float32Array.of(1));
    this.program = Program.record(backend, 'mixture', (t: Tape) => {
      const { x, router, experts } = this.tensors;
      const logits = linear(x, router);
      const { p, ids, lse } = topkSoftmax(logits, K, { normalize, lse: true });
      const routes = routeSort(ids, E);
      routerLosses({ logits, lse: lse!, offsets: routes.offsets }, this.figures, WEIGHTS);
      const y = combineRows(groupedLinear(gatherRows(x, routes), experts, routes.offsets), p, routes);
      // Squares of the outputs plus those of lse, which reach the logits another way than the z-loss.
      const flat = (a: Tensor): Tensor => reduceSum({ ...a, shape: [count(a.shape)] }, 0);
      const [squares, z] = [flat(mul(y, y)), flat(mul(lse!, lse!))];
      t.emit('add', { a: squares, b: z, y: this.loss }, { n: 1 }, { alpha: 1, beta: 1 });
      t.backward([
        { of: squares, gradient: seed },
        { of: z, gradient: seed },
      ]);
    });
  }

  async read(tensor: Tensor): Promise<Float32Array> {
    const bytes = await this.backend.read(placeOf(tensor).buffer, 0, 4 * count(tensor.shape));
    return new Float32Array(bytes.slice().buffer);
  }

  #tensor(name: string, shape: readonly number[], values = new Float32Array(count(shape))): Tensor {
    const buffer = this.backend.alloc(values.byteLength);
    this.backend.write(buffer, 0, new Uint8Array(values.buffer));
    return bufferTensor(name, shape, 'f32', { buffer, offset: 0 });
  }
}

for (const normalize of [true, false]) {
  test(`a mixture layer, normalize ${normalize}`, async (t) => {
    const oracle = new OracleBackend();
    const [expected, found] = [new Layer(oracle, normalize), new Layer(openBackend({ threads: 2 }), normalize)];
    expected.program.run();
    found.program.run();
    t.true(relativeDifference(await found.read(found.loss), await expected.read(expected.loss)) < 1e-5);
    for (const name of Object.keys(SHAPES) as Name[]) {
      expected.program.run();
      const tensor = expected.tensors[name];
      const gradient = oracle.readF64(placeOf(tensor.grad!).buffer, 0, count(SHAPES[name]));
      const onDevice = await found.read(found.tensors[name].grad!);
      t.true(relativeDifference(onDevice, gradient) < 1e-5, `${name} on the CPU`);

      const { buffer } = placeOf(tensor);
      const start = oracle.readF64(buffer, 0, gradient.length);
      const random = new Prng(`direction/${name}`);
      const direction = start.map(() => random.normal());
      const lossAt = (step: number) => {
        const moved = start.map((value, i) => value + step * direction[i]!);
        oracle.writeF32(buffer, 0, moved);
        expected.program.run();
        const figures = oracle.readF64(placeOf(expected.figures).buffer, 0, E + 2);
        const losses = WEIGHTS.balance * figures[E]! + WEIGHTS.z * figures[E + 1]!;
        return oracle.readF64(placeOf(expected.loss).buffer, 0, 1)[0]! + losses;
      };
      const h = 1e-5;
      const slope = (lossAt(h) - lossAt(-h)) / (2 * h);
      oracle.writeF32(buffer, 0, start);
      const predicted = gradient.reduce((sum, value, i) => sum + value * direction[i]!, 0);
      const length = Math.hypot(...gradient);
      t.true(length > 0 && Math.abs(predicted - slope) < 1e-6 * length, `${name}: ${predicted}, measured ${slope}`);
    }
    await found.backend.close();
  });
}
