// The bank over feed-forward matrices (PAPER, SLM-pn): for expert i and layer l, with coefficients c = E_i M_l,
//   W[l, i] = S[l] + sum_r c_r T[l]_r        for gate_up and for down.
// Experts share attention, embeddings and norms. A hard mixture is the same with one-hot coefficients on all matrices;
// a domain is any vector in place of E_i, and gives a plain dense model in closed form (instantiate).
import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import { type ParameterSet, type ParameterSpec, TILE } from '../nn/parameters.js';
import { bankMix } from '../ops/bank.js';
import { embedding } from '../ops/embedding.js';
import { groupedLinear, matmul } from '../ops/matmul.js';
import { swiglu } from '../ops/swiglu.js';
import { Program } from '../program/program.js';
import type { Prng } from '../tensor/prng.js';
import { bufferTensor, reshape, type Tensor } from '../tensor/tensor.js';
import type { BankConfig, TransformerConfig } from './config.js';
import { denseFeedForward, initialStd, layerNames, transformerParameters } from './transformer.js';

export const EXPERTS = 'bank.experts';
export const bankNames = (layer: number) => ({
  mixing: `layers.${layer}.bank.mixing`,
  gateUp: `layers.${layer}.bank.gate_up`,
  down: `layers.${layer}.bank.down`,
});

/** The dense parameters (of projected layers only the shared slices, if there are any) and the bank's. */
export function bankParameters(config: TransformerConfig, bank: BankConfig): ParameterSpec[] {
  const { hiddenSize: C, intermediateSize: F } = config;
  if ((C * F) % TILE !== 0) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'the feed-forward matrices do not divide into tiles of the bank',
      expected: `hiddenSize x intermediateSize to be a multiple of ${TILE}`,
      found: `${C} x ${F}`,
    });
  }
  const { slices: R, experts: K, expertVector: m } = bank;
  const std = initialStd(config);
  const projected = new Set(bank.projectedLayers);
  const generated = new Set(bank.projectedLayers.flatMap((l) => [layerNames(l).gateUp, layerNames(l).down]));
  const specs = transformerParameters(config).filter((spec) => bank.shared || !generated.has(spec.name));
  // |E_i| = 1 and M with rows at right angles: |E_i M| = 1, so that slices at the usual scale give experts at that scale.
  specs.push({
    name: EXPERTS,
    shape: [K, m],
    kind: 'coefficients',
    init: { kind: 'custom', values: (r) => unitRows(r, K, m) },
  });
  for (const l of projected) {
    const names = bankNames(l);
    // With a shared slice the bank starts at zero and grows away from it; without, slices carry the initial weights.
    const slices = (name: string, shape: number[], s: number): ParameterSpec => ({
      name,
      shape: [R, ...shape],
      kind: 'slices',
      init: bank.shared ? { kind: 'constant', value: 0 } : { kind: 'normal', std: s },
    });
    specs.push({
      name: names.mixing,
      shape: [m, R],
      kind: 'coefficients',
      init: { kind: 'custom', values: (r) => orthogonal(r, m, R) },
    });
    specs.push(slices(names.gateUp, [2 * F, C], std.inner));
    specs.push(slices(names.down, [C, F], std.residual));
  }
  return specs;
}

/** Which rows of a batch belong to which group, in buffers that a step fills. */
export interface Groups {
  /** i32 (G + 1): the rows of group g are offsets[g] .. offsets[g + 1]. */
  readonly offsets: Tensor;
  /** i32 (1): how many groups have rows, the first ones; nothing is spent on the others. Default: all. */
  readonly count?: Tensor | undefined;
}

/** The feed-forward block of a batch whose windows are sorted by group: experts vectors (G, m). */
export function bankFeedForward(
  bank: BankConfig,
  parameters: ParameterSet,
  vectors: Tensor,
  { offsets, count }: Groups,
): (x: Tensor, layer: number) => Tensor {
  const dense = denseFeedForward(parameters);
  const shared = (name: string) => (bank.shared ? parameters.tensor(name) : undefined);
  return (x, layer) => {
    if (!bank.projectedLayers.includes(layer)) return dense(x, layer);
    const names = bankNames(layer);
    const c = matmul(vectors, parameters.tensor(names.mixing)); // (G, R)
    const gateUp = bankMix(parameters.tensor(names.gateUp), c, shared(layerNames(layer).gateUp), count); // (G, 2F, C)
    const down = bankMix(parameters.tensor(names.down), c, shared(layerNames(layer).down), count); // (G, C, F)
    return groupedLinear(swiglu(groupedLinear(x, gateUp, offsets, count)), down, offsets, count);
  };
}

/** Expert vectors of the clusters present: clusters i32 (G) -> (G, m). */
export const expertVectors = (parameters: ParameterSet, clusters: Tensor): Tensor =>
  embedding(parameters.tensor(EXPERTS), clusters);

/** The dense model that the bank is for one vector in place of E_i (length m): names and values of transformerParameters. */
export async function instantiate(
  backend: Backend,
  config: TransformerConfig,
  bank: BankConfig,
  parameters: ParameterSet,
  vector: Float32Array,
): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  const buffer = backend.alloc(bank.expertVector * 4);
  const e = bufferTensor('vector', [1, bank.expertVector], 'f32', { buffer, offset: 0 });
  const program = Program.record(backend, 'instantiate', (t) => {
    for (const l of bank.projectedLayers) {
      const names = bankNames(l);
      const c = matmul(e, parameters.tensor(names.mixing));
      for (const [slices, name] of [
        [names.gateUp, layerNames(l).gateUp],
        [names.down, layerNames(l).down],
      ] as const) {
        const w = bankMix(parameters.tensor(slices), c, bank.shared ? parameters.tensor(name) : undefined);
        t.output(name, reshape(w, w.shape.slice(1)));
      }
    }
  });
  try {
    backend.write(buffer, 0, new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength));
    program.run();
    for (const spec of transformerParameters(config)) {
      const generated = bank.projectedLayers.some(
        (l) => spec.name === layerNames(l).gateUp || spec.name === layerNames(l).down,
      );
      values.set(spec.name, generated ? await program.read(spec.name) : await parameters.read(spec.name));
    }
  } finally {
    program.release();
    backend.free(buffer);
  }
  return values;
}

/** How far apart the experts' coefficients are: the mean over layers of the mean distance of c_i to the mean c, over its length. */
export function coefficientSpread(bank: BankConfig, values: ReadonlyMap<string, Float32Array>): number {
  const experts = values.get(EXPERTS)!;
  const { experts: K, expertVector: m, slices: R } = bank;
  let total = 0;
  for (const l of bank.projectedLayers) {
    const mixing = values.get(bankNames(l).mixing)!;
    const c = new Float64Array(K * R);
    for (let i = 0; i < K; i++)
      for (let q = 0; q < m; q++) for (let r = 0; r < R; r++) c[i * R + r]! += experts[i * m + q]! * mixing[q * R + r]!;
    let spread = 0;
    let length = 0;
    for (let i = 0; i < K; i++) {
      let d = 0;
      let n = 0;
      for (let r = 0; r < R; r++) {
        let mean = 0;
        for (let j = 0; j < K; j++) mean += c[j * R + r]! / K;
        d += (c[i * R + r]! - mean) ** 2;
        n += c[i * R + r]! ** 2;
      }
      spread += Math.sqrt(d);
      length += Math.sqrt(n);
    }
    total += spread / Math.max(length, 1e-30) / bank.projectedLayers.length;
  }
  return total;
}

function unitRows(random: Prng, rows: number, cols: number): Float32Array {
  const values = new Float32Array(rows * cols);
  for (let i = 0; i < rows; i++) {
    let squares = 0;
    for (let j = 0; j < cols; j++) {
      const value = random.normal();
      values[i * cols + j] = value;
      squares += value * value;
    }
    for (let j = 0; j < cols; j++) values[i * cols + j]! /= Math.sqrt(squares);
  }
  return values;
}

/** Rows (or, when there are more rows than columns, columns) at right angles and of length 1: Gram-Schmidt on normal draws. */
function orthogonal(random: Prng, rows: number, cols: number): Float32Array {
  const [count, length] = rows <= cols ? [rows, cols] : [cols, rows];
  const basis: Float64Array[] = [];
  for (let i = 0; i < count; i++) {
    const v = Float64Array.from({ length }, () => random.normal());
    for (const b of basis) {
      const dot = v.reduce((sum, value, j) => sum + value * b[j]!, 0);
      for (let j = 0; j < length; j++) v[j]! -= dot * b[j]!;
    }
    const norm = Math.sqrt(v.reduce((sum, value) => sum + value * value, 0));
    basis.push(v.map((value) => value / norm));
  }
  const values = new Float32Array(rows * cols);
  for (let i = 0; i < count; i++)
    for (let j = 0; j < length; j++) values[rows <= cols ? i * cols + j : j * cols + i] = basis[i]![j]!;
  return values;
}
