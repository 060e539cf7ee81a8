// SLM-pn, the projected network (PAPER, "Models"): all experts at once, feed-forward weights generated for the cluster of each
// window. The batch is drawn as the corpus comes; windows are sorted by cluster, and every window is computed with the
// weights of its own cluster (PAPER, pilot: one cluster a micro-batch trains 14% worse).
import { EXPERTS } from '../models/bank.js';
import { pretrainBank } from './bank.js';
import type { MethodResult, PretrainContext } from './context.js';

export const pretrainProjected = (context: PretrainContext): Promise<MethodResult> =>
  pretrainBank(context, { vectors: (values) => values.get(EXPERTS)! });
