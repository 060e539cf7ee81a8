// Pieces of the training recipe, each alone: what `against` has, and one thing more or other.
import type { PretrainOptions } from '../ts/methods/pretrain.js';

export type Given = Pick<
  PretrainOptions,
  'muon' | 'schedule' | 'zeroOutputs' | 'learningRate' | 'adamw' | 'model' | 'packing' | 'batchTokens'
>;

interface Piece {
  /** The piece it is compared with. */
  readonly against?: string;
  readonly given: Given;
}

/** Tokens a step, unless a piece says otherwise. */
export const BATCH_TOKENS = 4096;
const RATE = 0.008;
const muon4: Given = { muon: {}, learningRate: 4 * RATE };
const atop = (given: Given): Piece => ({ against: 'muon, four times the rate', given: { ...muon4, ...given } });

export const PIECES: Readonly<Record<string, Piece>> = {
  adamw: { given: {} },
  'adamw, twice the rate': { against: 'adamw', given: { learningRate: 2 * RATE } },
  'adamw, four times the rate': { against: 'adamw', given: { learningRate: 4 * RATE } },
  muon: { against: 'adamw', given: { muon: {} } },
  'muon, twice the rate': { against: 'adamw, twice the rate', given: { muon: {}, learningRate: 2 * RATE } },
  'muon, four times the rate': { against: 'adamw, twice the rate', given: muon4 },
  'muon, eight times the rate': { against: 'adamw, twice the rate', given: { muon: {}, learningRate: 8 * RATE } },
  'the same, zero outputs': atop({ zeroOutputs: true }),
  'the same, qk-norm': atop({ model: { qkNorm: true } }),
  'the same, wsd': atop({ schedule: 'wsd' }),
  'the same, soft-cap 15': atop({ model: { logitCap: 15 } }),
  'the same, soft-cap 30': atop({ model: { logitCap: 30 } }),
  'the same, best-fit packing': atop({ packing: 'best-fit' }),
  'the same, untied': atop({ model: { tieEmbeddings: false } }),
  'the same, no decay': atop({ adamw: { weightDecay: 0 } }),
  'the same, three times the decay': atop({ adamw: { weightDecay: 0.3 } }),
  'the same, no clipping': atop({ adamw: { clip: 0 } }),
  'the same, half the batch': atop({ batchTokens: BATCH_TOKENS / 2 }),
  'the same, twice the batch': atop({ batchTokens: BATCH_TOKENS * 2 }),
};
