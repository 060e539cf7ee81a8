// Ops whose kernel is not written yet.
import { fail } from '../control';
import * as R from '../ops.gen';

export function bank_mix(row: R.BankMixRow): void { fail('bank_mix is not written yet'); }
export function bank_mix_backward(row: R.BankMixBackwardRow): void { fail('bank_mix_backward is not written yet'); }
export function bank_sum_squares(row: R.BankSumSquaresRow): void { fail('bank_sum_squares is not written yet'); }
export function bank_adamw(row: R.BankAdamwRow): void { fail('bank_adamw is not written yet'); }
export function clip_scale(row: R.ClipScaleRow): void { fail('clip_scale is not written yet'); }
export function adamw(row: R.AdamwRow): void { fail('adamw is not written yet'); }
export function muon_momentum(row: R.MuonMomentumRow): void { fail('muon_momentum is not written yet'); }
export function muon_update(row: R.MuonUpdateRow): void { fail('muon_update is not written yet'); }
