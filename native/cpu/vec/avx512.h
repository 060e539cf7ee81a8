// Vec for AVX-512 (F, BW, DQ, VL): 16 floats. The same members as the other files of this folder; kernels use nothing
// else.
#pragma once

// gcc 12 takes the undefined pass-through operands of its own intrinsics for uninitialized variables (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstddef>
#include <cstdint>

namespace sweetspot::SWEETSPOT_ISA {

struct Vec {
  static constexpr size_t N = 16;
  __m512 v;

  static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vec set(float x) { return {_mm512_set1_ps(x)}; }
  static Vec zero() { return {_mm512_setzero_ps()}; }
  // First `n` <= N lanes; the others read as 0 and are not touched in memory.
  static Vec load(const float* p, size_t n) { return {_mm512_maskz_loadu_ps(mask(n), p)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store(float* p, size_t n) const { _mm512_mask_storeu_ps(p, mask(n), v); }

  static __mmask16 mask(size_t n) { return n >= 16 ? __mmask16(0xffff) : static_cast<__mmask16>((1u << n) - 1); }
};

inline Vec operator+(Vec a, Vec b) {
  return {_mm512_add_ps(a.v, b.v)};
}
inline Vec operator-(Vec a, Vec b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
inline Vec operator*(Vec a, Vec b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
inline Vec operator/(Vec a, Vec b) {
  return {_mm512_div_ps(a.v, b.v)};
}
// a * b + c
inline Vec fma(Vec a, Vec b, Vec c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
inline Vec max(Vec a, Vec b) {
  return {_mm512_max_ps(a.v, b.v)};
}
inline Vec min(Vec a, Vec b) {
  return {_mm512_min_ps(a.v, b.v)};
}
inline Vec sqrt(Vec a) {
  return {_mm512_sqrt_ps(a.v)};
}
inline Vec round(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a < b ? x : y, lane by lane; a NaN compares false.
inline Vec select_less(Vec a, Vec b, Vec x, Vec y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
// Lanes below n from a, the others from b.
inline Vec first(Vec a, Vec b, size_t n) {
  return {_mm512_mask_blend_ps(Vec::mask(n), b.v, a.v)};
}
// The upper half of the lanes, then the lower.
inline Vec swap_halves(Vec a) {
  return {_mm512_shuffle_f32x4(a.v, a.v, 0x4e)};
}
// 2^n for n already rounded to an integer in [-126, 127].
inline Vec exp2_integer(Vec n) {
  const __m512i i = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(i, 23))};
}
// x * 2^n for such an n.
inline Vec scale_exponent(Vec x, Vec n) {
  return {_mm512_scalef_ps(x.v, n.v)};
}
// N numbers in bf16, exactly.
inline Vec widen(const uint16_t* p) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16))};
}
// Transposes the N x N block whose rows are r[0..N).
inline void transpose(Vec* r) {
  __m512d t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_castps_pd(_mm512_unpacklo_ps(r[i].v, r[i + 1].v));
    t[i + 1] = _mm512_castps_pd(_mm512_unpackhi_ps(r[i].v, r[i + 1].v));
  }
  __m512 q[16];  // q[i + c], quarter l: column 4 l + c of rows i..i+4
  for (int i = 0; i < 16; i += 4) {
    for (int h = 0; h < 2; h++) {
      q[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(t[i + h], t[i + h + 2]));
      q[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(t[i + h], t[i + h + 2]));
    }
  }
  for (int c = 0; c < 4; c++) {
    const __m512 even_top = _mm512_shuffle_f32x4(q[c], q[4 + c], 0x88);
    const __m512 odd_top = _mm512_shuffle_f32x4(q[c], q[4 + c], 0xdd);
    const __m512 even = _mm512_shuffle_f32x4(q[8 + c], q[12 + c], 0x88);
    const __m512 odd = _mm512_shuffle_f32x4(q[8 + c], q[12 + c], 0xdd);
    r[c].v = _mm512_shuffle_f32x4(even_top, even, 0x88);
    r[4 + c].v = _mm512_shuffle_f32x4(odd_top, odd, 0x88);
    r[8 + c].v = _mm512_shuffle_f32x4(even_top, even, 0xdd);
    r[12 + c].v = _mm512_shuffle_f32x4(odd_top, odd, 0xdd);
  }
}
// Stores past the caches: memory that is written whole need not be read first. `p` at a multiple of the vector's bytes.
inline void stream(Vec a, float* p) {
  _mm512_stream_ps(p, a.v);
}
// Makes what `stream` wrote visible before a task is reported as done.
inline void stream_end() {
  _mm_sfence();
}
inline float sum(Vec a) {
  return _mm512_reduce_add_ps(a.v);
}
inline float max_lane(Vec a) {
  return _mm512_reduce_max_ps(a.v);
}

#if defined(__AVX512BF16__)
// Vectors whose lanes are pairs of bf16, rounded to nearest even; inputs below 2^-126 count as 0.
// Lane i: (x[2 i], x[2 i + 1]) of the 2 N floats in x, then y.
inline Vec bf16_pairs(Vec x, Vec y) {
  return {(__m512)_mm512_cvtne2ps_pbh(y.v, x.v)};
}
// Lane i: (x[i], y[i]).
inline Vec bf16_interleaved(Vec x, Vec y) {
  alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return {(__m512)_mm512_permutexvar_epi16(_mm512_load_si512(order), (__m512i)bf16_pairs(x, y).v)};
}
// The first or the second number of each pair; the other is 0.
inline Vec bf16_first(Vec x) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x.v), _mm512_set1_epi32(0x0000ffff)))};
}
inline Vec bf16_second(Vec x) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x.v), _mm512_set1_epi32(-65536)))};
}
// a[0] * b[0] + a[1] * b[1] + c for the pair in each lane of a and b.
inline Vec bf16_dot(Vec a, Vec b, Vec c) {
  return {_mm512_dpbf16_ps(c.v, (__m512bh)a.v, (__m512bh)b.v)};
}
#endif

}  // namespace sweetspot::SWEETSPOT_ISA
#include "cpu/vec/math.h"
