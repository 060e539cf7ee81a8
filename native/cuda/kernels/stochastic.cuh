// Stochastic rounding to bf16: the same function of (seed, step, place) as native/cpu/kernels/stochastic.h, so the same
// bits as on the CPU.
#pragma once
#include "cuda/kernel.cuh"

namespace sweetspot::cuda {

struct StochasticRounding {
  uint32_t low, high;

  // step: the number of the step as hyper[7] has it.
  __device__ StochasticRounding(uint32_t seed, float step) {
    const uint32_t number = step > 0 && step < 4e9f ? static_cast<uint32_t>(step) : 0;
    uint64_t key = (static_cast<uint64_t>(seed) << 32 | number) + 0x9e3779b97f4a7c15u;
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9u;
    key = (key ^ key >> 27) * 0x94d049bb133111ebu;
    key ^= key >> 31;
    low = static_cast<uint32_t>(key);
    high = static_cast<uint32_t>(key >> 32);
  }

  // The bits of x in bf16.
  __device__ uint16_t operator()(float x, uint32_t place) const {
    const uint32_t word = __float_as_uint(x);
    if ((word & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((word | 0x400000u) >> 16);
    uint32_t random = place ^ low;
    random = (random ^ random >> 16) * 0x7feb352du;
    random = ((random ^ random >> 15) + high) * 0x846ca68bu;
    return static_cast<uint16_t>((word + (random >> 16)) >> 16);
  }
};

}  // namespace sweetspot::cuda
