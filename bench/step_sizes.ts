// Sizes of the training steps that are timed.
import type { SliceType } from '../ts/nn/parameters.js';
import type { Precision } from '../ts/train/precision.js';

/** What both step_child.ts and peers/torch_step.py take. */
export interface StepArguments {
  readonly vocab: number;
  readonly width: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly time: number;
  readonly batch: number;
  /** 0: a dense model. */
  readonly slices: number;
  readonly experts: number;
  /** Clusters in the batch. */
  readonly groups: number;
  /** Of the bank. Default f32. */
  readonly sliceType?: SliceType;
  readonly dtype: Precision;
  readonly threads: number;
  readonly isa?: string;
  readonly compile?: number;
}

export interface StepSize {
  readonly name: string;
  readonly sizes: Omit<StepArguments, 'slices' | 'experts' | 'groups' | 'sliceType' | 'dtype' | 'threads'>;
  readonly quick: boolean;
  /** torch.compile takes most of a minute the first time, and wins where the work is small. */
  readonly compiled: boolean;
}

const size = (width: number, layers: number, heads: number, vocab: number, time: number, batch: number) => ({
  width,
  inner: Math.ceil((width * 8) / 3 / 16) * 16,
  layers,
  heads,
  vocab,
  time,
  batch,
});

export const STEP_SIZES: readonly StepSize[] = [
  { name: 'd64 L4 T256 B16 V2048', sizes: size(64, 4, 4, 2048, 256, 16), quick: true, compiled: true },
  { name: 'd128 L4 T256 B16 V4096', sizes: size(128, 4, 4, 4096, 256, 16), quick: false, compiled: true },
  { name: 'd256 L4 T256 B16 V8192', sizes: size(256, 4, 4, 8192, 256, 16), quick: true, compiled: false },
  { name: 'd512 L6 T512 B8 V16384', sizes: size(512, 6, 8, 16384, 512, 8), quick: false, compiled: false },
];

export interface BankSize {
  readonly name: string;
  readonly sizes: StepSize['sizes'];
  readonly slices: number;
  readonly experts: number;
  readonly groups: number;
  readonly sliceType?: SliceType;
  readonly quick: boolean;
}

/** Against the plain model of the same sizes and batch; bf16 after h is how slices are kept. */
export const BANK_SIZES: readonly BankSize[] = [
  {
    name: 'd256 L4 T256 B16 V8192 h23, one cluster',
    sizes: size(256, 4, 4, 8192, 256, 16),
    slices: 23,
    experts: 16,
    groups: 1,
    quick: true,
  },
  {
    name: 'd256 L4 T256 B16 V8192 h23 bf16, one cluster',
    sizes: size(256, 4, 4, 8192, 256, 16),
    slices: 23,
    experts: 16,
    groups: 1,
    sliceType: 'bf16',
    quick: false,
  },
  {
    name: 'd256 L4 T256 B64 V8192 h16, 16 clusters',
    sizes: size(256, 4, 4, 8192, 256, 64),
    slices: 16,
    experts: 16,
    groups: 16,
    quick: false,
  },
  {
    name: 'd512 L6 T512 B8 V16384 h23, one cluster',
    sizes: size(512, 6, 8, 16384, 512, 8),
    slices: 23,
    experts: 16,
    groups: 1,
    quick: false,
  },
  {
    name: 'd512 L6 T512 B8 V16384 h23 bf16, one cluster',
    sizes: size(512, 6, 8, 16384, 512, 8),
    slices: 23,
    experts: 16,
    groups: 1,
    sliceType: 'bf16',
    quick: false,
  },
];
