// How kernels are started and find their dynamic shared memory: the two things besides ptx.cuh that only CUDA's own
// compiler understands. test/emulator has both for the CPU.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

namespace sweetspot::cuda {

#ifdef __CUDACC__
// The block's dynamic shared memory, aligned as swizzled tiles need it.
__device__ inline uint8_t* dynamic_shared() {
  extern __shared__ __align__(1024) uint8_t shared_memory[];
  return shared_memory;
}

// Brings a kernel's code to the device, which CUDA does at its first use otherwise: that may be while a graph is
// captured. Allows it the shared memory that no block has by default: more than 48 KiB of both kinds, of which static
// variables take whole KiB before memory aligned so. What was allowed before stays.
template <class... P>
inline void load(void (*kernel)(P...), size_t shared) {
  cudaFuncAttributes attributes{};
  cudaFuncGetAttributes(&attributes, kernel);
  constexpr size_t kDefault = 48 << 10;
  if (shared + attributes.sharedSizeBytes > kDefault)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         std::max(static_cast<int>(shared), attributes.maxDynamicSharedSizeBytes));
}

template <class... P, class... A>
inline void start(cudaStream_t stream, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... arguments) {
  kernel<<<grid, block, shared, stream>>>(static_cast<P>(arguments)...);
}
#endif

}  // namespace sweetspot::cuda
