// Routing of mixture layers without dropped tokens: every row goes to its k most probable experts (Shazeer et al. 2017;
// k = 1 is Switch, Fedus et al. 2021). Rows are sorted by expert, multiplied with groupedLinear and summed back; N k rows
// whatever the choices are, so nothing has to be read back to size a buffer.
import { expectWidth, tape } from '../autograd/tape.js';
import { lastOf, rowsOf, type Tensor } from '../tensor/tensor.js';

/** What a router chose. */
export interface Choice {
  /** (N, k) weights of the chosen experts, largest first. */
  readonly p: Tensor;
  /** i32 (N, k) their ids. */
  readonly ids: Tensor;
  /** When asked for: (N) log of the softmax denominator over all experts; its square is the z-loss (Zoph et al. 2022). */
  readonly lse: Tensor | undefined;
}

/**
 * The k most probable experts of logits x (..., E). `normalize` divides their probabilities by their sum (Mixtral), without
 * it they are those of the full softmax (Switch). `bias` (E) steers the choice and nothing else (DeepSeek-V3); it has no
 * gradient. `lse` asks for the denominator, which the full softmax has anyway.
 */
export function topkSoftmax(
  x: Tensor,
  k: number,
  options: { normalize?: boolean; bias?: Tensor; lse?: boolean } = {},
): Choice {
  const t = tape();
  const experts = lastOf(x);
  if (options.bias !== undefined) expectWidth('topkSoftmax', options.bias, experts);
  const normalize = options.normalize ?? true;
  const dims = { rows: rowsOf(x), experts, k, normalize: normalize ? 1 : 0 };
  const p = t.temporary([dims.rows, k], { requiresGrad: x.requiresGrad, name: 'p' });
  const ids = t.temporary([dims.rows, k], { dtype: 'i32', name: 'experts' });
  const wanted = options.lse === true || !normalize;
  const lse = wanted ? t.temporary([dims.rows], { requiresGrad: x.requiresGrad, name: 'lse' }) : undefined;
  t.emit('topk_softmax', { x, bias: options.bias, p, ids, lse }, dims, {});
  t.node(lse === undefined ? [p] : [p, lse], () => {
    const dx = t.grad(x);
    // Only the z-loss may have reached it: then p takes part with zeros.
    let dp = t.gradientOf(p);
    if (dp === undefined) {
      dp = t.temporary(p.shape);
      t.emit('fill', { y: dp }, { n: dims.rows * k }, { value: 0 });
    }
    const operands = { dp, dlse: lse && t.gradientOf(lse), x, p, ids, lse, add: dx.add, dx: dx.out };
    t.emit('topk_softmax_backward', operands, dims, {});
  });
  return { p, ids, lse };
}

/**
 * Losses of a router, from logits (N, E), the log of their softmax's denominator (N) and where its choices lie: writes loads (E),
 * load balance loss and z-loss into `figures`, and adds the gradient of balance * the one + z * the other to that of the logits.
 */
export function routerLosses(
  { logits, lse, offsets }: { readonly logits: Tensor; readonly lse: Tensor; readonly offsets: Tensor },
  figures: Tensor,
  weights: { readonly balance: number; readonly z: number },
): void {
  const t = tape();
  const wanted = logits.requiresGrad && (weights.balance > 0 || weights.z > 0);
  const dims = { rows: rowsOf(logits), experts: lastOf(logits) };
  const write = (dx?: Tensor) => t.emit('router_losses', { x: logits, lse, offsets, y: figures, dx }, dims, weights);
  if (wanted) t.gradVia(logits, write);
  else write();
}

/** Moves the bias (E) of a choice towards even loads, by `rate`. */
export function routerBias(offsets: Tensor, bias: Tensor, rate: number): void {
  tape().emit('router_bias', { offsets, bias }, { experts: lastOf(bias) }, { rate });
}

/** Where sorted rows come from and lie. */
export interface Routes {
  /** i32 (E + 1): expert e owns places offsets[e] .. offsets[e + 1]; for groupedLinear. */
  readonly offsets: Tensor;
  /** i32 (N k): the row at each place. */
  readonly source: Tensor;
  /** i32 (N, k): the place of each choice. */
  readonly position: Tensor;
}

/** Sorts the choices ids i32 (N, k) by expert, on the device. */
export function routeSort(ids: Tensor, experts: number): Routes {
  const t = tape();
  const [rows, k] = [ids.shape[0]!, ids.shape[1]!];
  const offsets = t.temporary([experts + 1], { dtype: 'i32', name: 'offsets' });
  const source = t.temporary([rows * k], { dtype: 'i32', name: 'source' });
  const position = t.temporary([rows, k], { dtype: 'i32', name: 'position' });
  t.emit('route_sort', { ids, offsets, source, position }, { rows, k, groups: experts }, {});
  return { offsets, source, position };
}

/** x (..., C) -> (N k, C): the rows of x at their places. */
export function gatherRows(x: Tensor, routes: Routes): Tensor {
  const t = tape();
  const [vocab, cols, k] = [rowsOf(x), lastOf(x), routes.position.shape[1]!];
  const y = t.temporary([vocab * k, cols], { requiresGrad: x.requiresGrad });
  t.emit('embedding', { table: x, ids: routes.source, y }, { rows: vocab * k, cols, vocab }, {});
  t.node([y], () => {
    const dx = t.grad(x);
    const operands = { x: t.incoming(y), position: routes.position, add: dx.add, y: dx.out };
    t.emit('combine_rows', operands, { rows: vocab, k, cols }, {});
  });
  return y;
}

/** x (N k, C) at their places, weights p (N, k) -> (N, C): the weighted sum of each row's choices. */
export function combineRows(x: Tensor, p: Tensor, routes: Routes): Tensor {
  const t = tape();
  const { position } = routes;
  const dims = { rows: position.shape[0]!, k: position.shape[1]!, cols: lastOf(x) };
  const y = t.temporary([dims.rows, dims.cols], { requiresGrad: x.requiresGrad || p.requiresGrad });
  t.emit('combine_rows', { x, p, position, y }, dims, {});
  t.node([y], () => {
    // One row makes both; neither kernel adds, and what is not wanted goes to a temporary that nobody reads.
    const dy = t.incoming(y);
    const write = (dx: Tensor, dp: Tensor) => t.emit('combine_rows_backward', { dy, x, p, position, dx, dp }, dims, {});
    const into = (of: Tensor, then: (out: Tensor) => void) =>
      of.requiresGrad ? t.gradVia(of, then) : then(t.temporary(of.shape));
    into(x, (dx) => into(p, (dp) => write(dx, dp)));
  });
  return y;
}
