// RMS norm over rows, and over the query and key heads of fused attention rows, with their gradients.
//   y = x rstd w     dx = rstd (dy w - x rstd^2 mean(dy w x))     dw = sum over rows of dy x rstd
// Both are one kernel over heads: a plain row is a fused row of one query head. A team of threads owns a head and reads
// it once where it fits in their registers. The same registers give the weight gradient: a block owns a piece of the
// rows, its threads add up their columns, and sum_axis adds up the pieces. Where heads do not fit, a kernel of its own
// takes the weight gradient, first, because dx may take the place of dy.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

// A fused row: `queries` heads normed with wq, `keys` heads normed with wk, `values` heads copied, each `dim` wide.
struct Layout {
  size_t rows;
  uint32_t queries, keys, values, dim;
  __host__ __device__ size_t heads() const { return size_t{queries} + keys + values; }
  __host__ __device__ size_t normed() const { return size_t{queries} + keys; }
};

template <class F>
void by_head(size_t dim, F&& pick) {
  if (dim % 4 == 0 && dim <= 64)
    pick(Cut<16, 4, 1>{});
  else
    by_row<kThreads>(dim, pick);
}

template <class C>
__global__ void __launch_bounds__(C::Members::threads)
    norm_kernel(Fault fault, const float* x, const float* wq, const float* wk, Out y, float* rstd, Layout layout,
                float eps) {
  if (fault.failed()) return;
  const size_t item = C::Members::row(), row = item / layout.heads(), head = item % layout.heads();
  const uint32_t dim = row < layout.rows ? layout.dim : 0;
  const Row<C> from(x + item * layout.dim, dim);
  float squares = 0;
  each_pack<C>(dim, [&](int k, size_t i) {
    const Pack<C::W> some = from.get(k, i);
#pragma unroll
    for (int j = 0; j < C::W; j++) squares = fmaf(some.at[j], some.at[j], squares);
  });
  const float scale = 1.0f / sqrtf(C::Members::sum(squares) / static_cast<float>(layout.dim) + eps);
  if (row >= layout.rows) return;
  y = y.from(item * layout.dim);
  if (head >= layout.normed()) {
    each_pack<C>(dim, [&](int k, size_t i) { store(y, i, from.get(k, i)); });
    return;
  }
  const float* w = head < layout.queries ? wq : wk;
  each_pack<C>(dim, [&](int k, size_t i) {
    store(y, i, each([&](float a, float b) { return a * scale * b; }, from.get(k, i), load<C::W>(w, i)));
  });
  if (C::Members::lane() == 0) rstd[row * layout.normed() + head] = scale;
}

struct Gradient {
  const float *dy, *x, *wq, *wk, *rstd, *add;
  Out dx;
  float *dwq, *dwk;  // (pieces, dim), where heads fit
};

// partial[i] = sum over the teams of a block of what their threads have of column i, in order.
template <class C>
__device__ void store_piece(const Pack<C::W> (&mine)[C::V], float* partial, uint32_t dim) {
  constexpr uint32_t count = C::Members::count;
  __shared__ Pack<C::W> part[count][C::T];
  const uint32_t lane = C::Members::lane(), team = C::Members::number();
  each_of<C::V>(0, C::step, dim, [&](int k, size_t first) {
    __syncthreads();
    part[team][lane] = mine[k];
    __syncthreads();
    const size_t i = first + lane * C::W;
    if (team > 0 || i >= dim) return;
    Pack<C::W> total = part[0][lane];
    for (uint32_t t = 1; t < count; t++) total = each([](float a, float b) { return a + b; }, total, part[t][lane]);
    *reinterpret_cast<Pack<C::W>*>(partial + i) = total;
  });
}

// A block owns `piece` rows. Fused: rows have key and value heads too.
template <class C, bool Fused>
__global__ void __launch_bounds__(C::Members::threads)
    norm_backward_kernel(Fault fault, Gradient g, Layout layout, uint32_t piece) {
  if (fault.failed()) return;
  Pack<C::W> dwq[C::V > 0 ? C::V : 1] = {}, dwk[Fused && C::V > 0 ? C::V : 1] = {};
  const uint32_t heads = static_cast<uint32_t>(layout.heads());
  const size_t first = static_cast<size_t>(blockIdx.x) * piece;
  const uint32_t end = static_cast<uint32_t>(min(size_t{piece}, layout.rows - first)) * heads;
  for (uint32_t start = 0; start < end; start += C::Members::count) {
    const uint32_t item = start + C::Members::number(), head = Fused ? item % heads : 0;
    const size_t row = first + (Fused ? item / heads : item), at = (first * heads + item) * layout.dim;
    const uint32_t dim = item < end ? layout.dim : 0;
    const bool normed = !Fused || head < layout.normed(), query = !Fused || head < layout.queries;
    const Row<C> d(g.dy + at, dim), x(g.x + at, dim);
    const float* w = query ? g.wq : g.wk;
    float total = 0;
    each_pack<C>(dim, [&](int k, size_t i) {
      const Pack<C::W> a = d.get(k, i), b = x.get(k, i), c = load<C::W>(w, i);
#pragma unroll
      for (int j = 0; j < C::W; j++) total = fmaf(a.at[j] * c.at[j], b.at[j], total);
    });
    total = C::Members::sum(total);
    const Out dx = g.dx.from(at);
    if (Fused && !normed) {
      each_pack<C>(dim, [&](int k, size_t i) { store(dx, i, d.get(k, i)); });
      continue;
    }
    const float scale = dim > 0 ? g.rstd[row * layout.normed() + head] : 0.0f;
    const float mean = -total / static_cast<float>(layout.dim) * scale * scale;
    each_pack<C>(dim, [&](int k, size_t i) {
      const Pack<C::W> a = d.get(k, i), b = x.get(k, i);
      const auto slope = [&](float dy, float v, float weight) { return fmaf(v, mean, dy * weight) * scale; };
      Pack<C::W> y = each(slope, a, b, load<C::W>(w, i));
      if (g.add != nullptr) y = each([](float u, float v) { return u + v; }, y, load<C::W>(g.add + at, i));
      store(dx, i, y);
      if constexpr (C::V > 0) {
        const auto more = [&](float sum, float dy, float v) { return fmaf(dy, v * scale, sum); };
        if (query) dwq[k] = each(more, dwq[k], a, b);
        if constexpr (Fused)
          if (!query) dwk[k] = each(more, dwk[k], a, b);
      }
    });
  }
  if constexpr (C::V > 0) {
    store_piece<C>(dwq, g.dwq + static_cast<size_t>(blockIdx.x) * layout.dim, layout.dim);
    if constexpr (Fused) store_piece<C>(dwk, g.dwk + static_cast<size_t>(blockIdx.x) * layout.dim, layout.dim);
  }
}

// Rows times heads of a partial sum, and columns of a block.
constexpr size_t kPiece = 512;
constexpr uint32_t kColumns = 32;

// partial[piece, i] = sum of dy x rstd over a piece of the heads first .. first + count - 1 of all rows.
__global__ void __launch_bounds__(kThreads)
    norm_dw_kernel(Fault fault, const float* dy, const float* x, const float* rstd, float* partial, Layout layout,
                   uint32_t first, uint32_t count) {
  if (fault.failed()) return;
  constexpr uint32_t lanes = kThreads / kColumns;
  __shared__ float part[lanes][kColumns];
  const uint32_t chunks = ceil_div(layout.dim, kColumns), lane = threadIdx.x / kColumns;
  const size_t piece = blockIdx.x / chunks, i = blockIdx.x % chunks * kColumns + threadIdx.x % kColumns;
  const size_t begin = piece * kPiece, end = min(begin + kPiece, layout.rows * count);
  // Where head number k of the piece lies is carried along: a division each would cost more than the memory.
  size_t row = (begin + lane) / count;
  uint32_t head = (begin + lane) % count;
  float sum = 0;
  if (i < layout.dim) {
#pragma unroll 4
    for (size_t k = begin + lane; k < end; k += lanes) {
      const size_t at = (row * layout.heads() + first + head) * layout.dim + i;
      sum = fmaf(dy[at], x[at] * rstd[row * layout.normed() + first + head], sum);
      row += lanes / count;
      head += lanes % count;
      if (head >= count) {
        head -= count;
        row++;
      }
    }
  }
  part[lane][threadIdx.x % kColumns] = sum;
  __syncthreads();
  if (lane != 0 || i >= layout.dim) return;
  float total = 0;
#pragma unroll
  for (uint32_t k = 0; k < lanes; k++) total += part[k][threadIdx.x];
  partial[piece * layout.dim + i] = total;
}

void forward(Launch& l, const float* x, const float* wq, const float* wk, Out y, float* rstd, Layout layout,
             float eps) {
  by_head(layout.dim, [&](auto cut) {
    using C = decltype(cut);
    launch(l, norm_kernel<C>, C::Members::grid(layout.rows * layout.heads()), C::Members::threads, 0, l.fault(), x, wq,
           wk, y, rstd, layout, eps);
  });
}

void weight_gradient(Launch& l, const Gradient& g, const float* add, float* dw, Layout layout, uint32_t first,
                     uint32_t count) {
  const size_t pieces = ceil_div(layout.rows * count, kPiece);
  auto* partial = static_cast<float*>(l.scratch(pieces * layout.dim * sizeof(float)));
  launch(l, norm_dw_kernel, static_cast<uint32_t>(pieces * ceil_div(layout.dim, kColumns)), kThreads, 0, l.fault(),
         g.dy, g.x, g.rstd, partial, layout, first, count);
  sum_axis(l, partial, 1, pieces, layout.dim, 1.0f, add, dw);
}

// Rows of a block: few enough that many blocks share the work, and so many that partial sums are a small part of what
// is read. A multiple of what the block's teams do at once.
uint32_t piece_of(const Layout& layout, uint32_t teams) {
  constexpr size_t most = 512;
  const size_t heads = layout.heads(), least = heads > 0 && heads < teams ? teams / heads : 1;
  const size_t rounds = ceil_div(layout.rows, most * least);
  return static_cast<uint32_t>((rounds > 1 ? rounds : 1) * least);
}

template <bool Fused>
void backward(Launch& l, Gradient g, const Layout& layout, const float* addwq, float* dwq, const float* addwk,
              float* dwk) {
  by_head(layout.dim, [&](auto cut) {
    using C = decltype(cut);
    constexpr bool fits = C::V > 0;
    if (!fits) {
      weight_gradient(l, g, addwq, dwq, layout, 0, layout.queries);
      if (Fused) weight_gradient(l, g, addwk, dwk, layout, layout.queries, layout.keys);
    }
    const uint32_t piece = piece_of(layout, C::Members::count), pieces = ceil_div(layout.rows, piece);
    const size_t bytes = fits ? size_t{pieces} * layout.dim * sizeof(float) : 0;
    g.dwq = static_cast<float*>(l.scratch(bytes));
    g.dwk = static_cast<float*>(l.scratch(Fused ? bytes : 0));
    launch(l, norm_backward_kernel<C, Fused>, pieces, C::Members::threads, 0, l.fault(), g, layout, piece);
    if (!fits) return;
    sum_axis(l, g.dwq, 1, pieces, layout.dim, 1.0f, addwq, dwq);
    if (Fused) sum_axis(l, g.dwk, 1, pieces, layout.dim, 1.0f, addwk, dwk);
  });
}

}  // namespace

void rms_norm(Launch& l, const RmsNormRow& row) {
  forward(l, l.f32(row.x), l.f32(row.w), nullptr, l.out(row.y), l.f32(row.rstd), {row.rows, 1, 0, 0, row.cols},
          row.eps);
}

void rms_norm_backward(Launch& l, const RmsNormBackwardRow& row) {
  const Gradient g{l.f32(row.dy),       l.f32(row.x),  l.f32(row.w), nullptr, l.f32(row.rstd),
                   l.optional(row.add), l.out(row.dx), nullptr,      nullptr};
  backward<false>(l, g, {row.rows, 1, 0, 0, row.cols}, l.optional(row.addw), l.f32(row.dw), nullptr, nullptr);
}

void qk_norm(Launch& l, const QkNormRow& row) {
  forward(l, l.f32(row.x), l.f32(row.wq), l.f32(row.wk), l.out(row.y), l.f32(row.rstd),
          {row.rows, row.heads, row.kvHeads, row.kvHeads, row.headDim}, row.eps);
}

void qk_norm_backward(Launch& l, const QkNormBackwardRow& row) {
  const Gradient g{l.f32(row.dy), l.f32(row.x),  l.f32(row.wq), l.f32(row.wk), l.f32(row.rstd),
                   nullptr,       l.out(row.dx), nullptr,       nullptr};
  backward<true>(l, g, {row.rows, row.heads, row.kvHeads, row.kvHeads, row.headDim}, l.optional(row.addwq),
                 l.f32(row.dwq), l.optional(row.addwk), l.f32(row.dwk));
}

}  // namespace sweetspot::cuda
