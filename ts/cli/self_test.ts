// A product of two 64 x 64 matrices on a backend against the same in float64: whether the kernels of this machine compute.
import type { Backend } from '../backend/index.js';
import { linear } from '../ops/matmul.js';
import { Program } from '../program/program.js';
import { Prng } from '../tensor/prng.js';
import { bufferTensor } from '../tensor/tensor.js';

const N = 64;
const BYTES = N * N * 4;
/** Sums of 64 products of numbers of size 1 lose about 1e-6; this much means wrong kernels. */
const TOLERANCE = 1e-4;

export interface SelfTest {
  readonly ok: boolean;
  /** Largest difference of an element. */
  readonly largestError: number;
}

/** Throws SWEETSPOT_PROGRAM when the backend refuses or fails. */
export async function selfTest(backend: Backend): Promise<SelfTest> {
  const random = new Prng('self-test');
  const draw = () => Float32Array.from({ length: N * N }, () => random.normal());
  const [x, w] = [draw(), draw()];
  const buffer = backend.alloc(2 * BYTES);
  const input = (name: string, offset: number, values: Float32Array) => {
    backend.write(buffer, offset, new Uint8Array(values.buffer));
    return bufferTensor(name, [N, N], 'f32', { buffer, offset });
  };
  const [a, b] = [input('x', 0, x), input('w', BYTES, w)];
  const program = Program.record(backend, 'self-test', (tape) => tape.output('y', linear(a, b)));
  try {
    program.run();
    const y = await program.read('y');
    let largestError = 0;
    for (let i = 0; i < N; i++) {
      for (let j = 0; j < N; j++) {
        let sum = 0;
        for (let k = 0; k < N; k++) sum += x[i * N + k]! * w[j * N + k]!;
        const error = Math.abs(sum - y[i * N + j]!);
        // Written so that NaN counts as an error.
        if (!(error <= largestError)) largestError = error;
      }
    }
    return { ok: largestError <= TOLERANCE, largestError };
  } finally {
    program.release();
    backend.free(buffer);
  }
}
