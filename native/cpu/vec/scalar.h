// Vec without intrinsics: 4 floats as the vector type of GCC and Clang, which becomes the SIMD of the baseline (SSE2 on
// x86-64) or plain code. The same members as the other files of this folder; fma is a multiply and an add here, so
// results differ from the wide variants by rounding.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sweetspot::SWEETSPOT_ISA {

using Float4 = float __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));

struct Vec {
  static constexpr size_t N = 4;
  Float4 v;

  static Vec load(const float* p) {
    Vec r;
    std::memcpy(&r.v, p, sizeof r.v);
    return r;
  }
  static Vec set(float x) { return {Float4{x, x, x, x}}; }
  static Vec zero() { return set(0.0f); }
  static Vec load(const float* p, size_t n) {
    float lanes[N] = {};
    for (size_t i = 0; i < n && i < N; i++) lanes[i] = p[i];
    return load(lanes);
  }
  void store(float* p) const { std::memcpy(p, &v, sizeof v); }
  void store(float* p, size_t n) const {
    float lanes[N];
    store(lanes);
    for (size_t i = 0; i < n && i < N; i++) p[i] = lanes[i];
  }
};

inline Vec operator+(Vec a, Vec b) {
  return {a.v + b.v};
}
inline Vec operator-(Vec a, Vec b) {
  return {a.v - b.v};
}
inline Vec operator*(Vec a, Vec b) {
  return {a.v * b.v};
}
inline Vec operator/(Vec a, Vec b) {
  return {a.v / b.v};
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return {a.v * b.v + c.v};
}
inline Vec max(Vec a, Vec b) {
  return {a.v > b.v ? a.v : b.v};
}
inline Vec min(Vec a, Vec b) {
  return {a.v < b.v ? a.v : b.v};
}
inline Vec sqrt(Vec a) {
  Vec r;
  for (size_t i = 0; i < Vec::N; i++) r.v[i] = std::sqrt(a.v[i]);
  return r;
}
// Adding and subtracting 1.5 * 2^23 drops the fraction of what is below 2^22; what is larger has at most a half.
inline Vec round(Vec a) {
  const Float4 big = Vec::set(12582912.0f).v, limit = Vec::set(4194304.0f).v;
  Vec far = a;
  for (size_t i = 0; i < Vec::N; i++)
    if (!(a.v[i] < 4194304.0f && a.v[i] > -4194304.0f)) far.v[i] = std::nearbyint(a.v[i]);
  return {a.v < limit ? (a.v > -limit ? (a.v + big) - big : far.v) : far.v};
}
inline Vec select_less(Vec a, Vec b, Vec x, Vec y) {
  return {a.v < b.v ? x.v : y.v};
}
inline Vec first(Vec a, Vec b, size_t n) {
  const Int4 lane = {0, 1, 2, 3};
  const int32_t count = n < Vec::N ? static_cast<int32_t>(n) : 4;
  return {lane < Int4{count, count, count, count} ? a.v : b.v};
}
inline Vec swap_halves(Vec a) {
  return {Float4{a.v[2], a.v[3], a.v[0], a.v[1]}};
}
inline Vec exp2_integer(Vec n) {
  const Int4 bits = (__builtin_convertvector(n.v, Int4) + 127) << 23;
  Vec r;
  std::memcpy(&r.v, &bits, sizeof r.v);
  return r;
}
inline Vec scale_exponent(Vec x, Vec n) {
  return x * exp2_integer(n);
}
inline Vec widen(const uint16_t* p) {
  uint16_t half __attribute__((vector_size(8)));
  std::memcpy(&half, p, sizeof half);
  const Int4 bits = __builtin_convertvector(half, Int4) << 16;
  Vec r;
  std::memcpy(&r.v, &bits, sizeof r.v);
  return r;
}
inline void transpose(Vec* r) {
  for (size_t i = 0; i < Vec::N; i++) {
    for (size_t j = 0; j < i; j++) {
      const float x = r[i].v[j];
      r[i].v[j] = r[j].v[i];
      r[j].v[i] = x;
    }
  }
}
// There is no such store here.
inline void stream(Vec a, float* p) {
  a.store(p);
}
inline void stream_end() {}
inline float sum(Vec a) {
  return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
}
inline float max_lane(Vec a) {
  const float x = a.v[0] > a.v[2] ? a.v[0] : a.v[2];
  const float y = a.v[1] > a.v[3] ? a.v[1] : a.v[3];
  return x > y ? x : y;
}

}  // namespace sweetspot::SWEETSPOT_ISA
#include "cpu/vec/math.h"
