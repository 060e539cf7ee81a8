// Stochastic rounding to bf16, for numbers that are kept so between rows. Integer arithmetic on vector types of GCC and
// Clang: the same bits come out on every machine, and no ISA needs a text of its own.
#pragma once
#include <cstring>

#include "cpu/kernel.h"

namespace sweetspot::SWEETSPOT_ISA {

// As many words, and halves of words, as a Vec has lanes.
using Words = uint32_t __attribute__((vector_size(4 * Vec::N)));
using Halves = uint16_t __attribute__((vector_size(2 * Vec::N)));

// Rounds to one of the two neighbours in bf16, to the nearer one with the higher probability, so that the expectation
// is the number itself: small steps on a large weight are not lost but happen now and then. The random bits are a
// function of (seed, step, place): no state, any order, any number of threads.
class StochasticRounding {
 public:
  // The key is the finalizer of splitmix64 (Steele, Lea and Flood 2014).
  StochasticRounding(uint32_t seed, uint32_t step) {
    uint64_t key = (static_cast<uint64_t>(seed) << 32 | step) + 0x9e3779b97f4a7c15u;
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9u;
    key = (key ^ key >> 27) * 0x94d049bb133111ebu;
    key ^= key >> 31;
    low_ = static_cast<uint32_t>(key);
    high_ = static_cast<uint32_t>(key >> 32);
    for (uint32_t i = 0; i < Vec::N; i++) lanes_[i] = i;
  }

  // The numbers at places first, first + 1, ... in the order of memory.
  void store(Vec x, uint32_t first, uint16_t* p) const {
    Words word;
    std::memcpy(&word, &x.v, sizeof word);
    // A carry out of a NaN would make it a number; infinities have no bits below to carry from.
    const auto nan = (word & 0x7fffffffu) > 0x7f800000u;
    word = nan ? word | 0x400000u : word + random(first);
    const Halves half = __builtin_convertvector(word >> 16, Halves);
    std::memcpy(p, &half, sizeof half);
  }

 private:
  // 16 random bits a lane. Two rounds of multiply and shift (the constants of "lowbias32", Wellons 2018), of which the
  // upper half is good.
  Words random(uint32_t first) const {
    Words x = (lanes_ + first) ^ low_;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = ((x ^ x >> 15) + high_) * 0x846ca68bu;
    return x >> 16;
  }

  Words lanes_;
  uint32_t low_, high_;
};

}  // namespace sweetspot::SWEETSPOT_ISA
