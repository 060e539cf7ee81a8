// Checkpoints and weights: safetensors files with a checksum, written beside and renamed. A checkpoint holds values, both
// moments of Adam, and everything random, so that a run killed anywhere goes on with the same bits.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { SweetspotError } from '../backend/errors.js';
import { readSafetensors, type SafetensorsTensor, saveSafetensors, writeSafetensors } from '../io/safetensors.js';
import type { Moment, ParameterSet, ParameterSpec } from '../nn/parameters.js';

const bytesOfFloats = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const floatsOfBytes = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

/** Writes the values alone. */
export async function saveWeights(
  file: string,
  parameters: ParameterSet,
  metadata: Record<string, string> = {},
): Promise<void> {
  await saveSafetensors(file, tensorsOf(parameters.specs, await parameters.readAll()), metadata, { checksum: true });
}

/** The same for values that lie on no backend. */
export function saveValues(
  file: string,
  specs: readonly ParameterSpec[],
  values: ReadonlyMap<string, Float32Array>,
  metadata: Record<string, string> = {},
): void {
  writeSafetensors(file, tensorsOf(specs, values), metadata, { checksum: true });
}

function tensorsOf(
  specs: readonly ParameterSpec[],
  values: ReadonlyMap<string, Float32Array>,
): Record<string, SafetensorsTensor> {
  const tensors: Record<string, SafetensorsTensor> = {};
  for (const { name, shape } of specs)
    tensors[name] = { dtype: 'F32', shape: [...shape], data: bytesOfFloats(values.get(name)!) };
  return tensors;
}

/** Values by name, each checked against `specs`. Throws SWEETSPOT_CORRUPT or SWEETSPOT_MISMATCH. */
export function loadWeights(file: string, specs: readonly ParameterSpec[]): Map<string, Float32Array> {
  const { tensors } = readSafetensors(file);
  return new Map(specs.map((spec) => [spec.name, take(file, tensors, spec.name, spec.shape)]));
}

function take(
  file: string,
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  name: string,
  shape: readonly number[],
): Float32Array {
  const tensor = tensors.get(name);
  if (tensor === undefined || tensor.dtype !== 'F32' || tensor.shape.join() !== shape.join()) {
    throw new SweetspotError('SWEETSPOT_MISMATCH', {
      what: `${file} does not belong to this model: tensor ${name}`,
      expected: `F32 [${shape}]`,
      found: tensor === undefined ? 'no such tensor' : `${tensor.dtype} [${tensor.shape}]`,
      fix: 'use the run folder that the file was written in',
    });
  }
  return floatsOfBytes(tensor.data);
}

const MOMENTS: readonly Moment[] = ['value', 'm', 'v'];

export interface CheckpointState {
  /** Steps done. */
  readonly step: number;
  /** Everything else that must survive, plain JSON. */
  readonly extra: unknown;
}

const fileOf = (folder: string, stage: string, step: number) =>
  path.join(folder, `${stage}-${String(step).padStart(8, '0')}.safetensors`);

/** Checkpoints of a stage, newest first. */
export function listCheckpoints(folder: string, stage: string): string[] {
  if (!existsSync(folder)) return [];
  const pattern = new RegExp(`^${stage}-\\d{8}\\.safetensors$`);
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .sort()
    .reverse()
    .map((name) => path.join(folder, name));
}

/** Writes a checkpoint of `stage`; only then removes all but the newest two. */
export async function saveCheckpoint(
  folder: string,
  stage: string,
  parameters: ParameterSet,
  state: CheckpointState,
): Promise<string> {
  const tensors: Record<string, SafetensorsTensor> = {};
  for (const moment of MOMENTS) {
    const values = await parameters.readAll(moment);
    for (const spec of parameters.specsWith(moment)) {
      tensors[`${moment}.${spec.name}`] = {
        dtype: 'F32',
        shape: [...spec.shape],
        data: bytesOfFloats(values.get(spec.name)!),
      };
    }
  }
  const file = fileOf(folder, stage, state.step);
  await saveSafetensors(file, tensors, { stage, state: JSON.stringify(state) }, { checksum: true });
  for (const old of listCheckpoints(folder, stage).slice(2)) rmSync(old);
  return file;
}

/**
 * Starts a stage from the end of another one: values and moments of `specs`, which both have; the others stay as they are.
 * Throws SWEETSPOT_CORRUPT without a checkpoint of it.
 */
export function inheritCheckpoint(
  folder: string,
  stage: string,
  parameters: ParameterSet,
  specs: readonly ParameterSpec[],
): void {
  const file = listCheckpoints(folder, stage)[0];
  if (file === undefined) {
    throw new SweetspotError('SWEETSPOT_CORRUPT', {
      what: `${folder} has no checkpoint of the finished stage ${stage}`,
      fix: 'restore the folder or start a new run',
    });
  }
  const { tensors } = readSafetensors(file);
  for (const moment of MOMENTS)
    for (const { name, shape } of specs)
      parameters.write(name, take(file, tensors, `${moment}.${name}`, shape), moment);
}

/** Loads the newest checkpoint of a stage into `parameters`; undefined when there is none. */
export function loadCheckpoint(folder: string, stage: string, parameters: ParameterSet): CheckpointState | undefined {
  const file = listCheckpoints(folder, stage)[0];
  if (file === undefined) return undefined;
  const { tensors, metadata } = readSafetensors(file);
  const loaded = MOMENTS.flatMap((moment) =>
    parameters.specsWith(moment).map((spec) => ({
      moment,
      name: spec.name,
      values: take(file, tensors, `${moment}.${spec.name}`, spec.shape),
    })),
  );
  let state: CheckpointState;
  try {
    state = JSON.parse(metadata['state'] ?? '') as CheckpointState;
  } catch (cause) {
    throw new SweetspotError('SWEETSPOT_CORRUPT', {
      what: `${file} has no readable state`,
      fix: 'delete this file; the checkpoint before it is used then',
      cause,
    });
  }
  for (const { moment, name, values } of loaded) parameters.write(name, values, moment);
  return state;
}
