// RMS norm over rows, and over the query and key heads of fused attention rows, with their gradients.
//   y = x rstd w     dx = rstd (dy w - x rstd^2 mean(dy w x))     dw = sum over rows of dy x rstd
// Both are one kernel over heads: a plain row is a fused row of one query head. A team of threads owns a head and reads
// it twice, the second time from cache. The weight gradient is taken first, because dx may take the place of dy: each
// block adds up a piece of the rows for 32 columns, and sum_axis adds up the pieces.
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

template <int T>
__global__ void __launch_bounds__(kThreads) norm_kernel(Fault fault, const float* x, const float* wq, const float* wk,
                                                        float* y, float* rstd, Layout layout, float eps) {
  if (fault.failed()) return;
  const size_t item = Team<T>::row(), row = item / layout.heads(), head = item % layout.heads();
  if (row >= layout.rows) return;
  const float* from = x + item * layout.dim;
  float* to = y + item * layout.dim;
  if (head >= layout.normed()) {
    for (uint32_t i = Team<T>::lane(); i < layout.dim; i += T) to[i] = from[i];
    return;
  }
  float squares = 0;
  for (uint32_t i = Team<T>::lane(); i < layout.dim; i += T) squares = fmaf(from[i], from[i], squares);
  const float scale = 1.0f / sqrtf(Team<T>::sum(squares) / static_cast<float>(layout.dim) + eps);
  const float* w = head < layout.queries ? wq : wk;
  for (uint32_t i = Team<T>::lane(); i < layout.dim; i += T) to[i] = from[i] * scale * w[i];
  if (Team<T>::lane() == 0) rstd[row * layout.normed() + head] = scale;
}

template <int T>
__global__ void __launch_bounds__(kThreads)
    norm_dx_kernel(Fault fault, const float* dy, const float* x, const float* wq, const float* wk, const float* rstd,
                   const float* add, float* dx, Layout layout) {
  if (fault.failed()) return;
  const size_t item = Team<T>::row(), row = item / layout.heads(), head = item % layout.heads();
  if (row >= layout.rows) return;
  const float *d = dy + item * layout.dim, *v = x + item * layout.dim;
  float* to = dx + item * layout.dim;
  if (head >= layout.normed()) {
    for (uint32_t i = Team<T>::lane(); i < layout.dim; i += T) to[i] = d[i];
    return;
  }
  const float* w = head < layout.queries ? wq : wk;
  float total = 0;
  for (uint32_t i = Team<T>::lane(); i < layout.dim; i += T) total = fmaf(d[i] * w[i], v[i], total);
  const float scale = rstd[row * layout.normed() + head];
  const float mean = -Team<T>::sum(total) / static_cast<float>(layout.dim) * scale * scale;
  for (uint32_t i = Team<T>::lane(); i < layout.dim; i += T) {
    const float g = fmaf(v[i], mean, d[i] * w[i]) * scale;
    to[i] = add == nullptr ? g : g + add[item * layout.dim + i];
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

void forward(Launch& l, const float* x, const float* wq, const float* wk, float* y, float* rstd, Layout layout,
             float eps) {
  by_width(layout.dim, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, norm_kernel<T>, Team<T>::grid(layout.rows * layout.heads()), kThreads, 0, l.fault(), x, wq, wk, y, rstd,
           layout, eps);
  });
}

void weight_gradient(Launch& l, const float* dy, const float* x, const float* rstd, const float* add, float* dw,
                     Layout layout, uint32_t first, uint32_t count) {
  const size_t pieces = ceil_div(layout.rows * count, kPiece);
  auto* partial = static_cast<float*>(l.scratch(pieces * layout.dim * sizeof(float)));
  launch(l, norm_dw_kernel, static_cast<uint32_t>(pieces * ceil_div(layout.dim, kColumns)), kThreads, 0, l.fault(), dy,
         x, rstd, partial, layout, first, count);
  sum_axis(l, partial, 1, pieces, layout.dim, 1.0f, add, dw);
}

void input_gradient(Launch& l, const float* dy, const float* x, const float* wq, const float* wk, const float* rstd,
                    const float* add, float* dx, Layout layout) {
  by_width(layout.dim, [&](auto team) {
    constexpr int T = decltype(team)::value;
    launch(l, norm_dx_kernel<T>, Team<T>::grid(layout.rows * layout.heads()), kThreads, 0, l.fault(), dy, x, wq, wk,
           rstd, add, dx, layout);
  });
}

}  // namespace

void rms_norm(Launch& l, const RmsNormRow& row) {
  forward(l, l.f32(row.x), l.f32(row.w), nullptr, l.f32(row.y), l.f32(row.rstd), {row.rows, 1, 0, 0, row.cols},
          row.eps);
}

void rms_norm_backward(Launch& l, const RmsNormBackwardRow& row) {
  const Layout layout{row.rows, 1, 0, 0, row.cols};
  const float *dy = l.f32(row.dy), *x = l.f32(row.x), *rstd = l.f32(row.rstd);
  weight_gradient(l, dy, x, rstd, l.optional(row.addw), l.f32(row.dw), layout, 0, 1);
  input_gradient(l, dy, x, l.f32(row.w), nullptr, rstd, l.optional(row.add), l.f32(row.dx), layout);
}

void qk_norm(Launch& l, const QkNormRow& row) {
  forward(l, l.f32(row.x), l.f32(row.wq), l.f32(row.wk), l.f32(row.y), l.f32(row.rstd),
          {row.rows, row.heads, row.kvHeads, row.kvHeads, row.headDim}, row.eps);
}

void qk_norm_backward(Launch& l, const QkNormBackwardRow& row) {
  const Layout layout{row.rows, row.heads, row.kvHeads, row.kvHeads, row.headDim};
  const float *dy = l.f32(row.dy), *x = l.f32(row.x), *rstd = l.f32(row.rstd);
  weight_gradient(l, dy, x, rstd, l.optional(row.addwq), l.f32(row.dwq), layout, 0, row.heads);
  weight_gradient(l, dy, x, rstd, l.optional(row.addwk), l.f32(row.dwk), layout, row.heads, row.kvHeads);
  input_gradient(l, dy, x, l.f32(row.wq), l.f32(row.wk), rstd, nullptr, l.f32(row.dx), layout);
}

}  // namespace sweetspot::cuda
