// Gradient clipping by global norm; AdamW over one flat range that holds many tensors, one pass over g, p, m, v; and
// the element by element parts of Muon (ts/optim/muon.ts).
#include "cuda/kernels/adamw.cuh"
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

// One block: there are as many squares as rows that made them, not as many as weights.
__global__ void __launch_bounds__(kThreads)
    clip_kernel(Fault fault, const float* squares, uint32_t n, float limit, float* norm, float* scale) {
  if (fault.stopped()) return;
  __shared__ double part[kThreads];
  double total = 0;
  for (uint32_t i = threadIdx.x; i < n; i += kThreads) total += squares[i];
  part[threadIdx.x] = total;
  for (int width = kThreads / 2; width > 0; width /= 2) {
    __syncthreads();
    if (threadIdx.x < width) part[threadIdx.x] += part[threadIdx.x + width];
  }
  if (threadIdx.x != 0) return;
  const double found = sqrt(part[0]);
  if (!isfinite(found)) return fault.raise(kNormNotFinite, __float_as_int(static_cast<float>(found)));
  *norm = static_cast<float>(found);
  *scale = limit != 0 && found > limit ? static_cast<float>(limit / found) : 1.0f;
}

__global__ void __launch_bounds__(kThreads)
    adamw_kernel(Fault fault, const float* g, const float* hyper, const float* clip, float* p, float* m, float* v,
                 size_t n, float lr_scale, float decay_scale) {
  if (fault.failed()) return;
  const AdamwStep step(hyper, clip, lr_scale, decay_scale);
  const size_t quads = n / 4;
  for (size_t q = flat_index(); q < quads; q += flat_stride()) {
    const float4 gq = reinterpret_cast<const float4*>(g)[q];
    float4 pq = reinterpret_cast<float4*>(p)[q], mq = reinterpret_cast<float4*>(m)[q],
           vq = reinterpret_cast<float4*>(v)[q];
    step(gq, pq, mq, vq);
    reinterpret_cast<float4*>(p)[q] = pq;
    reinterpret_cast<float4*>(m)[q] = mq;
    reinterpret_cast<float4*>(v)[q] = vq;
  }
  const size_t i = quads * 4 + flat_index();
  if (i < n) step(g[i], p[i], m[i], v[i]);
}

// W numbers side by side: 4 where every matrix begins at a multiple of 16 bytes, else 1.
template <int W>
struct alignas(W * sizeof(float)) Pack {
  float v[W];
};
template <int W>
__device__ Pack<W>& pack(float* p, size_t i) {
  return reinterpret_cast<Pack<W>*>(p)[i];
}
template <int W>
__device__ const Pack<W>& pack(const float* p, size_t i) {
  return reinterpret_cast<const Pack<W>*>(p)[i];
}
template <class F>
void by_pack(size_t n, size_t stride, F&& pick) {
  if (n % 4 == 0 && stride % 4 == 0)
    pick(std::integral_constant<int, 4>{});
  else
    pick(std::integral_constant<int, 1>{});
}

// Numbers of a matrix that a block takes.
constexpr size_t kPiece = 8192;

// What is left of a step of momentum when m is there: the direction, not yet of length 1.
__device__ float nesterov(float momentum, float fresh, float g, float m) {
  return fmaf(momentum, m, fresh * g);
}

// The momentum, and the squares of the direction, a sum for each piece of a matrix.
template <int W>
__global__ void __launch_bounds__(kThreads)
    muon_momentum_kernel(Fault fault, const float* g, const float* clip, float* m, float* squares, size_t n,
                         size_t stride, size_t pieces, float momentum) {
  if (fault.failed()) return;
  const float fresh = (1.0f - momentum) * *clip;
  const size_t matrix = blockIdx.x / pieces, begin = blockIdx.x % pieces * kPiece, end = min(begin + kPiece, n);
  g += matrix * stride, m += matrix * stride;
  float sum = 0;
  for (size_t i = begin / W + threadIdx.x; i < end / W; i += kThreads) {
    const Pack<W> gi = pack<W>(g, i);
    Pack<W> mi = pack<W>(m, i);
#pragma unroll
    for (int k = 0; k < W; k++) {
      mi.v[k] = nesterov(momentum, fresh, gi.v[k], mi.v[k]);
      const float u = nesterov(momentum, fresh, gi.v[k], mi.v[k]);
      sum = fmaf(u, u, sum);
    }
    pack<W>(m, i) = mi;
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// The direction again, over its length.
template <int W>
__global__ void __launch_bounds__(kThreads)
    muon_direction_kernel(Fault fault, const float* g, const float* clip, const float* m, const float* squares, Out x,
                          size_t n, size_t stride, size_t pieces, float momentum, float eps) {
  if (fault.failed()) return;
  const float fresh = (1.0f - momentum) * *clip;
  const size_t matrix = blockIdx.x / pieces, begin = blockIdx.x % pieces * kPiece, end = min(begin + kPiece, n);
  g += matrix * stride, m += matrix * stride;
  float sum = 0;
  for (size_t i = threadIdx.x; i < pieces; i += kThreads) sum += squares[matrix * pieces + i];
  const float scale = 1.0f / (sqrtf(block_sum<kThreads>(sum)) + eps);
  for (size_t i = begin / W + threadIdx.x; i < end / W; i += kThreads) {
    const Pack<W> gi = pack<W>(g, i), mi = pack<W>(m, i);
    float u[W];
#pragma unroll
    for (int k = 0; k < W; k++) u[k] = scale * nesterov(momentum, fresh, gi.v[k], mi.v[k]);
    if constexpr (W == 4)
      x.put4(matrix * n + i * 4, make_float4(u[0], u[1], u[2], u[3]));
    else
      x.put(matrix * n + i, u[0]);
  }
}

template <int W>
__global__ void __launch_bounds__(kThreads)
    muon_update_kernel(Fault fault, const float* x, const float* hyper, float* p, size_t n, size_t stride, float scale,
                       float lr_scale) {
  if (fault.failed()) return;
  const float decay = hyper[4], minus_lr = -(hyper[0] * lr_scale);
  x += blockIdx.y * n, p += blockIdx.y * stride;
  for (size_t i = flat_index(); i < n / W; i += flat_stride()) {
    const Pack<W> xi = pack<W>(x, i);
    Pack<W> pi = pack<W>(p, i);
#pragma unroll
    for (int k = 0; k < W; k++) pi.v[k] = fmaf(minus_lr, fmaf(decay, pi.v[k], scale * xi.v[k]), pi.v[k]);
    pack<W>(p, i) = pi;
  }
}

}  // namespace

void clip_scale(Launch& l, const ClipScaleRow& row) {
  launch(l, clip_kernel, 1, kThreads, 0, l.fault(), l.f32(row.squares), row.n, row.maxNorm, l.f32(row.norm),
         l.f32(row.scale));
}

void adamw(Launch& l, const AdamwRow& row) {
  launch(l, adamw_kernel, flat_grid(l, (size_t{row.n} + 3) / 4), kThreads, 0, l.fault(), l.f32(row.g), l.f32(row.hyper),
         l.f32(row.clip), l.f32(row.p), l.f32(row.m), l.f32(row.v), row.n, row.lrScale, row.decayScale);
}

void muon_momentum(Launch& l, const MuonMomentumRow& row) {
  if (row.batch == 0 || row.n == 0) return;
  const size_t n = row.n, stride = row.stride, pieces = ceil_div(n, kPiece);
  const auto blocks = static_cast<uint32_t>(row.batch * pieces);
  auto* squares = static_cast<float*>(l.scratch(blocks * sizeof(float)));
  by_pack(n, stride, [&](auto wide) {
    constexpr int W = decltype(wide)::value;
    launch(l, muon_momentum_kernel<W>, blocks, kThreads, 0, l.fault(), l.f32(row.g), l.f32(row.clip), l.f32(row.m),
           squares, n, stride, pieces, row.momentum);
    launch(l, muon_direction_kernel<W>, blocks, kThreads, 0, l.fault(), l.f32(row.g), l.f32(row.clip), l.f32(row.m),
           squares, l.out(row.x), n, stride, pieces, row.momentum, row.eps);
  });
}

void muon_update(Launch& l, const MuonUpdateRow& row) {
  if (row.batch == 0 || row.n == 0) return;
  by_pack(row.n, row.stride, [&](auto wide) {
    constexpr int W = decltype(wide)::value;
    launch(l, muon_update_kernel<W>, dim3(flat_grid(l, row.n / W), row.batch), kThreads, 0, l.fault(), l.f32(row.x),
           l.f32(row.hyper), l.f32(row.p), size_t{row.n}, size_t{row.stride}, row.scale, row.lrScale);
  });
}

}  // namespace sweetspot::cuda
