// y = op(a) op(b): the linear layers. Weights are stored (out, in) as in Hugging Face folders, so the forward pass of a
// layer is N T, its input gradient N N, its weight gradient T N.
import { expectWidth, type Precision, tape } from '../autograd/tape.js';
import { rowsOf, type Tensor } from '../tensor/tensor.js';

export interface GemmShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transA?: boolean;
  readonly transB?: boolean;
  /** Default: that of the tape. */
  readonly precision?: Precision | undefined;
}

/** The dim `precision` of every row that multiplies matrices: that of the tape, unless another is asked for. */
export const precision = (asked?: Precision): number => ((asked ?? tape().precision) === 'bf16' ? 1 : 0);

/** The row itself, dense matrices, one batch: c = op(a) op(b) (+ bias) (+ add). */
export function emitGemm(
  operands: { a: Tensor; b: Tensor; c: Tensor; bias?: Tensor | undefined; add?: Tensor | undefined },
  { m, n, k, transA = false, transB = false, precision: asked }: GemmShape,
  alpha = 1,
): void {
  const dims = {
    batch: 1,
    m,
    n,
    k,
    transA: transA ? 1 : 0,
    transB: transB ? 1 : 0,
    lda: transA ? m : k,
    ldb: transB ? k : n,
    ldc: n,
    strideA: 0,
    strideB: 0,
    strideC: 0,
    precision: precision(asked),
  };
  tape().emit('gemm', operands, dims, { alpha });
}

export interface LinearOptions {
  /** Of the product and of its gradients. Default: that of the tape. */
  readonly precision?: Precision | undefined;
  /** (..., out): added to the product, the residual connection. Its gradient is the incoming one, shared. */
  readonly residual?: Tensor | undefined;
}

/** x (..., in) times w (out, in) transposed (+ residual) -> (..., out). */
export function linear(x: Tensor, w: Tensor, { precision, residual }: LinearOptions = {}): Tensor {
  const t = tape();
  const [out, width] = [w.shape[0]!, w.shape[1]!];
  expectWidth('linear', x, width);
  const rows = rowsOf(x);
  const requiresGrad = x.requiresGrad || w.requiresGrad || residual?.requiresGrad === true;
  const y = t.temporary([...x.shape.slice(0, -1), out], { requiresGrad });
  emitGemm({ a: x, b: w, add: residual, c: y }, { m: rows, n: out, k: width, transB: true, precision });
  t.node([y], () => {
    const dy = t.incoming(y);
    if (residual !== undefined) t.pass(residual, dy);
    if (x.requiresGrad) {
      const dx = t.grad(x);
      emitGemm({ a: dy, b: w, add: dx.add, c: dx.out }, { m: rows, n: width, k: out, precision });
    }
    if (w.requiresGrad) {
      const dw = t.grad(w);
      emitGemm({ a: dy, b: x, add: dw.add, c: dw.out }, { m: out, n: width, k: rows, transA: true, precision });
    }
  });
  return y;
}

/** a (m, k) times b (k, n) -> (m, n). */
export function matmul(a: Tensor, b: Tensor): Tensor {
  const t = tape();
  const [k, n] = [b.shape[0]!, b.shape[1]!];
  expectWidth('matmul', a, k);
  const m = rowsOf(a);
  const y = t.temporary([m, n], { requiresGrad: a.requiresGrad || b.requiresGrad });
  emitGemm({ a, b, c: y }, { m, n, k });
  t.node([y], () => {
    const dy = t.incoming(y);
    if (a.requiresGrad) {
      const da = t.grad(a);
      emitGemm({ a: dy, b, add: da.add, c: da.out }, { m, n: k, k: n, transB: true });
    }
    if (b.requiresGrad) {
      const db = t.grad(b);
      emitGemm({ a, b: dy, add: db.add, c: db.out }, { m: k, n, k: m, transA: true });
    }
  });
  return y;
}

/**
 * Rows sorted by group, each group with its own weights: x (N, in), w (G, out, in), offsets i32 (G + 1) -> (N, out). With
 * `count`, i32 (1), groups from there on have no rows, and the gradient of their weights is left unwritten. `residual` as in linear.
 */
export function groupedLinear(
  x: Tensor,
  w: Tensor,
  offsets: Tensor,
  { count, residual }: { count?: Tensor | undefined; residual?: Tensor | undefined } = {},
): Tensor {
  const t = tape();
  const [groups, out, width] = [w.shape[0]!, w.shape[1]!, w.shape[2]!];
  expectWidth('groupedLinear', x, width);
  const rows = rowsOf(x);
  const y = t.temporary([...x.shape.slice(0, -1), out], { requiresGrad: true });
  t.emit(
    'grouped_gemm',
    { a: x, b: w, offsets, add: residual, c: y },
    { groups, rows, n: out, k: width, transB: 1, precision: precision() },
    {},
  );
  t.node([y], () => {
    const dy = t.incoming(y);
    if (residual !== undefined) t.pass(residual, dy);
    if (x.requiresGrad) {
      const dx = t.grad(x);
      t.emit(
        'grouped_gemm',
        { a: dy, b: w, offsets, add: dx.add, c: dx.out },
        { groups, rows, n: width, k: out, transB: 0, precision: precision() },
        {},
      );
    }
    t.gradVia(w, (dw) =>
      t.emit(
        'grouped_gemm_dw',
        { a: dy, b: x, offsets, count, dw },
        { groups, rows, m: out, n: width, precision: precision() },
        {},
      ),
    );
  });
  return y;
}
