// Products in TensorFlow.js on its WebAssembly backend, which has no threads in Node. Its product of transposed matrices is a plain loop, many
// times slower than transposing them first, so that is what is timed. node tfjs_wasm.mjs FOLDER THREADS
import { createRequire } from 'node:module';
import path from 'node:path';
import { serve } from './protocol.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
// It asks for files of its own by fetch where there is one, which does not read files.
globalThis.fetch = undefined;
const tf = require('@tensorflow/tfjs-core');
const { setWasmPaths } = require('@tensorflow/tfjs-backend-wasm');
setWasmPaths(`${path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}${path.sep}`);
await tf.setBackend('wasm');
await tf.ready();

const kernel = (await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')) ? 'simd' : 'scalar';
await serve({ peer: 'tfjs-wasm', version: tf.version_core, kernel, threads: 1 }, (request, valuesA, valuesB) => {
  const { m, n, k, transA, transB } = request;
  const a = tf.tensor2d(valuesA, transA ? [k, m] : [m, k]);
  const b = tf.tensor2d(valuesB, transB ? [n, k] : [k, n]);
  let c;
  return {
    multiply: () => {
      c?.dispose();
      c = tf.tidy(() => tf.matMul(transA === 1 ? tf.transpose(a) : a, transB === 1 ? tf.transpose(b) : b));
    },
    result: () => c.data(),
    dispose: () => tf.dispose([a, b, c]),
  };
});
