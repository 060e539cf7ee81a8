// Vec for 64-bit ARM (Advanced SIMD, part of every such processor): 4 floats. The same members as the other files of
// this folder.
#pragma once
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace sweetspot::SWEETSPOT_ISA {

struct Vec {
  static constexpr size_t N = 4;
  float32x4_t v;

  static Vec load(const float* p) { return {vld1q_f32(p)}; }
  static Vec set(float x) { return {vdupq_n_f32(x)}; }
  static Vec zero() { return set(0.0f); }
  // There are no masked loads: what is not asked for is not touched.
  static Vec load(const float* p, size_t n) {
    if (n >= N) return load(p);
    float lanes[N] = {};
    for (size_t i = 0; i < n; i++) lanes[i] = p[i];
    return load(lanes);
  }
  void store(float* p) const { vst1q_f32(p, v); }
  void store(float* p, size_t n) const {
    if (n >= N) return store(p);
    float lanes[N];
    store(lanes);
    for (size_t i = 0; i < n; i++) p[i] = lanes[i];
  }
  static uint32x4_t mask(size_t n) {
    const uint32_t lanes[N] = {0, 1, 2, 3};
    return vcltq_u32(vld1q_u32(lanes), vdupq_n_u32(static_cast<uint32_t>(n < N ? n : N)));
  }
};

inline Vec operator+(Vec a, Vec b) {
  return {vaddq_f32(a.v, b.v)};
}
inline Vec operator-(Vec a, Vec b) {
  return {vsubq_f32(a.v, b.v)};
}
inline Vec operator*(Vec a, Vec b) {
  return {vmulq_f32(a.v, b.v)};
}
inline Vec operator/(Vec a, Vec b) {
  return {vdivq_f32(a.v, b.v)};
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return {vfmaq_f32(c.v, a.v, b.v)};
}
// The second operand when either is NaN, as on x86; vmaxq_f32 would give NaN for one in the first.
inline Vec max(Vec a, Vec b) {
  return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)};
}
inline Vec min(Vec a, Vec b) {
  return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)};
}
inline Vec sqrt(Vec a) {
  return {vsqrtq_f32(a.v)};
}
inline Vec round(Vec a) {
  return {vrndnq_f32(a.v)};
}
inline Vec select_less(Vec a, Vec b, Vec x, Vec y) {
  return {vbslq_f32(vcltq_f32(a.v, b.v), x.v, y.v)};
}
inline Vec first(Vec a, Vec b, size_t n) {
  return {vbslq_f32(Vec::mask(n), a.v, b.v)};
}
inline Vec swap_halves(Vec a) {
  return {vextq_f32(a.v, a.v, 2)};
}
inline Vec exp2_integer(Vec n) {
  return {vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.v), vdupq_n_s32(127)), 23))};
}
inline Vec scale_exponent(Vec x, Vec n) {
  return x * exp2_integer(n);
}
inline Vec widen(const uint16_t* p) {
  return {vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vld1_u16(p)), 16))};
}
inline void transpose(Vec* r) {
  const float32x4x2_t a = vtrnq_f32(r[0].v, r[1].v), b = vtrnq_f32(r[2].v, r[3].v);
  r[0].v = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
  r[1].v = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
  r[2].v = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
  r[3].v = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}
// There is no such store here.
inline void stream(Vec a, float* p) {
  a.store(p);
}
inline void stream_end() {}
inline float sum(Vec a) {
  return vaddvq_f32(a.v);
}
inline float max_lane(Vec a) {
  return vmaxnmvq_f32(a.v);
}

}  // namespace sweetspot::SWEETSPOT_ISA
#include "cpu/vec/math.h"
