// Products in onnxruntime-web on WebAssembly: a model of a single Gemm, whose B is a constant, which it may pack once. A goes in and C comes
// out by a copy at every call: it has no other way. node ort_web.mjs FOLDER THREADS
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { serve } from './protocol.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const entry = require.resolve('onnxruntime-web');
const ort = require('onnxruntime-web');
ort.env.wasm.numThreads = Number(process.argv[3]);
ort.env.wasm.wasmPaths = `${pathToFileURL(path.dirname(entry)).href}/`;

// Fields of protocol buffers: numbers, and bytes with their length.
const varint = (value) => {
  const bytes = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
};
const int = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field, ...parts) => {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([varint(field * 8 + 2), varint(body.length), body]);
};

const FLOAT = 1;
const INT_ATTRIBUTE = 2;
/** ValueInfoProto of a float matrix. */
const matrix = (field, name, dims) => {
  const shape = dims.map((dim) => bytes(1, int(1, dim)));
  return bytes(field, bytes(1, name), bytes(2, bytes(1, int(1, FLOAT), bytes(2, ...shape))));
};
const flag = (name, value) => bytes(5, bytes(1, name), int(3, value), int(20, INT_ATTRIBUTE));

/** ModelProto of c = op(a) op(b), b a constant. */
function model({ m, n, k, transA, transB }, b) {
  const node = bytes(
    1,
    bytes(1, 'a'),
    bytes(1, 'b'),
    bytes(2, 'c'),
    bytes(4, 'Gemm'),
    flag('transA', transA),
    flag('transB', transB),
  );
  const dims = transB ? [n, k] : [k, n];
  const raw = new Uint8Array(b.buffer, b.byteOffset, b.byteLength);
  const constant = bytes(5, ...dims.map((dim) => int(1, dim)), int(2, FLOAT), bytes(8, 'b'), bytes(9, raw));
  const inputs = matrix(11, 'a', transA ? [k, m] : [m, k]);
  const graph = bytes(7, node, bytes(2, 'gemm'), constant, inputs, matrix(12, 'c', [m, n]));
  return Buffer.concat([int(1, 8), graph, bytes(8, bytes(1, ''), int(2, 13))]);
}

await serve(
  { peer: 'onnxruntime-web', version: ort.env.versions.web, kernel: 'wasm simd', threads: ort.env.wasm.numThreads },
  async (request, valuesA, valuesB) => {
    const { m, k, transA } = request;
    const session = await ort.InferenceSession.create(model(request, valuesB), { executionProviders: ['wasm'] });
    const a = new ort.Tensor('float32', valuesA, transA ? [k, m] : [m, k]);
    let c;
    return {
      multiply: async () => {
        ({ c } = await session.run({ a }));
      },
      result: () => c.data,
      dispose: () => session.release(),
    };
  },
);
