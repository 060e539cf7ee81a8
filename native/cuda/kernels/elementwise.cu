// Element by element: fill, add, mul, broadcast, soft_cap. One pass over memory, four numbers a thread at a time.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

struct Constant {
  float value;
  __device__ float operator()(float, float, float) const { return value; }
};
struct Combine {
  float alpha, beta;
  __device__ float operator()(float a, float b, float) const { return fmaf(alpha, a, beta * b); }
};
struct Product {
  __device__ float operator()(float a, float b, float) const { return a * b; }
};
struct ProductPlus {
  __device__ float operator()(float a, float b, float c) const { return fmaf(a, b, c); }
};
struct SoftCap {
  float cap;
  __device__ float operator()(float x, float, float) const { return cap * tanhf(x / cap); }
};
struct SoftCapBackward {
  float cap;
  __device__ float operator()(float dy, float y, float) const {
    const float t = y / cap;
    return dy * ((1.0f - t) * (1.0f + t));
  }
};

// y = f(a, b, c); an input that is nullptr is 0. y may be any of them. All begin at a multiple of 64 bytes.
template <class F>
__global__ void __launch_bounds__(kThreads)
    map_kernel(Fault fault, const float* a, const float* b, const float* c, float* y, size_t n, F f) {
  if (fault.failed()) return;
  const auto four = [](const float* p, size_t q) {
    return p == nullptr ? make_float4(0, 0, 0, 0) : reinterpret_cast<const float4*>(p)[q];
  };
  const auto one = [](const float* p, size_t i) { return p == nullptr ? 0.0f : p[i]; };
  const size_t quads = n / 4;
  for (size_t q = flat_index(); q < quads; q += flat_stride()) {
    const float4 u = four(a, q), v = four(b, q), w = four(c, q);
    reinterpret_cast<float4*>(y)[q] =
        make_float4(f(u.x, v.x, w.x), f(u.y, v.y, w.y), f(u.z, v.z, w.z), f(u.w, v.w, w.w));
  }
  const size_t i = quads * 4 + flat_index();
  if (i < n) y[i] = f(one(a, i), one(b, i), one(c, i));
}

template <class F>
void map(Launch& l, const float* a, const float* b, const float* c, float* y, size_t n, F f) {
  launch(l, map_kernel<F>, flat_grid(l, (n + 3) / 4), kThreads, 0, l.fault(), a, b, c, y, n, f);
}

// Index is the narrowest type that counts the elements of y: a division of 64 bits would cost more than the memory.
template <class Index>
__global__ void __launch_bounds__(kThreads) broadcast_kernel(Fault fault, const float* x, const float* add, float* y,
                                                             Index all, Index n, Index inner, float alpha) {
  if (fault.failed()) return;
  for (size_t at = flat_index(); at < all; at += flat_stride()) {
    const Index line = static_cast<Index>(at) / inner, i = static_cast<Index>(at) - line * inner;
    const float value = x[static_cast<size_t>(line / n) * inner + i];
    y[at] = add == nullptr ? alpha * value : fmaf(alpha, value, add[at]);
  }
}

}  // namespace

void fill(Launch& l, const FillRow& row) {
  map(l, nullptr, nullptr, nullptr, l.f32(row.y), row.n, Constant{row.value});
}

void add(Launch& l, const AddRow& row) {
  map(l, l.f32(row.a), l.f32(row.b), nullptr, l.f32(row.y), row.n, Combine{row.alpha, row.beta});
}

void mul(Launch& l, const MulRow& row) {
  const float *a = l.f32(row.a), *b = l.f32(row.b), *c = l.optional(row.add);
  float* y = l.f32(row.y);
  if (c == nullptr)
    map(l, a, b, nullptr, y, row.n, Product{});
  else
    map(l, a, b, c, y, row.n, ProductPlus{});
}

void soft_cap(Launch& l, const SoftCapRow& row) {
  map(l, l.f32(row.x), nullptr, nullptr, l.f32(row.y), row.n, SoftCap{row.cap});
}

void soft_cap_backward(Launch& l, const SoftCapBackwardRow& row) {
  map(l, l.f32(row.dy), l.f32(row.y), nullptr, l.f32(row.dx), row.n, SoftCapBackward{row.cap});
}

void broadcast(Launch& l, const BroadcastRow& row) {
  const float *x = l.f32(row.x), *add = l.optional(row.add);
  float* y = l.f32(row.y);
  const size_t all = static_cast<size_t>(row.outer) * row.n * row.inner;
  if (all < (size_t{1} << 32)) {
    launch(l, broadcast_kernel<uint32_t>, flat_grid(l, all), kThreads, 0, l.fault(), x, add, y, all, row.n, row.inner,
           row.alpha);
  } else {
    launch(l, broadcast_kernel<uint64_t>, flat_grid(l, all), kThreads, 0, l.fault(), x, add, y, all, row.n, row.inner,
           row.alpha);
  }
}

}  // namespace sweetspot::cuda
