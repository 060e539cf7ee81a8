// Cases of every op, in the order of the table. The type asks for an entry when the table gains an op.
import type { OracleName } from '../../support/oracle/op.js';
import type { Case } from '../case.js';
import { cases as adamw } from './adamw.js';
import { cases as add } from './add.js';
import { cases as argmax } from './argmax.js';
import { cases as attention } from './attention.js';
import { cases as attentionBackward } from './attention_backward.js';
import { cases as attentionDecode } from './attention_decode.js';
import { cases as bankAdamw } from './bank_adamw.js';
import { cases as bankMix } from './bank_mix.js';
import { cases as bankMixBackward } from './bank_mix_backward.js';
import { cases as bankSumSquares } from './bank_sum_squares.js';
import { cases as bincount } from './bincount.js';
import { cases as broadcast } from './broadcast.js';
import { cases as cast } from './cast.js';
import { cases as clipScale } from './clip_scale.js';
import { cases as combineRows } from './combine_rows.js';
import { cases as combineRowsBackward } from './combine_rows_backward.js';
import { cases as crossEntropy } from './cross_entropy.js';
import { cases as csrGemm } from './csr_gemm.js';
import { cases as distillCrossEntropy } from './distill_cross_entropy.js';
import { cases as embedding } from './embedding.js';
import { cases as embeddingBackward } from './embedding_backward.js';
import { cases as fill } from './fill.js';
import { cases as gemm } from './gemm.js';
import { cases as groupedGemm } from './grouped_gemm.js';
import { cases as groupedGemmDw } from './grouped_gemm_dw.js';
import { cases as kmeansAssign } from './kmeans_assign.js';
import { cases as mul } from './mul.js';
import { cases as muonMomentum } from './muon_momentum.js';
import { cases as muonUpdate } from './muon_update.js';
import { cases as qkNorm } from './qk_norm.js';
import { cases as qkNormBackward } from './qk_norm_backward.js';
import { cases as reduceSum } from './reduce_sum.js';
import { cases as rmsNorm } from './rms_norm.js';
import { cases as rmsNormBackward } from './rms_norm_backward.js';
import { cases as rope } from './rope.js';
import { cases as routeSort } from './route_sort.js';
import { cases as routerBias } from './router_bias.js';
import { cases as routerLosses } from './router_losses.js';
import { cases as softCap } from './soft_cap.js';
import { cases as softCapBackward } from './soft_cap_backward.js';
import { cases as softmax } from './softmax.js';
import { cases as softmaxBackward } from './softmax_backward.js';
import { cases as sumSquares } from './sum_squares.js';
import { cases as swiglu } from './swiglu.js';
import { cases as swigluBackward } from './swiglu_backward.js';
import { cases as topkSoftmax } from './topk_softmax.js';
import { cases as topkSoftmaxBackward } from './topk_softmax_backward.js';

export const CASES: { readonly [K in OracleName]: readonly Case[] } = {
  fill,
  cast,
  add,
  mul,
  reduce_sum: reduceSum,
  broadcast,
  sum_squares: sumSquares,
  argmax,
  bincount,
  gemm,
  grouped_gemm: groupedGemm,
  grouped_gemm_dw: groupedGemmDw,
  csr_gemm: csrGemm,
  embedding,
  embedding_backward: embeddingBackward,
  rms_norm: rmsNorm,
  rms_norm_backward: rmsNormBackward,
  qk_norm: qkNorm,
  qk_norm_backward: qkNormBackward,
  rope,
  attention,
  attention_backward: attentionBackward,
  attention_decode: attentionDecode,
  swiglu,
  swiglu_backward: swigluBackward,
  softmax,
  softmax_backward: softmaxBackward,
  cross_entropy: crossEntropy,
  distill_cross_entropy: distillCrossEntropy,
  soft_cap: softCap,
  soft_cap_backward: softCapBackward,
  bank_mix: bankMix,
  bank_mix_backward: bankMixBackward,
  bank_sum_squares: bankSumSquares,
  bank_adamw: bankAdamw,
  clip_scale: clipScale,
  adamw,
  muon_momentum: muonMomentum,
  muon_update: muonUpdate,
  kmeans_assign: kmeansAssign,
  topk_softmax: topkSoftmax,
  topk_softmax_backward: topkSoftmaxBackward,
  route_sort: routeSort,
  combine_rows: combineRows,
  combine_rows_backward: combineRowsBackward,
  router_losses: routerLosses,
  router_bias: routerBias,
};
