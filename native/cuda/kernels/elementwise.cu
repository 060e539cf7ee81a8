// Element by element: fill, add, mul, broadcast, soft_cap. One pass over memory.
#include "cuda/kernels/rows.cuh"

namespace sweetspot::cuda {
namespace {

constexpr int kMany = 2;  // packs of each operand that a thread reads at once

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

// y = f(a, b, c), of which only the first Inputs are there and the others are 0. y may be any of them.
template <int Inputs, class F>
__global__ void __launch_bounds__(kThreads)
    map_kernel(Fault fault, const float* a, const float* b, const float* c, Out y, size_t n, F f) {
  if (fault.failed()) return;
  const auto pick = [](int input, const float* p, size_t i, auto width) {
    constexpr int W = decltype(width)::value;
    return Inputs > input ? load<W>(p, i) : Pack<W>{};
  };
  constexpr std::integral_constant<int, 4> four;
  constexpr std::integral_constant<int, 1> one;
  const size_t whole = n / 4 * 4, step = flat_stride() * 4;
  for (size_t first = flat_index() * 4; first < whole; first += kMany * step) {
    Pack<4> u[kMany], v[kMany], w[kMany];
    each_of<kMany>(first, step, whole, [&](int k, size_t i) {
      u[k] = pick(0, a, i, four), v[k] = pick(1, b, i, four), w[k] = pick(2, c, i, four);
    });
    each_of<kMany>(first, step, whole, [&](int k, size_t i) { store(y, i, each(f, u[k], v[k], w[k])); });
  }
  const size_t i = whole + flat_index();
  if (i < n) store(y, i, each(f, pick(0, a, i, one), pick(1, b, i, one), pick(2, c, i, one)));
}

template <int Inputs, class F>
void map(Launch& l, const float* a, const float* b, const float* c, Out y, size_t n, F f) {
  launch(l, map_kernel<Inputs, F>, flat_grid(l, (n + 3) / 4), kThreads, 0, l.fault(), a, b, c, y, n, f);
}

// Index is the narrowest type that counts the elements of y: a division of 64 bits would cost more than the memory.
template <int W, class Index>
__global__ void __launch_bounds__(kThreads) broadcast_kernel(Fault fault, const float* x, const float* add, Out y,
                                                             Index all, Index n, Index inner, float alpha) {
  if (fault.failed()) return;
  for (size_t at = flat_index() * W; at < all; at += flat_stride() * W) {
    const Index line = static_cast<Index>(at) / inner, i = static_cast<Index>(at) - line * inner;
    const Pack<W> value = load<W>(x + static_cast<size_t>(line / n) * inner, i);
    store(y, at,
          add == nullptr ? each([=](float v) { return alpha * v; }, value)
                         : each([=](float v, float u) { return fmaf(alpha, v, u); }, value, load<W>(add, at)));
  }
}

}  // namespace

void fill(Launch& l, const FillRow& row) {
  map<0>(l, nullptr, nullptr, nullptr, l.out(row.y), row.n, Constant{row.value});
}

void add(Launch& l, const AddRow& row) {
  map<2>(l, l.f32(row.a), l.f32(row.b), nullptr, l.out(row.y), row.n, Combine{row.alpha, row.beta});
}

void mul(Launch& l, const MulRow& row) {
  const float *a = l.f32(row.a), *b = l.f32(row.b), *c = l.optional(row.add);
  if (c == nullptr)
    map<2>(l, a, b, nullptr, l.out(row.y), row.n, Product{});
  else
    map<3>(l, a, b, c, l.out(row.y), row.n, ProductPlus{});
}

void soft_cap(Launch& l, const SoftCapRow& row) {
  map<1>(l, l.f32(row.x), nullptr, nullptr, l.out(row.y), row.n, SoftCap{row.cap});
}

void soft_cap_backward(Launch& l, const SoftCapBackwardRow& row) {
  map<2>(l, l.f32(row.dy), l.f32(row.y), nullptr, l.out(row.dx), row.n, SoftCapBackward{row.cap});
}

void broadcast(Launch& l, const BroadcastRow& row) {
  const size_t all = static_cast<size_t>(row.outer) * row.n * row.inner;
  const auto spread = [&](auto kernel, size_t width) {
    launch(l, kernel, flat_grid(l, ceil_div(all, width)), kThreads, 0, l.fault(), l.f32(row.x), l.optional(row.add),
           l.out(row.y), all, row.n, row.inner, row.alpha);
  };
  if (row.inner % 4 == 0)
    all >> 32 == 0 ? spread(broadcast_kernel<4, uint32_t>, 4) : spread(broadcast_kernel<4, uint64_t>, 4);
  else
    all >> 32 == 0 ? spread(broadcast_kernel<1, uint32_t>, 1) : spread(broadcast_kernel<1, uint64_t>, 1);
}

}  // namespace sweetspot::cuda
