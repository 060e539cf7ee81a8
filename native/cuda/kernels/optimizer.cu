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

// One block a matrix: what follows, the products of its orthogonalization, costs far more.
__global__ void __launch_bounds__(kThreads)
    muon_momentum_kernel(Fault fault, const float* g, const float* clip, float* m, float* x, size_t n, size_t stride,
                         float momentum, float eps) {
  if (fault.failed()) return;
  const float fresh = (1.0f - momentum) * *clip;
  g += blockIdx.x * stride, m += blockIdx.x * stride, x += blockIdx.x * n;
  float squares = 0;
  for (size_t i = threadIdx.x; i < n; i += kThreads) {
    const float gi = fresh * g[i], mi = fmaf(momentum, m[i], gi), u = fmaf(momentum, mi, gi);
    m[i] = mi;
    x[i] = u;
    squares = fmaf(u, u, squares);
  }
  const float scale = 1.0f / (sqrtf(block_sum<kThreads>(squares)) + eps);
  for (size_t i = threadIdx.x; i < n; i += kThreads) x[i] *= scale;
}

__global__ void __launch_bounds__(kThreads)
    muon_update_kernel(Fault fault, const float* x, const float* hyper, float* p, size_t n, size_t stride, float scale,
                       float lr_scale) {
  if (fault.failed()) return;
  const float decay = hyper[4], minus_lr = -(hyper[0] * lr_scale);
  x += blockIdx.y * n, p += blockIdx.y * stride;
  for (size_t i = flat_index(); i < n; i += flat_stride()) p[i] = fmaf(minus_lr, fmaf(decay, p[i], scale * x[i]), p[i]);
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
  launch(l, muon_momentum_kernel, row.batch, kThreads, 0, l.fault(), l.f32(row.g), l.f32(row.clip), l.f32(row.m),
         l.f32(row.x), size_t{row.n}, size_t{row.stride}, row.momentum, row.eps);
}

void muon_update(Launch& l, const MuonUpdateRow& row) {
  if (row.batch == 0 || row.n == 0) return;
  launch(l, muon_update_kernel, dim3(flat_grid(l, row.n), row.batch), kThreads, 0, l.fault(), l.f32(row.x),
         l.f32(row.hyper), l.f32(row.p), size_t{row.n}, size_t{row.stride}, row.scale, row.lrScale);
}

}  // namespace sweetspot::cuda
