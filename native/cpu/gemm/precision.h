// What packed factors are made of. The microkernel reads 32-bit words and does not know what is in them: one float or,
// with bf16 instructions, a pair of bf16 for two steps of K. Where there are none, bf16 is floats that were rounded.
#pragma once
#include <cstring>

#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

// One number a word. `along` makes N words of numbers that follow each other along K, `across` of N neighbours across
// it; n <= N * kSteps numbers are there, the others count as 0.
struct Fp32 {
  static constexpr size_t kSteps = 1;     // steps of K in a word
  static constexpr bool kInPlace = true;  // factors may be read where they lie
  static Vec round(Vec x) { return x; }
  static Vec along(const float* x) { return Vec::load(x); }
  static Vec along(const float* x, size_t n) { return Vec::load(x, n); }
  static Vec across(const float* x, size_t /*ld*/, size_t /*steps*/) { return Vec::load(x); }
  static Vec across(const float* x, size_t /*ld*/, size_t /*steps*/, size_t n) { return Vec::load(x, n); }
  static Vec multiply(Vec x, Vec y, Vec sum) { return fma(x, y, sum); }
};

// To the nearest bf16, ties to even; a NaN stays one. In the vector type of GCC and Clang, for all ISAs.
inline Vec round_to_bf16(Vec x) {
  using Bits = uint32_t __attribute__((vector_size(4 * Vec::N)));
  Bits bits;
  std::memcpy(&bits, &x.v, sizeof bits);
  const Bits nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
  bits = (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x00400000u : nearest;
  std::memcpy(&x.v, &bits, sizeof bits);
  return x;
}

#if defined(__AVX512BF16__)
struct Bf16 {
  static constexpr size_t kSteps = 2;
  static constexpr bool kInPlace = false;
  static Vec round(Vec x) { return round_to_bf16(x); }
  static Vec along(const float* x) { return bf16_pairs(Vec::load(x), Vec::load(x + Vec::N)); }
  static Vec along(const float* x, size_t n) {
    return bf16_pairs(Vec::load(x, n), n > Vec::N ? Vec::load(x + Vec::N, n - Vec::N) : Vec::zero());
  }
  static Vec across(const float* x, size_t ld, size_t steps) {
    return bf16_interleaved(Vec::load(x), steps > 1 ? Vec::load(x + ld) : Vec::zero());
  }
  static Vec across(const float* x, size_t ld, size_t steps, size_t n) {
    return bf16_interleaved(Vec::load(x, n), steps > 1 ? Vec::load(x + ld, n) : Vec::zero());
  }
  static Vec multiply(Vec x, Vec y, Vec sum) { return bf16_dot(x, y, sum); }
};
#else
struct Bf16 : Fp32 {
  static constexpr bool kInPlace = false;
  static Vec round(Vec x) { return round_to_bf16(x); }
  static Vec along(const float* x) { return round(Vec::load(x)); }
  static Vec along(const float* x, size_t n) { return round(Vec::load(x, n)); }
  static Vec across(const float* x, size_t, size_t) { return round(Vec::load(x)); }
  static Vec across(const float* x, size_t, size_t, size_t n) { return round(Vec::load(x, n)); }
};
#endif

}  // namespace sweetspot::SWEETSPOT_ISA
