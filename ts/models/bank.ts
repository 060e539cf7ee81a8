// The bank over feed-forward matrices (PAPER, SLM-pn): for expert i and layer l, with coefficients c = E_i M_l,
//   W[l, i] = S[l] + sum_r c_r T[l]_r        for gate_up and for down; T_r dense, or a product A_r B_r of low rank.
// Experts share attention, embeddings and norms. A hard mixture is the same with one-hot coefficients on all matrices;
// a domain is any vector in place of E_i, and gives a plain dense model in closed form (instantiate). Where the vector comes
// from is the conditioning: the table E (projected network), an MLP of a histogram over clusters (soup of experts,
// Ablin et al. 2025), or an MLP of an embedding (the classic hyper-network, Ha et al. 2016). The MLP is
//   e = W_out (silu(W_gate x) * W_up x)
// without biases: the entries of a histogram sum to 1, and embeddings end in a constant (methods/hypernetwork.ts).
import type { Backend } from '../backend/backend.js';
import { SweetspotError } from '../backend/errors.js';
import { type ParameterSet, type ParameterSpec, TILE } from '../nn/parameters.js';
import { bankMix, lowRankMix } from '../ops/bank.js';
import { embedding } from '../ops/embedding.js';
import { groupedLinear, linear, matmul } from '../ops/matmul.js';
import { swiglu } from '../ops/swiglu.js';
import { Program } from '../program/program.js';
import type { Prng } from '../tensor/prng.js';
import { bufferTensor, reshape, type Tensor } from '../tensor/tensor.js';
import type { BankConfig, TransformerConfig } from './config.js';
import {
  denseFeedForward,
  denseLinear,
  type FeedForward,
  initialStd,
  layerNames,
  transformerParameters,
  type Weights,
} from './transformer.js';

export const EXPERTS = 'bank.experts';
export const MLP_IN = 'bank.mlp.in';
export const MLP_OUT = 'bank.mlp.out';
export const bankNames = (layer: number) => ({
  mixing: `layers.${layer}.bank.mixing`,
  gateUp: `layers.${layer}.bank.gate_up`,
  down: `layers.${layer}.bank.down`,
});
/** Low-rank slices of a matrix: all A_j (out, R r), all B_j (R r, in). */
const factorNames = (name: string) => ({ a: `${name}.a`, b: `${name}.b` });

/** The dense parameters (of projected layers only the shared slices, if there are any) and the bank's. */
export function bankParameters(config: TransformerConfig, bank: BankConfig): ParameterSpec[] {
  const { hiddenSize: C, intermediateSize: F } = config;
  const { slices: R, experts: K, expertVector: m, sliceRank: r } = bank;
  if (r === 0 && (C * F) % TILE !== 0) {
    throw new SweetspotError('SWEETSPOT_USAGE', {
      what: 'the feed-forward matrices do not divide into tiles of the bank',
      expected: `hiddenSize x intermediateSize to be a multiple of ${TILE}`,
      found: `${C} x ${F}`,
    });
  }
  const std = initialStd(config);
  const projected = new Set(bank.projectedLayers);
  const generated = new Set(bank.projectedLayers.flatMap((l) => [layerNames(l).gateUp, layerNames(l).down]));
  const specs = transformerParameters(config).filter((spec) => bank.shared || !generated.has(spec.name));
  // |E_i| = 1 and M with rows at right angles: |E_i M| = 1, so that slices at the usual scale give experts at that scale.
  if (bank.conditioning === 'cluster') {
    const init = { kind: 'custom', values: (r: Prng) => unitRows(r, K, m) } as const;
    specs.push({ name: EXPERTS, shape: [K, m], kind: 'coefficients', init });
  } else {
    // The mean square of silu(x) y is 0.36 for normal x and y; a histogram of one cluster has length 1.
    const [width, out] = [bank.mlpWidth, 1 / Math.sqrt(0.36 * bank.mlpWidth * m)];
    const normal = (std: number) => ({ kind: 'normal', std }) as const;
    specs.push({ name: MLP_IN, shape: [2 * width, bank.conditionSize], kind: 'coefficients', init: normal(1) });
    specs.push({ name: MLP_OUT, shape: [m, width], kind: 'coefficients', init: normal(out) });
  }
  for (const l of projected) {
    const names = bankNames(l);
    // With a shared slice the bank starts at zero and grows away from it; without, slices carry the initial weights.
    const dense = (name: string, shape: [number, number], s: number): ParameterSpec => ({
      name,
      shape: [R, ...shape],
      kind: 'slices',
      sliceType: bank.sliceType,
      init: bank.shared ? { kind: 'constant', value: 0 } : { kind: 'normal', std: s },
    });
    // The rows of A have the expected length 1, so that a step of B moves a slice as far as a step of a dense one.
    const lowRank = (name: string, [out, width]: [number, number]): ParameterSpec[] => [
      { name: factorNames(name).a, shape: [out, R * r], kind: 'factors', init: { kind: 'normal', std: r ** -0.5 } },
      { name: factorNames(name).b, shape: [R * r, width], kind: 'factors', init: { kind: 'constant', value: 0 } },
    ];
    const slices = (name: string, shape: [number, number], s: number) =>
      r === 0 ? [dense(name, shape, s)] : lowRank(name, shape);
    specs.push({
      name: names.mixing,
      shape: [m, R],
      kind: 'coefficients',
      init: { kind: 'custom', values: (random) => orthogonal(random, m, R) },
    });
    specs.push(...slices(names.gateUp, [2 * F, C], std.inner), ...slices(names.down, [C, F], std.residual));
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

/** Coefficients of a layer from vectors in place of E_i: (G, m) -> (G, R). */
export const mixedCoefficients =
  (parameters: Weights, vectors: Tensor) =>
  (layer: number): Tensor =>
    matmul(vectors, parameters.tensor(bankNames(layer).mixing));

/** The generated matrices of a layer for coefficients (G, R): gate_up (G, 2F, C) and down (G, C, F); `count` as in bankMix. */
function generate(bank: BankConfig, parameters: Weights, layer: number, c: Tensor, count?: Tensor) {
  const matrix = (slices: string, name: string): Tensor => {
    const shared = bank.shared ? parameters.tensor(name) : undefined;
    if (bank.sliceRank === 0) return bankMix(parameters.tensor(slices), c, shared, count);
    const { a, b } = factorNames(slices);
    return lowRankMix(parameters.tensor(a), parameters.tensor(b), c, shared!);
  };
  const [names, dense] = [bankNames(layer), layerNames(layer)];
  return { gateUp: matrix(names.gateUp, dense.gateUp), down: matrix(names.down, dense.down) };
}

/** The feed-forward block of a batch whose windows are sorted by group, with coefficients (G, R) of every projected layer. */
export function bankFeedForward(
  bank: BankConfig,
  parameters: Weights,
  coefficients: (layer: number) => Tensor,
  { offsets, count: present }: Groups,
): FeedForward {
  const dense = denseFeedForward(denseLinear(parameters));
  // Low-rank slices are multiplied for all groups, so that gradients must be there for all: zeros where there are no rows.
  const count = bank.sliceRank === 0 ? present : undefined;
  return (x, layer, residual) => {
    if (!bank.projectedLayers.includes(layer)) return dense(x, layer, residual);
    const { gateUp, down } = generate(bank, parameters, layer, coefficients(layer), count);
    return groupedLinear(swiglu(groupedLinear(x, gateUp, offsets, { count })), down, offsets, { count, residual });
  };
}

/** Expert vectors of the clusters present: clusters i32 (G) -> (G, m). */
export const expertVectors = (parameters: Weights, clusters: Tensor): Tensor =>
  embedding(parameters.tensor(EXPERTS), clusters);

/** Vectors in place of E_i for conditions (G, D): histograms or embeddings -> (G, m). */
export const conditionVectors = (parameters: Weights, conditions: Tensor): Tensor =>
  linear(swiglu(linear(conditions, parameters.tensor(MLP_IN))), parameters.tensor(MLP_OUT));

/** What fixes a model of a bank: a vector in place of E_i (length m), a histogram or an embedding (length D), as the bank is
 * conditioned; or the coefficients (R) of every projected layer. */
export type Condition = Float32Array | ReadonlyMap<number, Float32Array>;

/** The coefficients of every projected layer for a condition. */
export async function coefficientsOf(
  backend: Backend,
  bank: BankConfig,
  parameters: ParameterSet,
  condition: Float32Array,
): Promise<Map<number, Float32Array>> {
  const buffer = backend.alloc(condition.length * 4);
  const given = bufferTensor('condition', [1, condition.length], 'f32', { buffer, offset: 0 });
  const program = Program.record(backend, 'coefficients', (t) => {
    const e = bank.conditioning === 'cluster' ? given : conditionVectors(parameters, given);
    const coefficients = mixedCoefficients(parameters, e);
    for (const l of bank.projectedLayers) t.output(String(l), coefficients(l));
  });
  try {
    backend.write(buffer, 0, new Uint8Array(condition.buffer, condition.byteOffset, condition.byteLength));
    program.run();
    const found = new Map<number, Float32Array>();
    for (const l of bank.projectedLayers) found.set(l, await program.read(String(l)));
    return found;
  } finally {
    program.release();
    backend.free(buffer);
  }
}

/** The dense model that the bank is for one condition: names and values of transformerParameters. */
export async function instantiate(
  backend: Backend,
  config: TransformerConfig,
  bank: BankConfig,
  parameters: ParameterSet,
  condition: Condition,
): Promise<Map<string, Float32Array>> {
  const coefficients =
    condition instanceof Float32Array ? await coefficientsOf(backend, bank, parameters, condition) : condition;
  const values = new Map<string, Float32Array>();
  const row = Math.ceil(bank.slices / 16) * 64; // bytes
  const buffer = backend.alloc(row * bank.projectedLayers.length);
  const program = Program.record(backend, 'instantiate', (t) => {
    for (const [i, l] of bank.projectedLayers.entries()) {
      const c = bufferTensor(`c${l}`, [1, bank.slices], 'f32', { buffer, offset: i * row });
      const { gateUp, down } = generate(bank, parameters, l, c);
      t.output(layerNames(l).gateUp, reshape(gateUp, gateUp.shape.slice(1)));
      t.output(layerNames(l).down, reshape(down, down.shape.slice(1)));
    }
  });
  try {
    bank.projectedLayers.forEach((l, i) => {
      const c = coefficients.get(l)!;
      backend.write(buffer, i * row, new Uint8Array(c.buffer, c.byteOffset, c.byteLength));
    });
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

/**
 * How far apart the coefficients of some vectors (K, m) in place of E_i are: the mean over layers of the mean distance of c_i to
 * the mean c, over its length. A bank in which it is 0 is a dense model in disguise.
 */
export function coefficientSpread(
  bank: BankConfig,
  values: ReadonlyMap<string, Float32Array>,
  vectors: Float32Array = values.get(EXPERTS)!,
): number {
  const { expertVector: m, slices: R } = bank;
  const K = vectors.length / m;
  let total = 0;
  for (const l of bank.projectedLayers) {
    const mixing = values.get(bankNames(l).mixing)!;
    const c = new Float64Array(K * R);
    for (let i = 0; i < K; i++)
      for (let q = 0; q < m; q++) for (let r = 0; r < R; r++) c[i * R + r]! += vectors[i * m + q]! * mixing[q * R + r]!;
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

/** conditionVectors on the host, in float64: conditions (K, D) -> (K, m). */
export function hostVectors(
  bank: BankConfig,
  values: ReadonlyMap<string, Float32Array>,
  conditions: readonly Float32Array[],
): Float32Array {
  const { conditionSize: D, mlpWidth: width, expertVector: m } = bank;
  const [into, out] = [values.get(MLP_IN)!, values.get(MLP_OUT)!];
  const vectors = new Float32Array(conditions.length * m);
  conditions.forEach((x, i) => {
    const at = (row: number) => x.reduce((sum, value, d) => sum + value * into[row * D + d]!, 0);
    const z = Array.from({ length: width }, (_, h) => {
      const gate = at(h);
      return (gate / (1 + Math.exp(-gate))) * at(width + h);
    });
    for (let q = 0; q < m; q++) vectors[i * m + q] = z.reduce((sum, value, h) => sum + value * out[q * width + h]!, 0);
  });
  return vectors;
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
