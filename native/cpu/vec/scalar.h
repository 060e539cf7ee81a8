// Vec without intrinsics: 4 floats in an array, for any machine with a C++ compiler. The same members as the other
// files of this folder; fma is a multiply and an add here, so results differ from the wide variants by rounding.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sweetspot::SWEETSPOT_ISA {

struct Vec {
  static constexpr size_t N = 4;
  float v[4];

  static Vec load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static Vec set(float x) { return {{x, x, x, x}}; }
  static Vec zero() { return set(0.0f); }
  static Vec load(const float* p, size_t n) {
    Vec r = zero();
    for (size_t i = 0; i < n && i < N; i++) r.v[i] = p[i];
    return r;
  }
  void store(float* p) const { std::memcpy(p, v, sizeof v); }
  void store(float* p, size_t n) const {
    for (size_t i = 0; i < n && i < N; i++) p[i] = v[i];
  }
};

#define SWEETSPOT_LANES(expression)                          \
  Vec r;                                                     \
  for (size_t i = 0; i < Vec::N; i++) r.v[i] = (expression); \
  return r

inline Vec operator+(Vec a, Vec b) {
  SWEETSPOT_LANES(a.v[i] + b.v[i]);
}
inline Vec operator-(Vec a, Vec b) {
  SWEETSPOT_LANES(a.v[i] - b.v[i]);
}
inline Vec operator*(Vec a, Vec b) {
  SWEETSPOT_LANES(a.v[i] * b.v[i]);
}
inline Vec operator/(Vec a, Vec b) {
  SWEETSPOT_LANES(a.v[i] / b.v[i]);
}
inline Vec fma(Vec a, Vec b, Vec c) {
  SWEETSPOT_LANES(a.v[i] * b.v[i] + c.v[i]);
}
inline Vec max(Vec a, Vec b) {
  SWEETSPOT_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
inline Vec min(Vec a, Vec b) {
  SWEETSPOT_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
inline Vec sqrt(Vec a) {
  SWEETSPOT_LANES(std::sqrt(a.v[i]));
}
inline Vec round(Vec a) {
  SWEETSPOT_LANES(std::nearbyint(a.v[i]));
}
inline Vec select_less(Vec a, Vec b, Vec x, Vec y) {
  SWEETSPOT_LANES(a.v[i] < b.v[i] ? x.v[i] : y.v[i]);
}
inline Vec first(Vec a, Vec b, size_t n) {
  SWEETSPOT_LANES(i < n ? a.v[i] : b.v[i]);
}
inline Vec exp2_integer(Vec n) {
  Vec r;
  for (size_t i = 0; i < Vec::N; i++) {
    const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127) << 23;
    std::memcpy(&r.v[i], &bits, 4);
  }
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
inline float sum(Vec a) {
  return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
}
inline float max_lane(Vec a) {
  const float x = a.v[0] > a.v[2] ? a.v[0] : a.v[2];
  const float y = a.v[1] > a.v[3] ? a.v[1] : a.v[3];
  return x > y ? x : y;
}
#undef SWEETSPOT_LANES

}  // namespace sweetspot::SWEETSPOT_ISA
#include "cpu/vec/math.h"
