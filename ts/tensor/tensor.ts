// What a tensor is while a Program is recorded: a shape over a storage. Storages live as long as their scope: a parameter
// or an input sits in a buffer of its own (lifetime: the model, the trainer); a temporary sits in the Program's arena
// (lifetime: one run). Letters for shapes: B batch, T time, N = B T rows, C width, F feed-forward, H heads, V vocabulary,
// K clusters or experts, R slices of a bank, G groups (clusters present in a step).
import type { Place } from '../backend/rows.js';

export type TensorDtype = 'f32' | 'i32' | 'bf16' | 'f16';

export const bytesOf = (dtype: TensorDtype): number => (dtype === 'bf16' || dtype === 'f16' ? 2 : 4);

/** Memory that outlives a Program: a range of a backend buffer. */
export interface BufferStorage {
  readonly kind: 'buffer';
  readonly place: Place;
  readonly bytes: number;
}

/** Memory inside a Program's arena; placed by the planner. */
export interface TemporaryStorage {
  readonly kind: 'temporary';
  readonly bytes: number;
}

export type Storage = BufferStorage | TemporaryStorage;

export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: TensorDtype;
  readonly storage: Storage;
  /** Bytes from the start of the storage; a multiple of 64. */
  readonly offset: number;
  /** Whether gradients flow to it. */
  readonly requiresGrad: boolean;
  /** Where the gradient of a parameter is accumulated; undefined for everything else. */
  readonly grad?: Tensor;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** Rows when the last axis is the row: (B, T, C) -> B T. */
export const rowsOf = (x: Tensor): number => sizeOf(x.shape.slice(0, -1));

/** Length of the last axis. */
export const lastOf = (x: Tensor): number => x.shape[x.shape.length - 1]!;

/** The same memory under another shape of the same size. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  if (sizeOf(shape) !== sizeOf(x.shape)) throw new RangeError(`reshape [${x.shape}] to [${shape}]`);
  return { ...x, shape };
}

/** Rows begin..begin+count of the first axis, as a view that takes no gradient of its own. Offsets stay 64-byte aligned. */
export function sliceRows(x: Tensor, begin: number, count: number): Tensor {
  const row = sizeOf(x.shape.slice(1)) * bytesOf(x.dtype);
  const offset = x.offset + begin * row;
  if (begin + count > x.shape[0]! || offset % 64 !== 0) throw new RangeError(`rows ${begin}+${count} of [${x.shape}]`);
  return {
    ...x,
    name: `${x.name}[${begin}:${begin + count}]`,
    shape: [count, ...x.shape.slice(1)],
    offset,
    requiresGrad: false,
  };
}

/** A tensor over part of a backend buffer: an input, a cache, a parameter. */
export function bufferTensor(
  name: string,
  shape: readonly number[],
  dtype: TensorDtype,
  place: Place,
  requiresGrad = false,
): Tensor {
  const bytes = sizeOf(shape) * bytesOf(dtype);
  return { name, shape, dtype, storage: { kind: 'buffer', place, bytes }, offset: 0, requiresGrad };
}
