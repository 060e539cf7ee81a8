// Element by element: fill, add, mul, broadcast, soft_cap. One pass over memory, so their speed is the machine's
// bandwidth; work is split into fixed blocks of the output, counted in elements, whatever the shape.
#include "cpu/kernel.h"
#include "cpu/kernels/lanes.h"

namespace sweetspot::SWEETSPOT_ISA {

void fill(Context& ctx, const FillRow& row) {
  float* y = ctx.f32(row.y);
  const Vec value = Vec::set(row.value);
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    each_vec(count, [&](size_t i, auto lanes) { lanes.store(value, y + begin + i); });
  });
}

void add(Context& ctx, const AddRow& row) {
  const Vec alpha = Vec::set(row.alpha), beta = Vec::set(row.beta);
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    const float *a = ctx.f32(row.a) + begin, *b = ctx.f32(row.b) + begin;
    float* y = ctx.f32(row.y) + begin;
    each_vec(count, [&](size_t i, auto lanes) {
      lanes.store(fma(alpha, lanes.load(a + i), beta * lanes.load(b + i)), y + i);
    });
  });
}

void mul(Context& ctx, const MulRow& row) {
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    const float *a = ctx.f32(row.a) + begin, *b = ctx.f32(row.b) + begin;
    float* y = ctx.f32(row.y) + begin;
    if (row.add.present()) {
      const float* add = ctx.f32(row.add) + begin;
      each_vec(count, [&](size_t i, auto lanes) {
        lanes.store(fma(lanes.load(a + i), lanes.load(b + i), lanes.load(add + i)), y + i);
      });
    } else {
      each_vec(count, [&](size_t i, auto lanes) { lanes.store(lanes.load(a + i) * lanes.load(b + i), y + i); });
    }
  });
}

// y is rows of `width` elements. With inner > 1, row r copies row r / n of x. With inner == 1 the rows are the repeated
// elements themselves: row r is n times x[r]. With n == 1 everything is one long row.
void broadcast(Context& ctx, const BroadcastRow& row) {
  const size_t all = static_cast<size_t>(row.outer) * row.n * row.inner;
  const bool constant = row.inner == 1 && row.n > 1;
  const size_t width = row.n == 1 ? all : constant ? row.n : row.inner;
  const size_t repeat = constant ? 1 : row.n;
  const float* x = ctx.f32(row.x);
  const float* add = row.add.present() ? ctx.f32(row.add) : nullptr;
  float* y = ctx.f32(row.y);
  const Vec alpha = Vec::set(row.alpha);
  each_block(ctx, all, [&](size_t begin, size_t count) {
    const size_t end = begin + count;
    for (size_t at = begin; at < end;) {
      const size_t r = at / width, column = at % width;
      const size_t length = min_size(width - column, end - at);
      float* to = y + at;
      const float* plus = add == nullptr ? nullptr : add + at;
      const float* from = constant ? x + r : x + r / repeat * width + column;
      const Vec same = alpha * Vec::set(*from);
      each_vec(length, [&](size_t i, auto lanes) {
        const Vec value = constant ? same : alpha * lanes.load(from + i);
        lanes.store(plus == nullptr ? value : value + lanes.load(plus + i), to + i);
      });
      at += length;
    }
  });
}

void soft_cap(Context& ctx, const SoftCapRow& row) {
  const Vec cap = Vec::set(row.cap), inverse = Vec::set(1.0f / row.cap);
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    const float* x = ctx.f32(row.x) + begin;
    float* y = ctx.f32(row.y) + begin;
    each_vec(count, [&](size_t i, auto lanes) { lanes.store(cap * tanh(lanes.load(x + i) * inverse), y + i); });
  });
}

void soft_cap_backward(Context& ctx, const SoftCapBackwardRow& row) {
  const Vec one = Vec::set(1.0f), inverse = Vec::set(1.0f / row.cap);
  each_block(ctx, row.n, [&](size_t begin, size_t count) {
    const float *dy = ctx.f32(row.dy) + begin, *y = ctx.f32(row.y) + begin;
    float* dx = ctx.f32(row.dx) + begin;
    each_vec(count, [&](size_t i, auto lanes) {
      const Vec t = lanes.load(y + i) * inverse;
      lanes.store(lanes.load(dy + i) * ((one - t) * (one + t)), dx + i);
    });
  });
}

}  // namespace sweetspot::SWEETSPOT_ISA
