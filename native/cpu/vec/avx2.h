// Vec for AVX2 with FMA: 8 floats. The same members as the other files of this folder.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sweetspot::SWEETSPOT_ISA {

struct Vec {
  static constexpr size_t N = 8;
  __m256 v;

  static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Vec set(float x) { return {_mm256_set1_ps(x)}; }
  static Vec zero() { return {_mm256_setzero_ps()}; }
  static Vec load(const float* p, size_t n) { return {_mm256_maskload_ps(p, mask(n))}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void store(float* p, size_t n) const { _mm256_maskstore_ps(p, mask(n), v); }

  static __m256i mask(size_t n) {
    alignas(32) static constexpr int32_t table[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(table + 8 - (n < 8 ? n : 8)));
  }
};

inline Vec operator+(Vec a, Vec b) {
  return {_mm256_add_ps(a.v, b.v)};
}
inline Vec operator-(Vec a, Vec b) {
  return {_mm256_sub_ps(a.v, b.v)};
}
inline Vec operator*(Vec a, Vec b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
inline Vec operator/(Vec a, Vec b) {
  return {_mm256_div_ps(a.v, b.v)};
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
inline Vec max(Vec a, Vec b) {
  return {_mm256_max_ps(a.v, b.v)};
}
inline Vec min(Vec a, Vec b) {
  return {_mm256_min_ps(a.v, b.v)};
}
inline Vec sqrt(Vec a) {
  return {_mm256_sqrt_ps(a.v)};
}
inline Vec round(Vec a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec select_less(Vec a, Vec b, Vec x, Vec y) {
  return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
inline Vec first(Vec a, Vec b, size_t n) {
  return {_mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(Vec::mask(n)))};
}
inline Vec swap_halves(Vec a) {
  return {_mm256_permute2f128_ps(a.v, a.v, 1)};
}
inline Vec exp2_integer(Vec n) {
  const __m256i i = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(i, 23))};
}
inline Vec scale_exponent(Vec x, Vec n) {
  return x * exp2_integer(n);
}
inline Vec widen(const uint16_t* p) {
  const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 16))};
}
inline void transpose(Vec* r) {
  __m256 q[8];  // q[i + c], half l: column 4 l + c of rows i..i+4
  for (int i = 0; i < 8; i += 4) {
    const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r[i].v, r[i + 1].v));
    const __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(r[i].v, r[i + 1].v));
    const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(r[i + 2].v, r[i + 3].v));
    const __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(r[i + 2].v, r[i + 3].v));
    q[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
    q[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
    q[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
    q[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
  }
  for (int c = 0; c < 4; c++) {
    r[c].v = _mm256_permute2f128_ps(q[c], q[4 + c], 0x20);
    r[4 + c].v = _mm256_permute2f128_ps(q[c], q[4 + c], 0x31);
  }
}
inline void stream(Vec a, float* p) {
  _mm256_stream_ps(p, a.v);
}
inline void stream_end() {
  _mm_sfence();
}
inline float sum(Vec a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}
inline float max_lane(Vec a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}

}  // namespace sweetspot::SWEETSPOT_ISA
#include "cpu/vec/math.h"
