// A stable sort of pairs by some bits of their keys, as CUB's, on the CPU.
#pragma once
#include <numeric>

#include "cuda_runtime.h"

namespace cub {

struct DeviceRadixSort {
  template <class K, class V, class N>
  static cudaError_t SortPairs(void* space, size_t& bytes, const K* keys, K* sorted_keys, const V* values,
                               V* sorted_values, N count, int begin_bit, int end_bit, cudaStream_t stream) {
    if (space == nullptr) {
      bytes = 256;
      return cudaSuccess;
    }
    emulator::enqueue(stream, [=] {
      std::vector<size_t> order(count);
      std::iota(order.begin(), order.end(), size_t{0});
      const auto digits = [&](size_t i) {
        const uint64_t key = uint64_t{keys[i]} >> begin_bit;
        return end_bit - begin_bit >= 64 ? key : key & ((uint64_t{1} << (end_bit - begin_bit)) - 1);
      };
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return digits(a) < digits(b); });
      for (size_t i = 0; i < order.size(); i++) {
        sorted_keys[i] = keys[order[i]];
        sorted_values[i] = values[order[i]];
      }
    });
    return cudaSuccess;
  }
};

}  // namespace cub
