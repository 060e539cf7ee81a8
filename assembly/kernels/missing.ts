// Ops whose kernel is not written yet.
import { fail } from '../control';
import * as R from '../ops.gen';

export function cast(row: R.CastRow): void { fail('cast is not written yet'); }
export function reduce_sum(row: R.ReduceSumRow): void { fail('reduce_sum is not written yet'); }
export function broadcast(row: R.BroadcastRow): void { fail('broadcast is not written yet'); }
export function sum_squares(row: R.SumSquaresRow): void { fail('sum_squares is not written yet'); }
export function argmax(row: R.ArgmaxRow): void { fail('argmax is not written yet'); }
export function bincount(row: R.BincountRow): void { fail('bincount is not written yet'); }
export function embedding(row: R.EmbeddingRow): void { fail('embedding is not written yet'); }
export function embedding_backward(row: R.EmbeddingBackwardRow): void { fail('embedding_backward is not written yet'); }
export function cross_entropy(row: R.CrossEntropyRow): void { fail('cross_entropy is not written yet'); }
export function distill_cross_entropy(row: R.DistillCrossEntropyRow): void { fail('distill_cross_entropy is not written yet'); }
export function bank_mix(row: R.BankMixRow): void { fail('bank_mix is not written yet'); }
export function bank_mix_backward(row: R.BankMixBackwardRow): void { fail('bank_mix_backward is not written yet'); }
export function bank_sum_squares(row: R.BankSumSquaresRow): void { fail('bank_sum_squares is not written yet'); }
export function bank_adamw(row: R.BankAdamwRow): void { fail('bank_adamw is not written yet'); }
export function clip_scale(row: R.ClipScaleRow): void { fail('clip_scale is not written yet'); }
export function adamw(row: R.AdamwRow): void { fail('adamw is not written yet'); }
export function muon_momentum(row: R.MuonMomentumRow): void { fail('muon_momentum is not written yet'); }
export function muon_update(row: R.MuonUpdateRow): void { fail('muon_update is not written yet'); }
export function topk_softmax(row: R.TopkSoftmaxRow): void { fail('topk_softmax is not written yet'); }
export function topk_softmax_backward(row: R.TopkSoftmaxBackwardRow): void { fail('topk_softmax_backward is not written yet'); }
export function route_sort(row: R.RouteSortRow): void { fail('route_sort is not written yet'); }
export function combine_rows(row: R.CombineRowsRow): void { fail('combine_rows is not written yet'); }
export function combine_rows_backward(row: R.CombineRowsBackwardRow): void { fail('combine_rows_backward is not written yet'); }
export function router_losses(row: R.RouterLossesRow): void { fail('router_losses is not written yet'); }
export function router_bias(row: R.RouterBiasRow): void { fail('router_bias is not written yet'); }
export function clock(row: R.ClockRow): void { fail('clock is not written yet'); }
