// Descriptions of matrices that the copy engine (TMA) reads boxes of.
#pragma once
#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "cuda/ptx.cuh"

namespace sweetspot::cuda {

// `entries` matrices of bf16 or float32, `stride` numbers apart; `outer` lines of `inner` numbers, `ld` apart. A box is
// 128 bytes, swizzled in shared memory, of `box` lines.
struct BoxedMatrix {
  const void* base = nullptr;
  uint64_t inner = 0, outer = 0, entries = 1;
  size_t ld = 0, stride = 0;
  uint32_t box = 0;
  uint32_t element = sizeof(bf16);
};

// False where the driver has no such maps or the matrix does not lie as they want it. The answer depends on the base's
// alignment and not on its place. Maps have three dimensions; entries that share one matrix (stride 0) are one entry.
bool make_map(CUtensorMap& map, const BoxedMatrix& matrix);

}  // namespace sweetspot::cuda
