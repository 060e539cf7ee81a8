// Ops whose kernel is not written yet.
import { fail } from '../control';
import * as R from '../ops.gen';

export function cast(row: R.CastRow): void { fail('cast is not written yet'); }
export function reduce_sum(row: R.ReduceSumRow): void { fail('reduce_sum is not written yet'); }
export function broadcast(row: R.BroadcastRow): void { fail('broadcast is not written yet'); }
export function sum_squares(row: R.SumSquaresRow): void { fail('sum_squares is not written yet'); }
export function argmax(row: R.ArgmaxRow): void { fail('argmax is not written yet'); }
export function bincount(row: R.BincountRow): void { fail('bincount is not written yet'); }
export function gemm(row: R.GemmRow): void { fail('gemm is not written yet'); }
export function grouped_gemm(row: R.GroupedGemmRow): void { fail('grouped_gemm is not written yet'); }
export function grouped_gemm_dw(row: R.GroupedGemmDwRow): void { fail('grouped_gemm_dw is not written yet'); }
export function csr_gemm(row: R.CsrGemmRow): void { fail('csr_gemm is not written yet'); }
export function embedding(row: R.EmbeddingRow): void { fail('embedding is not written yet'); }
export function embedding_backward(row: R.EmbeddingBackwardRow): void { fail('embedding_backward is not written yet'); }
export function rms_norm(row: R.RmsNormRow): void { fail('rms_norm is not written yet'); }
export function rms_norm_backward(row: R.RmsNormBackwardRow): void { fail('rms_norm_backward is not written yet'); }
export function qk_norm(row: R.QkNormRow): void { fail('qk_norm is not written yet'); }
export function qk_norm_backward(row: R.QkNormBackwardRow): void { fail('qk_norm_backward is not written yet'); }
export function rope(row: R.RopeRow): void { fail('rope is not written yet'); }
export function attention(row: R.AttentionRow): void { fail('attention is not written yet'); }
export function attention_backward(row: R.AttentionBackwardRow): void { fail('attention_backward is not written yet'); }
export function attention_decode(row: R.AttentionDecodeRow): void { fail('attention_decode is not written yet'); }
export function swiglu(row: R.SwigluRow): void { fail('swiglu is not written yet'); }
export function swiglu_backward(row: R.SwigluBackwardRow): void { fail('swiglu_backward is not written yet'); }
export function softmax(row: R.SoftmaxRow): void { fail('softmax is not written yet'); }
export function softmax_backward(row: R.SoftmaxBackwardRow): void { fail('softmax_backward is not written yet'); }
export function cross_entropy(row: R.CrossEntropyRow): void { fail('cross_entropy is not written yet'); }
export function distill_cross_entropy(row: R.DistillCrossEntropyRow): void { fail('distill_cross_entropy is not written yet'); }
export function soft_cap(row: R.SoftCapRow): void { fail('soft_cap is not written yet'); }
export function soft_cap_backward(row: R.SoftCapBackwardRow): void { fail('soft_cap_backward is not written yet'); }
export function kmeans_assign(row: R.KmeansAssignRow): void { fail('kmeans_assign is not written yet'); }
export function topk_softmax(row: R.TopkSoftmaxRow): void { fail('topk_softmax is not written yet'); }
export function topk_softmax_backward(row: R.TopkSoftmaxBackwardRow): void { fail('topk_softmax_backward is not written yet'); }
export function route_sort(row: R.RouteSortRow): void { fail('route_sort is not written yet'); }
export function combine_rows(row: R.CombineRowsRow): void { fail('combine_rows is not written yet'); }
export function combine_rows_backward(row: R.CombineRowsBackwardRow): void { fail('combine_rows_backward is not written yet'); }
export function router_losses(row: R.RouterLossesRow): void { fail('router_losses is not written yet'); }
export function router_bias(row: R.RouterBiasRow): void { fail('router_bias is not written yet'); }
export function roof_fma(row: R.RoofFmaRow): void { fail('roof_fma is not written yet'); }
export function roof_read(row: R.RoofReadRow): void { fail('roof_read is not written yet'); }
export function roof_bf16(row: R.RoofBf16Row): void { fail('roof_bf16 is not written yet'); }
export function clock(row: R.ClockRow): void { fail('clock is not written yet'); }
